"""What is known of each operator, a family to a file; see `yuzu_cli.operators.record`."""

from __future__ import annotations

import torch
from torch.fx import Node

from yuzu_cli.operators import (  # noqa: F401 - a family is known once it is imported
    across,
    arithmetic,
    attention,
    causal,
    convolution,
    dense,
    functions,
    joins,
    listed,
    moves,
    pointwise,
    pooling,
    products,
    recurrent,
    reductions,
    shifts,
    statistics,
    weighing,
)
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach
from yuzu_cli.operators.record import OPERATORS, Call, Operator, Unfamiliar

__all__ = ["OPERATORS", "named", "operator_of", "reach_of"]


def operator_of(call: Call) -> Operator:
    """A call decoded: by its operator's class, or as a function of single elements where torch tags
    it as one, or as something of which nothing is known.
    """
    kind = OPERATORS.get(call.node.target)
    if kind is None and torch.Tag.pointwise in getattr(call.node.target, "tags", ()):
        kind = pointwise.Pointwise
    if kind is not None and _in_type(call, kind):
        try:
            return kind(call)
        except Unfamiliar:
            pass
    return Operator(call)


def _in_type(call: Call, kind: type[Operator]) -> bool:
    """Whether a class has right numbers in the types of a call.

    What a model computes in fewer digits than it is given is rounded at each step, and deltas would
    not be; products are of fractions.
    """
    specs = call.program.specs
    found = [specs[n.name] for n in (call.node, *call.node.all_input_nodes) if n.name in specs]
    given = specs[call.program.input.name].dtype.itemsize
    if any(s.dtype.is_floating_point and s.dtype.itemsize < given for s in found):
        return issubclass(kind, _ROUNDED) and not issubclass(kind, _MIXING)
    return not kind.weighted or all(s.dtype.is_floating_point for s in found)


_ROUNDED = (functions.Smooth, functions.Steep, functions.Converted, functions.Power, moves.Move)
_MIXING = (listed.Listed, listed.Upsample)
"""Computed from values, each from one or as it is; and those that are not."""


def reach_of(operator: Operator) -> AnyReach:
    """What an edit changes in a call's value, as far as its operator knows."""
    try:
        return operator.reach()
    except Unfamiliar:
        return EVERYWHERE


def named(node: Node) -> str:
    """An operator's short name."""
    name = getattr(node.target, "__name__", str(node.target))
    return name.split(".")[1] if name.startswith("aten.") else name.split(".")[0]
