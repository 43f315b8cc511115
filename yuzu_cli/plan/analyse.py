"""Two walks over a program: what an edit reaches in every node, and what the output reads of it.

Between them: which values must come from values, because a later operator makes much of a rounding
error. Writes nothing into the graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.graph.program import Program, batch_size
from yuzu_cli.operators import operator_of, reach_of
from yuzu_cli.operators.pointwise import Pointwise
from yuzu_cli.operators.reach import EVERYWHERE, UNTOUCHED, AnyReach, Reach
from yuzu_cli.operators.record import (
    CONSTANT,
    JUMP,
    NONE,
    STEEP,
    WHOLE,
    Call,
    Interval,
    Operator,
    Unfamiliar,
)

_aten = torch.ops.aten

_INFINITE = {_aten.log.default, _aten.log2.default, _aten.log10.default, _aten.log1p.default}
"""Functions that are infinite where an argument may well be."""
_OVERFLOWS = {
    *_INFINITE, _aten.reciprocal.default, _aten.rsqrt.default, _aten.div.Tensor, _aten.exp.default,
    _aten.pow.Tensor_Scalar, _aten.pow.Tensor_Tensor, _aten.logit.default, _aten.atanh.default,
}  # fmt: skip
"""Functions that can be infinite: seen in the effects, unless what follows hides it."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is known of every node of a program.

    Attributes
    ----------
    program : Program
    reaches : dict of node name -> reach
        `Reach` where it is an interval of one axis, `UNTOUCHED` or `EVERYWHERE` otherwise.
    operators : dict of node name -> Operator
    unbounded : set of str
        Nodes that may hold infinities on purpose, as masks do.
    """

    program: Program
    reaches: dict[str, AnyReach]
    operators: dict[str, Operator]
    unbounded: frozenset[str]

    def way(self, node: Node) -> str:
        """How windows of a node's value can be had; `WHOLE` when they cannot."""
        if self.reaches[node.name] is UNTOUCHED and node is not self.program.output:
            return CONSTANT
        if node.name not in self.program.specs:  # a number, or several tensors
            return WHOLE
        known = self.operators[node.name]
        ended = not isinstance(self.reaches[node.name], Reach)
        try:
            return WHOLE if ended and not known.ends else known.way()
        except Unfamiliar:
            return WHOLE


def analyse(program: Program) -> Analysis:
    """Everything that follows from a program and its length alone."""
    reaches = reaches_of(program)
    operators = {n.name: operator_of(Call(n, program, reaches)) for n in program.calls()}
    unbounded = _unbounded(program, operators, reaches)
    hidden = _hidden(program, operators, unbounded)
    for node in program.calls():
        worst = JUMP if node.name in hidden else _made_of_errors(node, operators)
        operators[node.name].exact = max(worst, STEEP if node.name in unbounded else NONE)
    found = Analysis(program, reaches, operators, unbounded)
    _narrow(found)
    return found


def reaches_of(program: Program) -> dict[str, AnyReach]:
    """What an edit at each letter can change, for every node of the program by name."""
    letters = np.arange(program.length, dtype=np.int64)
    reaches: dict[str, AnyReach] = {
        program.input.name: Reach(2, program.length, letters, letters + 1)
    }
    for node in program.calls():
        reaches[node.name] = _reach(node, program, reaches)
    return reaches


def _reach(node: Node, program: Program, reaches: dict[str, AnyReach]) -> AnyReach:
    call = Call(node, program, reaches)
    if node.target is batch_size or not call.touched:
        return UNTOUCHED
    spec = program.specs.get(node.name)
    if spec is None or not spec.by_sequence:
        return EVERYWHERE
    return reach_of(operator_of(call))


# --- values that must come from values ----------------------------------------------------------


def _made_of_errors(node: Node, operators: dict[str, Operator]) -> int:
    """What operators that the value reaches unmixed make of a rounding error in it.

    A value kept as reference plus delta is right to the rounding of the reference, not to its own:
    it can come out as -1e-9 where the truth is 0. A root is steep there, a comparison jumps.
    """
    worst, seen, queue = NONE, {node}, [node]
    while queue:
        value = queue.pop()
        for user in value.users:
            if user.op == "output":
                continue
            known = operators[user.name]
            worst = max(worst, known.makes_of(value))
            if worst == JUMP:
                return JUMP
            if known.through and known.makes_of(value) == NONE and user not in seen:
                seen.add(user)
                queue.append(user)
    return worst


def _unbounded(
    program: Program, operators: dict[str, Operator], reaches: dict[str, AnyReach]
) -> frozenset[str]:
    """Nodes into which an infinity of a constant, or of a logarithm, comes unmixed."""
    found = {
        name
        for name, value in program.constants.items()
        if isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and not bool(torch.isfinite(value).all())
    }
    for node in program.calls():
        known = operators[node.name]
        passes = known.through or isinstance(known, Pointwise)
        inputs = any(n.name in found for n in node.all_input_nodes)
        vast = _vast(node, program, reaches)
        if node.target in _INFINITE or _infinite_number(node) or vast or (passes and inputs):
            found.add(node.name)
    return frozenset(found)


def _hidden(
    program: Program, operators: dict[str, Operator], unbounded: frozenset[str]
) -> set[str]:
    """Nodes whose infinities an operator that jumps may make finite numbers of.

    A difference of infinities shows as NaN in the effects, and is mended; not behind isinf(x),
    nan_to_num(x) or x > 0.
    """
    after: set[str] = set(unbounded)
    for node in program.calls():
        if node.target in _OVERFLOWS or any(n.name in after for n in node.all_input_nodes):
            after.add(node.name)
    before: set[str] = set()
    for node in reversed(list(program.calls())):
        users = [u for u in node.users if u.op != "output"]
        jumps = any(operators[u.name].makes_of(node) == JUMP for u in users)
        if node.name in after and (jumps or any(u.name in before for u in users)):
            before.add(node.name)
    return before


def _infinite_number(node: Node) -> bool:
    given: list[Any] = [*node.args, *node.kwargs.values()]
    return any(isinstance(v, float) and not math.isfinite(v) for v in given)


VAST = 1e3
"""From here on a constant hides the values it is added to or stands for: a mask."""
_FILLS = {_aten.masked_fill.Scalar, _aten.masked_fill.Tensor}
_CHOICES = {_aten.where.self, _aten.where.ScalarSelf, _aten.where.ScalarOther, _aten.where.Scalar}
_FACTORS = {_aten.mul.Tensor, _aten.mul.Scalar}


def _vast(node: Node, program: Program, reaches: dict[str, AnyReach]) -> bool:
    """Whether an edit decides between a number and one so large that a sum of both forgets it."""
    target, args = node.target, node.args
    if target in _FACTORS:
        return any(_largest(a, program) >= VAST for a in args[:2])
    if target in _FILLS | _CHOICES:
        decides: Any = args[1] if target in _FILLS else args[0]
        given = args[2:3] if target in _FILLS else args[1:3]
        touched = isinstance(decides, Node) and reaches.get(decides.name) is not UNTOUCHED
        return touched and any(_largest(a, program) >= VAST for a in given)
    return False


def _largest(arg: Any, program: Program) -> float:
    """Largest size of a constant, of a number or a tensor; 0 of what is none."""
    if isinstance(arg, (int, float)):
        return abs(arg)
    if isinstance(arg, Node) and arg.target is _aten.full.default:
        return _largest(arg.args[1], program)
    value = program.constants.get(arg.name) if isinstance(arg, Node) else None
    if not isinstance(value, torch.Tensor) or not value.numel():
        return 0.0
    return float(value.abs().max())


# --- what the output reads ----------------------------------------------------------------------


def _narrow(found: Analysis) -> None:
    """Set `need` of the reaches wherever the output uses a part of a tensor only.

    A model that crops its profile never uses most of what an edit reaches in the layers before the
    crop; windows need not hold it.
    """
    reaches, needs = found.reaches, dict[str, Interval]()

    def ask(node: Node, interval: Interval) -> None:
        reach = reaches.get(node.name)
        if isinstance(reach, Reach):
            low, high = max(interval[0], 0), min(interval[1], reach.size)
            old = needs.get(node.name)
            needs[node.name] = (low, high) if old is None else (min(old[0], low), max(old[1], high))

    output = reaches[found.program.output.name]
    if isinstance(output, Reach):
        ask(found.program.output, (0, output.size))
    for node in reversed(list(found.program.calls())):
        mine, own = needs.get(node.name), reaches[node.name]
        windowed = isinstance(own, Reach) and found.way(node) != WHOLE
        for source in node.all_input_nodes:
            reach = reaches.get(source.name)
            if isinstance(reach, Reach):
                read = (0, reach.size)
                if mine is not None and windowed and mine[1] > mine[0]:
                    read = found.operators[node.name].need(source, mine)
                ask(source, read)
    for name, need in needs.items():
        reach = reaches[name]
        if isinstance(reach, Reach) and need[1] > need[0]:
            reaches[name] = replace(reach, need=need)
