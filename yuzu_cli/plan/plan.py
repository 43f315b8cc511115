"""The plan: for every node of a program, how its value for the mutants is had. No weights, no
sequence.

Each node gets the exact way that its operator allows. From some node on it can be cheaper to
compute whole tensors (windows as wide as the sequence, many tiny ones): that node, the cut, is
chosen by counted cost over all possible ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import Node

from yuzu_cli.graph.program import Program
from yuzu_cli.operators.attention import EXCHANGED, ONWARDS
from yuzu_cli.operators.causal import LONG, RUNNING
from yuzu_cli.operators.convolution import CONVOLUTION, VALUES
from yuzu_cli.operators.cost import Cost, Rates, rates_of
from yuzu_cli.operators.dense import ACROSS, DENSE, GROUPED, MATRIX
from yuzu_cli.operators.moves import MOVE
from yuzu_cli.operators.pointwise import POINTWISE
from yuzu_cli.operators.reach import Reach
from yuzu_cli.operators.record import CONSTANT, WHOLE, Unfamiliar, mean_width
from yuzu_cli.operators.recurrent import RECURRENT
from yuzu_cli.operators.reductions import EXTREME, RUNNING_TOTAL, TOTAL
from yuzu_cli.operators.statistics import SPREAD
from yuzu_cli.operators.weighing import ATTENTION
from yuzu_cli.plan.analyse import Analysis, analyse

ENDINGS = {
    WHOLE, CONSTANT, DENSE, ACROSS, GROUPED, TOTAL, RUNNING_TOTAL, EXTREME, SPREAD, ATTENTION,
    EXCHANGED,
}  # fmt: skip
"""Ways whose result is no window."""
_HEAVY = {
    CONVOLUTION, VALUES, MATRIX, POINTWISE, RECURRENT, RUNNING, LONG, EXCHANGED, ONWARDS,
}  # fmt: skip
"""Ways at which windows may be given up."""


@dataclass(frozen=True, slots=True)
class Step:
    """One node with how it is computed.

    Attributes
    ----------
    node : str
    way : str
        As its operator calls it.
    reads : tuple of str
        The nodes whose windows it is computed from.
    width : float
        Mean number of changed positions; NaN where the value has none.
    cost, whole : Cost
        Per mutant: as planned, and as naive computes it.
    """

    node: str
    way: str
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
    def ways(self) -> dict[str, str]:
        """Way by node name."""
        return {s.node: s.way for s in self.steps}

    @property
    def macs(self) -> float:
        """Multiply-adds per mutant."""
        return sum(s.cost.macs for s in self.steps)

    @property
    def naive_macs(self) -> float:
        """Multiply-adds per mutant of the naive way."""
        return sum(s.whole.macs for s in self.steps)


def make_plan(found: Analysis | Program, device: torch.device | None = None) -> Plan:
    """Choose a way for every node.

    Parameters
    ----------
    found : Analysis or Program
    device : torch.device, optional
        Whose rates to reckon with; the CPU by default.
    """
    found = found if isinstance(found, Analysis) else analyse(found)
    rates = rates_of(device or torch.device("cpu"))
    draft = _draft(found)
    cut = _cheapest_cut(found.program, draft, rates)
    steps = tuple(_settle(_settle(draft[:cut]) + [_whole(s) for s in draft[cut:]]))
    seconds = sum(s.cost.seconds(rates) for s in steps)
    naive = sum(s.whole.seconds(rates) for s in steps)
    given_up = any(s.way != t.way for s, t in zip(steps, _settle(draft), strict=True))
    at = draft[cut].node if given_up and cut < len(draft) else None
    return Plan(steps, at, seconds + _boundary(found.program, steps, rates), naive)


def whole_cost(node: Node, found: Analysis) -> Cost:
    """The node's own call for one mutant."""
    program, spec = found.program, found.program.specs.get(node.name)
    try:
        macs = found.operators[node.name].macs()
    except Unfamiliar:
        macs = 0.0
    if spec is None:
        return Cost(macs, 0.0)
    specs = [program.specs[n.name] for n in node.all_input_nodes if n.name in program.specs]
    reads = sum(s.numel for s in specs if s.batch_axis is not None)
    return Cost(macs, (spec.numel + reads) * spec.dtype.itemsize)


def _draft(found: Analysis) -> list[Step]:
    steps = []
    letters = {found.program.input.name}  # values that are still the input's letters, moved
    for node in found.program.calls():
        way, reach = found.way(node), found.reaches[node.name]
        known = found.operators[node.name]
        reads = tuple(n.name for n in node.all_input_nodes)
        first = bool(reads) and reads[0] in letters
        if first and way == MOVE:
            letters.add(node.name)
        whole = whole_cost(node, found) if way != CONSTANT else Cost()
        planned = whole
        if way not in (WHOLE, CONSTANT):
            reads, planned = tuple(n.name for n in known.reads_windows()), known.cost(first)
        width = mean_width(reach) if isinstance(reach, Reach) else float("nan")
        steps.append(Step(node.name, way, reads, width, planned, whole))
    return steps


def _whole(step: Step) -> Step:
    if step.way == CONSTANT:
        return step
    return Step(step.node, WHOLE, step.reads, step.width, step.whole, step.whole)


def _settle(steps: list[Step]) -> list[Step]:
    """Steps on windows that read a whole tensor become whole themselves."""
    whole: set[str] = set()
    settled = []
    for step in steps:
        if step.way != CONSTANT and any(r in whole for r in step.reads):
            step = _whole(step)
        if step.way in ENDINGS - {CONSTANT}:
            whole.add(step.node)
        settled.append(step)
    return settled


def _boundary(program: Program, steps: tuple[Step, ...] | list[Step], rates: Rates) -> float:
    """Time of laying windows into whole tensors, per mutant."""
    window = {s.node for s in steps if s.way not in ENDINGS} | {program.input.name}
    laid = {r for s in steps if s.way == WHOLE for r in s.reads if r in window}
    sizes = (program.specs[r] for r in laid if r in program.specs)
    return sum(Cost(0, 3 * s.numel * s.dtype.itemsize).seconds(rates) for s in sizes)


def _cheapest_cut(program: Program, draft: list[Step], rates: Rates) -> int:
    """Index of the first step from which on everything is computed whole."""
    best, best_seconds = len(draft), float("inf")
    places = [i for i, s in enumerate(draft) if s.way in _HEAVY]
    for cut in [len(draft), *places]:
        steps = _settle(draft[:cut] + [_whole(s) for s in draft[cut:]])
        seconds = sum(s.cost.seconds(rates) for s in steps) + _boundary(program, steps, rates)
        if seconds < 0.95 * best_seconds:
            best, best_seconds = cut, seconds
    return best
