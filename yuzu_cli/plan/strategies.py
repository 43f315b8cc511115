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
from yuzu_cli.reach.domain import EVERYWHERE, UNTOUCHED, AnyReach, Reach
from yuzu_cli.reach.rules import Context, axes_of, slice_of
from yuzu_cli.reach.tables import TABLED, table_of

_aten = torch.ops.aten

CONVOLUTION = "convolution"
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
    reach = reaches[node.name]
    if reach is UNTOUCHED:
        return CONSTANT
    if reach is EVERYWHERE:
        return _ending(node, context)
    assert isinstance(reach, Reach)
    if node.target is _aten.convolution.default:
        return CONVOLUTION if _plain_second_axis(node, context) else WHOLE
    if node.target in (ops.max_pool, ops.avg_pool):
        return MAX_POOL if node.target is ops.max_pool else AVG_POOL
    if node.target is ops.linear:
        return MATRIX
    if node.target in TABLED and _listed(node, context):
        return LISTED
    if node.target in _MOVES:
        return MOVE if _movable(node, context) else WHOLE
    if is_linear_map(node, context):
        return LINEAR_MAP
    if any(c.batch_axis is not None for c in _untouched_tensors(node, context)):
        return WHOLE
    return POINTWISE


def _untouched_tensors(node: Node, context: Context) -> list[Any]:
    return [
        context.spec(n)
        for n in node.all_input_nodes
        if context.of(n) is UNTOUCHED and n.name in context.program.specs
    ]


_SENSITIVE = {
    _aten.log.default,
    _aten.log2.default,
    _aten.log10.default,
    _aten.log1p.default,
    _aten.sqrt.default,
    _aten.rsqrt.default,
    _aten.reciprocal.default,
    _aten.pow.Tensor_Scalar,
    _aten.pow.Tensor_Tensor,
    _aten.div.Tensor,
}
_POOLS = {ops.max_pool, ops.avg_pool}


def feeds_sensitive(node: Node) -> bool:
    """Whether the value reaches, unmixed, a function that is steep or undefined near zero.

    A sum kept as reference plus delta is exact to the rounding of the reference, not of the sum:
    it can come out as -1e-9 where the truth is 0. Before a logarithm or a root it is summed from
    the values.
    """
    seen, queue = {node}, list(node.users)
    while queue:
        user = queue.pop()
        if user in seen:
            continue
        seen.add(user)
        if user.target in _SENSITIVE:
            return True
        if (
            torch.Tag.pointwise in getattr(user.target, "tags", ())
            or user.target in _MOVES | _POOLS
        ):
            queue.extend(user.users)
    return False


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
        return WHOLE if feeds_sensitive(node) else TOTAL
    if node.target in (_aten.sum.dim_IntList, _aten.mean.dim) and source.flat is None:
        axes = axes_of(node, context, 1)
        if source.axis in axes and 0 not in axes and not feeds_sensitive(node):
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
