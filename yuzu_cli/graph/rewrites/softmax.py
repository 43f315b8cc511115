"""Pooling by attention in one spelling: a softmax over an axis, times values, summed along it."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.blocks import NotCutError, Uncut
from yuzu_cli.graph.rewrites.rewriter import DUMMIES, VIEWS, Rewriter

_aten = torch.ops.aten
_REARRANGED = VIEWS | DUMMIES | {_aten.transpose.int, _aten.permute.default, _aten.expand.default}


def softmax_of_log(r: Rewriter, node: Node) -> bool:
    """exp(log_softmax(x)) -> softmax(x)."""
    source = node.args[0] if node.target is _aten.exp.default else None
    if not isinstance(source, Node) or source.target is not _aten._log_softmax.default:
        return False
    return r.replace(node, r.insert(node, _aten._softmax.default, tuple(source.args)))


def softmax_sums(r: Rewriter, node: Node) -> bool:
    """Products with a softmax, summed along its axis -> softmax_sum."""
    if node.target is _aten.sum.dim_IntList and "dtype" not in node.kwargs:
        return _of_product(r, node)
    if node.target is _aten.bmm.default:
        return _of_matrices(r, node)
    return False


def _of_product(r: Rewriter, node: Node) -> bool:
    product, axes = node.args[0], node.args[1]
    keepdim = bool(node.args[2]) if len(node.args) > 2 else bool(node.kwargs.get("keepdim"))
    if not isinstance(product, Node) or product.target is not _aten.mul.Tensor:
        return False
    shape = _shape(r, product)
    if (
        not shape
        or not isinstance(axes, (list, tuple))
        or len(axes) != 1
        or not isinstance(axes[0], int)
    ):
        return False
    axis = axes[0] % len(shape)
    for weights, values in (product.args, product.args[::-1]):
        if (
            isinstance(weights, Node)
            and weights.target is _aten._softmax.default
            and isinstance(values, Node)
            and len(_shape(r, weights)) == len(_shape(r, values)) == len(shape)
            and int(weights.args[1]) % len(shape) == axis
            and _shape(r, values)[axis] == _shape(r, weights)[axis]
        ):
            args = (weights.args[0], values, axis, keepdim)
            return r.replace(node, r.insert(node, ops.softmax_sum, args))
    return False


def _of_matrices(r: Rewriter, node: Node) -> bool:
    """One row of weights times a matrix, as attention pooling by matrix products spells it."""
    for at, inner in ((0, 2), (1, 1)):
        weights, values = node.args[at], node.args[1 - at]
        logits = _row_of_softmax(r, weights)
        if logits is None or not isinstance(values, Node):
            continue
        axis = 3 - inner  # of the values: the one that is summed
        logits = _alone_on(r, logits, axis, node)
        if logits is None or _shape(r, values)[:1] != (1,):
            continue
        args = (logits, values, axis, True)
        return r.replace(node, r.insert(node, ops.softmax_sum, args))
    return False


def _alone_on(r: Rewriter, logits: Node, axis: int, before: Node) -> Node | None:
    """Logits with one axis longer than one, as a tensor of three axes where that is `axis`."""
    shape = _shape(r, logits)
    if len(shape) == 2:
        return r.insert(before, _aten.unsqueeze.default, (logits, 3 - axis))
    if len(shape) != 3:
        return None
    return logits if shape[axis] > 1 else r.insert(before, _aten.transpose.int, (logits, 1, 2))


def _row_of_softmax(r: Rewriter, node: Any) -> Node | None:
    """Logits of a softmax along the only axis, but the batch, that is longer than one."""
    while isinstance(node, Node) and node.target in _REARRANGED:
        node = node.args[0]
    if not isinstance(node, Node) or node.target is not _aten._softmax.default:
        return None
    spec = r.specs.get(node.name)
    if spec is None:
        return None
    axis = int(node.args[1]) % len(spec.shape)
    alone = spec.by_sequence and spec.numel == spec.shape[axis] > 1
    return node.args[0] if alone and isinstance(node.args[0], Node) else None


def shared_shift(r: Rewriter, node: Node) -> bool:
    """What all positions have in common leaves a softmax as it is, and a weighted sum apart.

    Profile models subtract a profile's mean before they weigh it. Kept inside, the mean would make
    every position change.
    """
    if node.target is not ops.softmax_sum:
        return False
    logits, values, axis, keepdim, *shift = node.args
    bare = _without_shift(r, logits, axis)
    if bare is not None:
        args = (bare[0], values, axis, keepdim, *shift)
        return r.replace(node, r.insert(node, ops.softmax_sum, args))
    bare = _without_shift(r, values, axis)
    if shift or bare is None or _shape(r, bare[0]) != _shape(r, values):
        return False
    args = (logits, bare[0], axis, keepdim, bare[1])
    return r.replace(node, r.insert(node, ops.softmax_sum, args))


def _without_shift(r: Rewriter, node: Any, axis: int) -> tuple[Node, Node] | None:
    """x and c of x - c where c is the same along the axis."""
    if not isinstance(node, Node) or node.target is not _aten.sub.Tensor or node.kwargs:
        return None
    x, shift = node.args[:2]
    if not isinstance(x, Node) or not isinstance(shift, Node):
        return None
    shapes = [_shape(r, n) for n in (x, shift, node)]
    if not shapes[0] or len({len(shape) for shape in shapes}) > 1:
        return None
    if shapes[1][axis] != 1 or shapes[0][axis] != shapes[2][axis]:
        return None
    return x, shift


def _shape(r: Rewriter, node: Node) -> tuple[int, ...]:
    """A node's shape; empty for one that was put in during this round."""
    spec = r.specs.get(node.name)
    return () if spec is None else spec.shape


def softmax_pools(r: Rewriter, node: Node) -> bool:
    """A softmax_sum inside blocks that an axis was cut into -> softmax_pool along that axis.

    What lies between the cut and the softmax is had from the axis as it was before: a map over
    channels of blocks is that map of positions.
    """
    if node.target is not ops.softmax_sum or len(node.args) != 4 or node.args[3]:
        return False
    logits, values, axis, _ = node.args
    shape = r.specs[values.name].shape
    if axis < 2 or shape != r.specs[logits.name].shape:
        return False
    cut = Uncut(r, node)
    try:
        args = (cut(logits, axis - 1), cut(values, axis - 1), axis - 1, shape[axis])
    except NotCutError:
        return False
    return r.replace(node, r.insert(node, ops.softmax_pool, args))
