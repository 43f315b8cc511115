"""The plan: for every node of a program, how its value for the mutants is had. No weights, no
sequence.

Each node gets the exact strategy that its operator allows. From some node on it can be cheaper to
compute whole tensors (windows as wide as the sequence, many tiny ones): that node, the cut, is
chosen by counted cost over all possible ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from yuzu_cli.graph.program import Program
from yuzu_cli.plan import strategies as how
from yuzu_cli.plan.cost import (
    Cost,
    Rates,
    materialise_cost,
    mean_width,
    rates_of,
    whole_cost,
    window_cost,
)
from yuzu_cli.plan.need import narrow
from yuzu_cli.reach.analyse import analyse
from yuzu_cli.reach.domain import UNTOUCHED, AnyReach, Reach

_aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Step:
    """One node with how it is computed.

    Attributes
    ----------
    node : str
    strategy : str
        A name of `yuzu_cli.plan.strategies`.
    reads : tuple of str
        The nodes it is computed from.
    width : float
        Mean number of changed positions; NaN where the value has none.
    cost, whole : Cost
        Per mutant: as planned, and as naive computes it.
    """

    node: str
    strategy: str
    reads: tuple[str, ...]
    width: float
    cost: Cost
    whole: Cost


@dataclass(frozen=True, slots=True)
class Plan:
    """What the windowed backends do with a model.

    Attributes
    ----------
    steps : tuple of Step
    cut : str or None
        First node from which on whole tensors are computed because that is cheaper; None when no
        windows are given up.
    seconds, naive_seconds : float
        Estimated time per mutant; only their ratio means something.
    """

    steps: tuple[Step, ...]
    cut: str | None
    seconds: float
    naive_seconds: float

    @property
    def strategies(self) -> dict[str, str]:
        """Strategy by node name."""
        return {s.node: s.strategy for s in self.steps}

    @property
    def macs(self) -> float:
        """Multiply-adds per mutant."""
        return sum(s.cost.macs for s in self.steps)

    @property
    def naive_macs(self) -> float:
        """Multiply-adds per mutant of the naive way."""
        return sum(s.whole.macs for s in self.steps)


def make_plan(
    program: Program, reaches: dict[str, AnyReach] | None = None, device: torch.device | None = None
) -> Plan:
    """Choose a strategy for every node.

    Parameters
    ----------
    program : Program
    reaches : dict, optional
        The result of `reaches_of`, if it is at hand.
    device : torch.device, optional
        Whose rates to reckon with; the CPU by default.
    """
    reaches = reaches_of(program) if reaches is None else reaches
    rates = rates_of(device or torch.device("cpu"))
    draft = _draft(program, reaches)
    cut = _cheapest_cut(program, draft, rates)
    steps = tuple(_settle(draft[:cut]) + [_whole(s) for s in draft[cut:]])
    steps = tuple(_settle(list(steps)))
    seconds = sum(s.cost.seconds(rates) for s in steps)
    naive = sum(s.whole.seconds(rates) for s in steps)
    given_up = any(s.strategy != t.strategy for s, t in zip(steps, _settle(draft), strict=True))
    at = draft[cut].node if given_up and cut < len(draft) else None
    return Plan(steps, at, seconds + _boundary(program, steps, rates), naive)


def reaches_of(program: Program) -> dict[str, AnyReach]:
    """What an edit reaches in every node, narrowed to what the output depends on."""
    reaches = analyse(program)
    strategies = {
        n.name: how.strategy_of(n, program, reaches) if n.name in program.specs else how.WHOLE
        for n in program.calls()
    }
    return narrow(program, reaches, strategies)


def _draft(program: Program, reaches: dict[str, AnyReach]) -> list[Step]:
    steps = []
    letters = {program.input.name}  # values that are still the input's letters, moved
    for node in program.calls():
        reads = tuple(n.name for n in node.all_input_nodes)
        if node.name not in program.specs:  # a number, or several tensors
            strategy = how.CONSTANT if reaches[node.name] is UNTOUCHED else how.WHOLE
            steps.append(Step(node.name, strategy, reads, float("nan"), Cost(), Cost()))
            continue
        strategy = how.strategy_of(node, program, reaches)
        first = bool(reads) and reads[0] in letters
        if first and strategy == how.MOVE:
            letters.add(node.name)
        if strategy == how.ATTENTION:  # its shift is no window in any case
            reads = tuple(n.name for n in dict.fromkeys(node.args[:2]))
        whole = whole_cost(node, program) if strategy != how.CONSTANT else Cost()
        planned = (
            window_cost(node, strategy, program, reaches, first) if strategy != how.WHOLE else whole
        )
        reach = reaches[node.name]
        width = mean_width(reach) if isinstance(reach, Reach) else float("nan")
        steps.append(Step(node.name, strategy, reads, width, planned, whole))
    return steps


def _whole(step: Step) -> Step:
    if step.strategy == how.CONSTANT:
        return step
    return Step(step.node, how.WHOLE, step.reads, step.width, step.whole, step.whole)


def _settle(steps: list[Step]) -> list[Step]:
    """Steps on windows that read a whole tensor become whole themselves."""
    whole: set[str] = set()
    settled = []
    for step in steps:
        if step.strategy != how.CONSTANT and any(r in whole for r in step.reads):
            step = _whole(step)
        if step.strategy in how.ENDINGS - {how.CONSTANT}:
            whole.add(step.node)
        settled.append(step)
    return settled


def _boundary(program: Program, steps: tuple[Step, ...] | list[Step], rates: Rates) -> float:
    """Time of laying windows into whole tensors, per mutant."""
    window = {s.node for s in steps if s.strategy not in how.ENDINGS} | {program.input.name}
    laid = {r for s in steps if s.strategy == how.WHOLE for r in s.reads if r in window}
    return sum(materialise_cost(r, program).seconds(rates) for r in laid if r in program.specs)


def _cheapest_cut(program: Program, draft: list[Step], rates: Rates) -> int:
    """Index of the first step from which on everything is computed whole."""
    best, best_seconds = len(draft), float("inf")
    candidates = [
        i
        for i, s in enumerate(draft)
        if s.strategy in (how.CONVOLUTION, how.VALUES, how.MATRIX, how.POINTWISE)
    ]
    for cut in [len(draft), *candidates]:
        steps = _settle(draft[:cut] + [_whole(s) for s in draft[cut:]])
        seconds = sum(s.cost.seconds(rates) for s in steps) + _boundary(program, steps, rates)
        if seconds < 0.95 * best_seconds:
            best, best_seconds = cut, seconds
    return best
