"""Which exact way each operator can be computed on windows: one table from operator to strategy.

A strategy is a name; the arithmetic behind it lives in `yuzu_cli.backends.deltas.steps`. An
operator that is not here, or used in a way that is not, is computed whole for every mutant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.program import Program
from yuzu_cli.plan.sensitive import JUMP, VAST, carried
from yuzu_cli.reach.domain import EVERYWHERE, UNTOUCHED, AnyReach, Reach
from yuzu_cli.reach.rules import Context, axes_of, slice_of
from yuzu_cli.reach.tables import TABLED, table_of

_aten = torch.ops.aten

CONVOLUTION = "convolution"
VALUES = "convolution of values"
MAX_POOL = "max pool"
AVG_POOL = "average pool"
POINTWISE = "position by position"
LINEAR_MAP = "linear in the deltas"
MOVE = "moved windows"
LISTED = "positions from a list"
MATRIX = "matrix per position"
DENSE = "dense on the slice that changed"
ACROSS = "matrix over the positions that changed"
TOTAL = "sum of deltas"
EXTREME = "from the reference before and after the window"
ATTENTION = "softmax from the reference before and after the window"
WHOLE = "whole tensor"
CONSTANT = "constant"

ENDINGS = {WHOLE, CONSTANT, DENSE, ACROSS, TOTAL, EXTREME, ATTENTION}
"""Strategies whose result is no window."""

_MOVES = {
    _aten.permute.default,
    _aten.transpose.int,
    _aten.unsqueeze.default,
    _aten.squeeze.dim,
    _aten.squeeze.dims,
    _aten.squeeze.default,
    _aten.reshape.default,
    _aten.flip.default,
    _aten.slice.Tensor,
    _aten.constant_pad_nd.default,
    _aten.select.int,
    _aten.cat.default,
}
_ADDITIVE = {_aten.add.Tensor, _aten.sub.Tensor}
_SCALING = {_aten.mul.Tensor, _aten.mul.Scalar, _aten.div.Tensor, _aten.div.Scalar}


def strategy_of(node: Node, program: Program, reaches: dict[str, AnyReach]) -> str:
    """How windows of this node's value can be had; `WHOLE` when they cannot."""
    context = Context(program, reaches)
    strategy = _windowed(node, context)
    if strategy in ENDINGS or not vast(node, context):
        return strategy
    readers = [strategy_of(n, program, reaches) for n in node.users if n.name in program.specs]
    kept = strategy in _READ_VALUES and all(reader in _READ_VALUES for reader in readers)
    return strategy if kept else WHOLE


def _windowed(node: Node, context: Context) -> str:
    """As `strategy_of`, whatever reads it."""
    reach = context.reaches[node.name]
    if reach is UNTOUCHED:
        return CONSTANT
    if reach is EVERYWHERE:
        return _ending(node, context)
    assert isinstance(reach, Reach)
    if node.target is _aten.convolution.default:
        if not _plain_second_axis(node, context):
            return WHOLE
        if carried(node):
            return WHOLE if node.args[6] else VALUES
        return CONVOLUTION
    if node.target in (ops.max_pool, ops.avg_pool):
        return MAX_POOL if node.target is ops.max_pool else AVG_POOL
    if node.target is ops.linear:
        return POINTWISE if carried(node) else MATRIX
    if node.target in TABLED and _listed(node, context):
        return LISTED
    if node.target in _MOVES:
        return MOVE if _movable(node, context) else WHOLE
    if is_linear_map(node, context):
        exact = (carried(node) or vast(node, context)) and reach.flat is None
        return POINTWISE if exact else LINEAR_MAP
    if any(c.batch_axis is not None for c in _untouched_tensors(node, context)):
        return WHOLE
    return POINTWISE


def _untouched_tensors(node: Node, context: Context) -> list[Any]:
    return [
        context.spec(n)
        for n in node.all_input_nodes
        if context.of(n) is UNTOUCHED and n.name in context.program.specs
    ]


_READ_VALUES = {POINTWISE, MAX_POOL, EXTREME, ATTENTION, WHOLE}
"""Strategies that take a window of values as it is."""
_MASKS = {
    _aten.masked_fill.Scalar: (2,),
    _aten.masked_fill.Tensor: (2,),
    _aten.where.self: (1, 2),
    _aten.where.ScalarSelf: (1, 2),
    _aten.where.ScalarOther: (1, 2),
    _aten.where.Scalar: (1, 2),
    _aten.mul.Tensor: (0, 1),
    _aten.mul.Scalar: (1,),
}
"""Operators that put a constant where an edit decides, with that argument's place."""
_KEEP_MASKS = {_aten.add.Tensor, _aten.sub.Tensor, _aten.maximum.default, _aten.minimum.default}


def vast(node: Node, context: Context) -> bool:
    """Whether an edit may put a value so large that reference plus delta forgets the other.

    Masks that the sequence decides: -inf or -1e9 in one of the two, a number in the other.
    """
    touched = [n for n in node.all_input_nodes if context.of(n) is not UNTOUCHED]
    if node.target in _MASKS:
        decides = node.args[1] if node.target in _FILLS else node.args[0]
        if node.target in _SCALING or context.of(decides) is not UNTOUCHED:
            places = [node.args[i] for i in _MASKS[node.target]]
            if any(_largest(arg, context) >= VAST for arg in places):
                return True
    if node.target in _KEEP_MASKS | {ops.max_pool} | set(_MASKS):
        return any(vast(n, context) for n in touched)
    return False


_FILLS = {_aten.masked_fill.Scalar, _aten.masked_fill.Tensor}


def _largest(arg: Any, context: Context) -> float:
    """Largest size of a constant, of a number or a tensor; 0 of what is none."""
    if isinstance(arg, (int, float)):
        return abs(arg)
    if isinstance(arg, Node) and arg.target is _aten.full.default:
        return _largest(arg.args[1], context)
    value = context.program.constants.get(arg.name) if isinstance(arg, Node) else None
    return float(value.abs().max()) if value is not None and value.numel() else 0.0


def is_linear_map(node: Node, context: Context) -> bool:
    """Whether deltas pass through the call as they are: sums of touched tensors, products with
    constants.
    """
    if node.target in _ADDITIVE:
        return not any(c.batch_axis is not None for c in _untouched_tensors(node, context))
    if node.target in (_aten.neg.default, ops.affine):
        return True
    if node.target in _SCALING:
        a, b = node.args[:2]
        if context.of(b) is UNTOUCHED and context.of(a) is not UNTOUCHED:
            other: Any = b
        elif context.of(a) is UNTOUCHED and node.target is _aten.mul.Tensor:
            other = a
        else:
            return False
        if not isinstance(other, Node):
            return True
        return not any(c.batch_axis is not None for c in _untouched_tensors(node, context))
    return False


def _plain_second_axis(node: Node, context: Context) -> bool:
    """A 2-D convolution whose other axis is a dummy, or wholly under the kernel without padding."""
    reach = context.of(node.args[0])
    assert isinstance(reach, Reach)
    shape = context.spec(node.args[0]).shape
    if len(shape) == 3:
        return True
    if len(shape) != 4:
        return False
    weight = context.spec(node.args[1]).shape
    padding, transposed = node.args[4], node.args[6]
    other = 5 - reach.axis
    pad = padding[other - 2] if len(padding) > 1 else padding[0]
    whole = weight[other] == shape[other] and pad == 0 and node.args[8] == 1
    dummy = shape[other] == 1 and context.spec(node).shape[other] == 1
    return dummy or (whole and not transposed)


def _listed(node: Node, context: Context) -> bool:
    """Whether positions are taken from a list; a slice without steps is a plain move."""
    reach = context.of(node.args[0])
    if not isinstance(reach, Reach):
        return False
    if node.target is _aten.slice.Tensor and slice_of(node, context)[2] == 1:
        return False
    return table_of(node, context.program, reach.axis) is not None


def _movable(node: Node, context: Context) -> bool:
    reach = context.reaches[node.name]
    if node.target is _aten.slice.Tensor:
        axis, _, step = slice_of(node, context)
        return isinstance(reach, Reach) and (axis != reach.axis or step == 1)
    return node.target is not _aten.cat.default or isinstance(reach, Reach)


_ALONG_POSITIONS = {
    _aten.sum.dim_IntList,
    _aten.mean.dim,
    _aten.amax.default,
    _aten.logsumexp.default,
}


def _ending(node: Node, context: Context) -> str:
    """How a window can end: a value without positions, from deltas alone."""
    if node.target is ops.softmax_sum:
        return _weighted(node, context)
    source = (
        context.of(node.args[0]) if node.args and isinstance(node.args[0], Node) else EVERYWHERE
    )
    if not isinstance(source, Reach):
        return WHOLE
    if node.target is ops.linear:
        return DENSE if source.flat is not None else ACROSS
    if node.target in _ALONG_POSITIONS and _over_positions(node, source, context):
        if node.target in (_aten.amax.default, _aten.logsumexp.default):
            return WHOLE if source.flat is not None else EXTREME
        return WHOLE if carried(node) == JUMP else TOTAL
    if node.target in (_aten.sum.dim_IntList, _aten.mean.dim) and source.flat is None:
        axes = axes_of(node, context, 1)
        if source.axis in axes and 0 not in axes and carried(node) != JUMP:
            return TOTAL
    return WHOLE


def _over_positions(node: Node, source: Reach, context: Context) -> bool:
    """Whether a reduction takes the positions, and nothing else that is longer than one."""
    axes = axes_of(node, context, 1)
    shape = context.spec(node.args[0]).shape
    axis = source.axis if source.flat is None else 1
    return axis in axes and all(a == axis or shape[a] == 1 for a in axes)


def _weighted(node: Node, context: Context) -> str:
    """A softmax over positions of windows, summing windows over the same."""
    first, second = (context.of(a) for a in node.args[:2])
    if not isinstance(first, Reach) or not isinstance(second, Reach):
        return WHOLE
    same = (first.axis, first.size, first.flat) == (second.axis, second.size, second.flat)
    axis = first.axis if first.flat is None else 1
    for shift in node.args[4:]:
        if context.of(shift) is not EVERYWHERE and shift.name not in context.program.constants:
            return WHOLE
    return ATTENTION if same and axis == node.args[2] else WHOLE
