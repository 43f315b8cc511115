"""Pools in one spelling, and maxima taken before rising functions instead of after them."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.matrices import batch_norm
from yuzu_cli.graph.rewrites.rewriter import DUMMIES, Rewriter, defaults

_aten = torch.ops.aten

_RISING = {_aten.relu.default, _aten.exp.default, _aten.sigmoid.default, _aten.tanh.default}

_AND_MEAN = {
    _aten.var_mean.correction: _aten.var.correction,
    _aten.std_mean.correction: _aten.std.correction,
}


def first_output(r: Rewriter, node: Node) -> bool:
    """The first output of an operator with several -> the canonical operator with one."""
    source = node.args[0] if node.target is operator.getitem else None
    if not isinstance(source, Node):
        return False
    if source.target in _AND_MEAN:
        return _variance_or_mean(r, node, source)
    if node.args[1] != 0:
        return False
    if source.target is _aten.max_pool2d_with_indices.default:
        x, kernel, stride, padding, dilation, ceil = defaults(
            source, (None, None, [], [0, 0], [1, 1], False)
        )
        args = (x, kernel, stride or kernel, padding, dilation, ceil)
        return r.replace(node, r.insert(node, ops.max_pool, args))
    if source.target is _aten.max.dim:  # values of a maximum with indices
        x, dim, keep = defaults(source, (None, None, False))
        return r.replace(node, r.insert(node, _aten.amax.default, (x, [dim], keep)))
    if source.target is _aten.native_layer_norm.default:
        return r.replace(node, r.insert(node, ops.layer_norm, tuple(source.args)))
    return batch_norm(r, node, source)


def _variance_or_mean(r: Rewriter, node: Node, source: Node) -> bool:
    """One of the two tensors of var_mean or std_mean."""
    x, *dims = source.args
    if node.args[1] == 0:
        made = r.insert(node, _AND_MEAN[source.target], (x, *dims))
        made.kwargs = dict(source.kwargs)
    else:
        every = list(range(len(r.specs[x.name].shape)))
        keep = bool(source.kwargs.get("keepdim", False))
        made = r.insert(node, _aten.mean.dim, (x, (dims and dims[0]) or every, keep))
    return r.replace(node, made)


def plain_pools(r: Rewriter, node: Node) -> bool:
    """Average and adaptive pooling in one spelling, where all windows are alike."""
    if node.target in (_aten.avg_pool2d.default, _aten.avg_pool1d.default):
        n = 2 if node.target is _aten.avg_pool2d.default else 1
        x, kernel, stride, padding, ceil, count, divisor = defaults(
            node, (None, None, [], [0] * n, False, True, None)
        )
        args = (x, kernel, stride or kernel, padding, ceil, count, divisor)
        return r.replace(node, r.insert(node, ops.avg_pool, args))
    if node.target is _aten._adaptive_avg_pool2d.default:
        x, sizes = node.args
        kernel = _even_windows(r, x, sizes)
        if kernel is None:
            return False
        args = (x, kernel, kernel, [0, 0], False, True, None)
        return r.replace(node, r.insert(node, ops.avg_pool, args))
    if node.target is operator.getitem and node.args[1] == 0:
        source = node.args[0]
        if isinstance(source, Node) and source.target is _aten.adaptive_max_pool2d.default:
            x, sizes = source.args
            kernel = _even_windows(r, x, sizes)
            if kernel is None:
                return r.replace(node, r.insert(node, ops.adaptive_max, (x, sizes)))
            most = (x, kernel, kernel, [0, 0], [1, 1], False)
            return r.replace(node, r.insert(node, ops.max_pool, most))
    return False


def _even_windows(r: Rewriter, x: Any, sizes: Any) -> list[int] | None:
    shape = r.specs[x.name].shape[-2:]
    if any(not isinstance(o, int) or size % o for size, o in zip(shape, sizes, strict=True)):
        return None
    return [size // o for size, o in zip(shape, sizes, strict=True)]


def maximum_before_scaling(r: Rewriter, node: Node) -> bool:
    """max_pool(affine(relu(x))) -> affine(clamp(max_pool(x'))) with x' mirrored where the scale
    is negative.

    A negative scale turns the order of a channel's values around. With the sign moved ahead of the
    relu, which becomes a minimum with zero there, every step after it rises and the pool can go
    first.
    """
    if node.target is not ops.max_pool:
        return False
    scaled, between = _behind_dummies(node)
    if scaled is None or scaled.target is not ops.affine or len(scaled.users) != 1:
        return False
    if not all(_behind_channels(r, n) for n in between):
        return False
    relu = scaled.args[0]
    scale, shift = r.constant(scaled.args[1]), r.constant(scaled.args[2])
    if not isinstance(relu, Node) or relu.target is not _aten.relu.default or scale is None:
        return False
    shape = r.specs[relu.name].shape
    if (
        len(relu.users) != 1
        or shift is None
        or len(r.specs[node.name].shape)
        != len(shape) + sum(n.target is _aten.unsqueeze.default for n in between)
    ):
        return False
    x = relu.args[0]
    tail = (1,) * (len(r.specs[node.name].shape) - 2)
    if bool((scale < 0).any()):
        sign = torch.where(scale < 0, -1.0, 1.0).to(scale)
        zero = r.add_constant(torch.zeros_like(sign), relu)
        x = r.insert(relu, ops.affine, (x, r.add_constant(sign, relu), zero))
        infinite = torch.full_like(scale, float("inf"))
        low = torch.where(scale < 0, -infinite, 0.0).view(-1, *tail)
        high = torch.where(scale < 0, 0.0, infinite).view(-1, *tail)
    pooled = r.insert(node, ops.max_pool, (_through(between, x), *node.args[1:]), node)
    if bool((scale < 0).any()):
        bounds = (r.add_constant(low, node), r.add_constant(high, node))
        rising = r.insert(node, _aten.clamp.Tensor, (pooled, *bounds))
    else:
        rising = r.insert(node, _aten.relu.default, (pooled,))
    args = (rising, r.add_constant(scale.abs(), node), scaled.args[2])
    return r.replace(node, r.insert(node, ops.affine, args))


def _behind_channels(r: Rewriter, node: Node) -> bool:
    """Whether a squeeze or unsqueeze leaves batch and channels where they are."""
    axes: Any = node.args[1]
    ndim = max(len(r.specs[n.name].shape) for n in (node, node.args[0]))
    return all(axis % ndim > 1 for axis in (axes if isinstance(axes, (list, tuple)) else [axes]))


def _behind_dummies(node: Node) -> tuple[Node | None, list[Node]]:
    """A pool's argument behind unsqueezes nothing else reads, and those, nearest first."""
    source, between = node.args[0], []
    while isinstance(source, Node) and source.target in DUMMIES and len(source.users) == 1:
        between.append(source)
        source = source.args[0]
    return (source if isinstance(source, Node) else None), between


def _through(between: list[Node], x: Any) -> Any:
    """x as the unsqueezes now read it."""
    if not between:
        return x
    between[-1].args = (x, *between[-1].args[1:])
    return between[0]


def maximum_first(r: Rewriter, node: Node) -> bool:
    """max_pool(f(x)) -> f(max_pool(x)) for f that never falls: fewer elements, the same result."""
    if node.target is not ops.max_pool:
        return False
    source, between = _behind_dummies(node)
    if source is None or source.target not in _RISING or len(source.users) != 1:
        return False
    x = _through(between, source.args[0])
    pooled = r.insert(node, ops.max_pool, (x, *node.args[1:]), node)
    return r.replace(node, r.insert(node, source.target, (pooled,)))


def pools_of_everything(r: Rewriter, node: Node) -> bool:
    """A pool whose only window is the whole axis -> a maximum or mean over the axis."""
    if node.target not in (ops.max_pool, ops.avg_pool):
        return False
    x, kernel, _, padding, *rest = node.args
    before, after = r.specs.get(x.name), r.specs.get(node.name)
    if before is None or after is None or any(padding):
        return False
    largest = node.target is ops.max_pool
    if (largest and any(gap != 1 for gap in rest[0])) or (not largest and rest[2] is not None):
        return False
    n = len(kernel)
    sizes, outputs = before.shape[-n:], after.shape[-n:]
    whole = [k == size and out == 1 for k, size, out in zip(kernel, sizes, outputs, strict=True)]
    axes = [i - n for i, size in enumerate(sizes) if size > 1]
    if not all(whole) or len(axes) != 1:
        return False
    target = _aten.amax.default if largest else _aten.mean.dim
    return r.replace(node, r.insert(node, target, (x, axes, True)))
