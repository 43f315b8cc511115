"""Means of what is normalised by statistics over all positions: see `means`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops

if TYPE_CHECKING:
    from yuzu_cli.graph.rewrites.means import Means, Over

_aten = torch.ops.aten


def _normed(
    means: Means, mean: Node, blocks: Node, axes: list[int], eps: Any, scale: Node | None = None
) -> Node:
    """A mean of values less their own mean, over their deviation along some axes."""
    centre = means.put(_aten.mean.dim, blocks, axes, True)
    centre = centre if scale is None else means.put(_aten.mul.Tensor, centre, scale)
    less = means.put(_aten.sub.Tensor, mean, centre)
    means.found = True
    return means.put(_aten.div.Tensor, less, means.put(ops.deviation, blocks, axes, float(eps)))


def group_norm(means: Means, norm: Node, over: Over, shape: tuple[int, ...]) -> Node | None:
    x, weight, bias, _, channels, _, groups, eps = norm.args
    learned = [means.r.constant(n) for n in (weight, bias) if n is not None]
    if not isinstance(x, Node) or 1 in over or any(n is None for n in learned):
        return None
    sizes = [1 if axis in over else n for axis, n in enumerate(shape)][2:]
    made, every = means(x, over), list(range(1, len(shape)))
    if groups in (1, channels):
        made = _normed(means, made, x, every if groups == 1 else every[1:], eps)
    else:
        assert isinstance(channels, int)
        assert isinstance(groups, int)
        rows, split = means.r.batch(), (groups, channels // groups)
        blocks = means.put(_aten.reshape.default, x, [rows, *split, *shape[2:]])
        made = means.put(_aten.reshape.default, made, [rows, *split, *sizes])
        made = _normed(means, made, blocks, [a + 1 for a in every[1:]] + [2], eps)
        made = means.put(_aten.reshape.default, made, [rows, channels, *sizes])
    if not learned:
        return made
    like = means.r.like.new_ones(channels)
    scale = weight if weight is not None else means.r.add_constant(like, means.before)
    shift = bias if bias is not None else means.r.add_constant(0 * like, means.before)
    return means.put(ops.affine, made, scale, shift)


def layer_norm(
    means: Means, node: Node, x: Node, over: Over, shape: tuple[int, ...]
) -> Node | None:
    """Over axes among those that are normalised; elsewhere it is no sum."""
    _, sizes, weight, bias, eps = node.args
    assert isinstance(sizes, (list, tuple))
    axes = list(range(len(shape) - len(sizes), len(shape)))
    if not set(over) <= set(axes):
        return None
    scale, shift = (_of_constant(means, n, over, axes) for n in (weight, bias))
    if (scale is None) != (weight is None) or (shift is None) != (bias is None):
        return None
    if weight is None:
        made = _normed(means, means(x, over), x, axes, eps)
    else:
        made = means.plain(means.put(_aten.mul.Tensor, x, weight), over, shape)
        made = _normed(means, made, x, axes, eps, scale)
    return made if shift is None else means.put(_aten.add.Tensor, made, shift)


def _of_constant(means: Means, node: Any, over: Over, axes: list[int]) -> Node | None:
    """The mean of a norm's weight or bias, which has the normalised axes only."""
    value = means.r.constant(node)
    if value is None:
        return None
    for axis, part in over.items():
        index = torch.tensor(list(part), device=value.device)
        value = value.index_select(axes.index(axis), index)
    mean = value.mean([axes.index(axis) for axis in over], keepdim=True)
    return means.r.add_constant(mean, means.before)
