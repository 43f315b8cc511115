"""The first axis given back to the sequences: positions that a model put beside them."""

from __future__ import annotations

import math

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.rewriter import VIEWS, Rewriter, pointwise

_aten = torch.ops.aten


def merged_rows(r: Rewriter, node: Node) -> bool:
    """f(x.reshape(N * L, C)) -> f(x).reshape(N * L, C') for f of single rows."""
    if node.target not in (ops.linear, ops.layer_norm) and not pointwise(node):
        return False
    if node.name not in r.specs or (node.target is ops.layer_norm and len(node.args[1]) != 1):
        return False
    moving = [n for n in node.all_input_nodes if r.constant(n) is None]
    inner = [_unmerged(r, n) for n in moving]
    if not inner or any(n is None for n in inner) or any(n not in node.args for n in moving):
        return False
    shapes = [found[1] for found in inner if found is not None]
    last = r.specs[node.name].shape[-1]
    fixed = [r.constant(n) for n in node.all_input_nodes if n not in moving]
    rowwise = all(c is not None and c.numel() in (1, c.shape[-1:].numel()) for c in fixed)
    if any(s != shapes[0] for s in shapes) or (pointwise(node) and not rowwise):
        return False
    if pointwise(node) and shapes[0][-1] != last:
        return False
    found = {n: _as(r, node, *was) for n, was in zip(moving, inner, strict=True) if was}
    made = r.insert(node, node.target, tuple(found.get(a, a) for a in node.args))
    made.kwargs = dict(node.kwargs)
    return r.replace(node, r.insert(node, _aten.reshape.default, (made, r.shape_of(node))))


def _unmerged(r: Rewriter, node: Node) -> tuple[Node, tuple[int, ...]] | None:
    """What a tensor of merged rows was before, and its shape with its last axis as it is now."""
    source = node.args[0] if node.target in VIEWS else None
    if not isinstance(source, Node) or node.name not in r.specs or source.name not in r.specs:
        return None
    before, after = r.specs[source.name], r.specs[node.name]
    at, axes = before.batch_axis, len(before.shape)
    if (
        after.batch_axis != 0
        or after.shape[0] == 1
        or at is None
        or at < 0
        or before.shape[at] != 1
    ):
        return None
    after_batch = range(at + 1, axes)
    last = next((k for k in after_batch if math.prod(before.shape[k:]) == after.shape[-1]), None)
    if last is None:
        return None
    kept = (n for i, n in enumerate(before.shape[:last]) if n != 1 or i == at)
    return source, (*kept, after.shape[-1])


def _as(r: Rewriter, before: Node, x: Node, shape: tuple[int, ...]) -> Node:
    """x without axes of one and with its last axes merged, where they are not."""
    spec = r.specs[x.name]
    if spec.shape == shape:
        return x
    sizes = enumerate(r.shape_of(x))
    kept = [n for i, n in sizes if spec.shape[i] != 1 or i == spec.batch_axis]
    merged = [*kept[: len(shape) - 1], shape[-1]]
    return r.insert(before, _aten.reshape.default, (x, merged))
