"""How tests get at a captured program: its nodes, what edits reach, what windows compute.

The only file of the property tests that knows how the package is laid out. What it hands on is
plain: names, masks and tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tests.support import conformance
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.windowed import Understood, WindowedRunner, understand
from yuzu_cli.graph.build import capture
from yuzu_cli.graph.program import CaptureError, Program, evaluate, lookup
from yuzu_cli.model import Model
from yuzu_cli.operators import OPERATORS, named
from yuzu_cli.operators.pointwise import SamePositions
from yuzu_cli.operators.reach import EVERYWHERE, UNTOUCHED, Reach
from yuzu_cli.operators.record import CONSTANT, WHOLE, Operator
from yuzu_cli.plan import plan as planning
from yuzu_cli.plan.analyse import Analysis, analyse

Refused = CaptureError
"""The module cannot be one program: it is computed the naive way."""


@dataclass(frozen=True, slots=True)
class Span:
    """What an edit at each letter may change in one value.

    Attributes
    ----------
    shape : tuple of int
        The value's shape for one sequence, as `axis` counts in it (before a flatten, say).
    axis : int
        Its position axis.
    may : bool (L, size)
        Positions that an edit at each letter may change.
    need : bool (size,)
        Positions that the output depends on.
    """

    shape: tuple[int, ...]
    axis: int
    may: np.ndarray
    need: np.ndarray


@dataclass(frozen=True, slots=True)
class Captured:
    """A module as one program, with what is said of its values.

    Attributes
    ----------
    program : Program
    operators : dict of node name -> name of its operator
    reach : dict of node name -> Span, or "nothing" or "anything"
        Of values that are tensors with sequences on their first axis.
    windows : set of str
        Nodes computed on windows when windows are never given up.
    endings : set of str
        Nodes without positions, computed from windows.
    """

    program: Program
    operators: Mapping[str, str]
    reach: Mapping[str, Span | str]
    windows: frozenset[str]
    endings: frozenset[str]
    _understood: Understood


def name_of(target: object) -> str:
    """One short name for an operator, the same in every table: `aten.flip.default`, `max_pool`."""
    theirs = isinstance(target, torch._ops.OpOverload)
    return str(target) if theirs else str(getattr(target, "__name__", target))


def operators() -> set[str]:
    """Every operator of which the package says how it passes reach on."""
    plain = (Operator.reach, SamePositions.reach)
    return {name_of(target) for target, kind in OPERATORS.items() if kind.reach not in plain}


def captured(
    module: nn.Module, length: int, dtype: torch.dtype = torch.float64, letters: int = 4
) -> Captured:
    """Capture, analyse and plan a module (N, A, L) -> (N, T), without ever giving windows up."""
    device = torch.device("cpu")
    program = capture(module, letters=letters, length=length, device=device, dtype=dtype)
    found = analyse(program)
    reaches, plan = found.reaches, _without_cut(found)
    spans: dict[str, Span | str] = {}
    for node in program.calls():
        spec = program.specs.get(node.name)
        if spec is None or spec.batch_axis != 0 or spec.shape[0] != 1:
            continue
        reach = reaches[node.name]
        if isinstance(reach, Reach):
            spans[node.name] = _span(reach, spec.shape)
        else:
            assert reach in (UNTOUCHED, EVERYWHERE)
            spans[node.name] = "nothing" if reach is UNTOUCHED else "anything"
    ways, ends = plan.ways, planning.ENDINGS
    return Captured(
        program,
        {n.name: name_of(n.target) for n in program.calls()},
        spans,
        frozenset(n for n, way in ways.items() if way not in ends),
        frozenset(n for n, way in ways.items() if way in ends - {WHOLE, CONSTANT}),
        Understood(found, plan),
    )


def keep_windows(model: Model, settings: Settings) -> bool:
    """Let the windowed backend never give windows up on this model; whether it would have."""
    found = understand(model, settings)
    plan = _without_cut(found.found)
    kept = model.__dict__["_understood"]
    key = next(k for k, v in kept.items() if v is found)
    kept[key] = Understood(found.found, plan)
    return found.plan.cut is not None


def _without_cut(found: Analysis) -> planning.Plan:
    steps = tuple(planning._settle(planning._draft(found)))
    return planning.Plan(steps, None, 1.0, 1.0)


def _span(reach: Reach, shape: tuple[int, ...]) -> Span:
    at = np.arange(reach.size)[None, :]
    may = (at >= reach.start[:, None]) & (at < reach.stop[:, None])
    low, high = (0, reach.size) if reach.need is None else reach.need
    need = (at[0] >= low) & (at[0] < high)
    return Span((1, *reach.flat) if reach.flat is not None else shape, reach.axis, may, need)


@torch.no_grad()
def values(
    seen: Captured, x: Tensor, instead: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Every tensor of the program on x (N, A, L), by node name; some of them replaced.

    The prediction itself is there under the name ``output``.
    """
    program = seen.program
    found = {program.input.name: x}
    for node in program.calls():
        found[node.name] = evaluate(node, lambda n: lookup(program, found, n))
        if instead is not None and node.name in instead:
            found[node.name] = instead[node.name]
    found["output"] = found[program.output.name]
    return {name: v for name, v in found.items() if isinstance(v, Tensor)}


class _Model(nn.Module):
    """What windowed asks of a model whose program is at hand."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.alphabet_size = letters


def windowed(seen: Captured, codes: Tensor, memory: int = 1 << 30) -> Tensor:
    """Effects of every mutant of codes (B, L), from windows wherever they can be: (B, T, A, L).

    `memory` decides how many mutants are computed together.
    """
    program = seen.program
    dtype = program.specs[program.output.name].dtype
    model = _Model(program.letters)
    settings = Settings(program.length, torch.device("cpu"), dtype, memory=memory)
    key = (settings.length, str(settings.device), settings.dtype)
    model.__dict__["_understood"] = {key: seen._understood}
    runner = WindowedRunner(model, settings)  # type: ignore[arg-type]
    return conformance.scores(runner, codes, range(program.length), program.letters)


def described(seen: Captured) -> str:
    """One line a node: its name, its operator and whether windows carry it."""
    lines = []
    for node in seen.program.calls():
        kind = "window" if node.name in seen.windows else "whole"
        kind = "ending" if node.name in seen.endings else kind
        lines.append(f"{node.name}: {named(node)}, {kind}")
    return "\n".join(lines)
