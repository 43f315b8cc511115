"""Layers over channels in the spelling that windows are cheapest in."""

from __future__ import annotations

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.rewriter import Rewriter

_aten = torch.ops.aten


def picked_channels(r: Rewriter, node: Node) -> bool:
    """A convolution of picked channels -> one of the channels themselves, its weights picked.

    Letters repeated for every group of filters are seen by all of them: then no groups are left.
    """
    if node.target is not _aten.convolution.default or node.args[6]:
        return False
    source, weight, groups = node.args[0], r.constant(node.args[1]), node.args[8]
    if not isinstance(source, Node) or source.target is not ops.pick or weight is None:
        return False
    x, axis, listed = source.args
    index, count = r.constant(listed), r.specs[x.name].shape[1]
    if axis != 1 or index is None or r.specs[x.name].batch_axis != 0:
        return False
    if groups > 1 and count > weight.shape[1]:  # most weights would be zero
        return False
    found = weight.new_zeros((groups, len(weight) // groups, count, *weight.shape[2:]))
    for part, own, places in zip(found, weight.chunk(groups), index.view(groups, -1), strict=True):
        part.index_add_(1, places, own)
    args = list(node.args)
    args[:2] = x, r.add_constant(found.flatten(0, 1), node)
    args[8] = 1
    return r.replace(node, r.insert(node, node.target, tuple(args)))


def of_one_place(r: Rewriter, node: Node) -> bool:
    """A convolution along an axis of one -> a linear layer, or one for each group of channels."""
    if node.target is not _aten.convolution.default or node.args[6]:
        return False
    x, weight, bias, _, padding, *_, groups = node.args
    spec, value = r.specs[x.name], r.constant(weight)
    if not spec.by_sequence or value is None or value.dim() != 3:
        return False
    if spec.shape[2] != 1 or value.shape[2] != 1 or list(padding) != [0]:
        return False
    offset = None if bias is None else r.constant(bias)
    if bias is not None and offset is None:
        return False
    parts = value[:, :, 0].view(groups, -1, value.shape[1]).transpose(1, 2)
    offset = None if offset is None else offset.view(groups, -1)
    function, shape = ops.grouped, [r.batch(), groups, value.shape[1]]
    if groups == 1:
        function, shape, parts = ops.linear, shape[:1] + shape[2:], parts[0]
        offset = None if offset is None else offset[0]
    constants = [None if t is None else r.add_constant(t, node) for t in (parts, offset)]
    flat = r.insert(node, _aten.reshape.default, (x, shape))
    made = r.insert(node, function, (flat, *constants))
    shape = [r.batch(), len(value), 1]
    return r.replace(node, r.insert(node, _aten.reshape.default, (made, shape)))
