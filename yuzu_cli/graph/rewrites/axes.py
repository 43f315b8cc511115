"""Axes in another order, or of one put in and taken out: a chain of such calls as one."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph.rewrites.rewriter import DUMMIES, PERMUTED, VIEWS, Rewriter

_aten = torch.ops.aten


def permutations(r: Rewriter, node: Node) -> bool:
    """A permutation of what was permuted or given axes of one -> one permutation, and a view."""
    source = node.args[0] if node.args else None
    if node.target not in PERMUTED or not isinstance(source, Node):
        return False
    root, axes = _origin(r, node)
    spec = r.specs[root.name]
    if root is node or spec.batch_axis is None or spec.batch_axis < 0:
        return False
    kept = [a for a in axes if a is not None]
    moved = kept != sorted(kept)
    if root is source and moved:
        return False
    # Axes of one are anywhere: behind the batch, where they are in nobody's way.
    order = [*kept[:1], *(a for a in range(len(spec.shape)) if a not in kept), *kept[1:]]
    made = root
    if moved:
        made = r.insert(node, _aten.permute.default, (root, order))
    else:
        order = list(range(len(spec.shape)))
    if _sizes(r, root, order) != _sizes(r, node, list(range(len(r.specs[node.name].shape)))):
        made = r.insert(node, _aten.reshape.default, (made, r.shape_of(node)))
    return r.replace(node, made)


def order_of(node: Node, rank: int) -> list[int]:
    """The axes of what a permutation or transposition reads, in the order of the result's."""
    given: Any = node.args
    if node.target is _aten.permute.default:
        return [int(a) % rank for a in given[1]]
    order = list(range(rank))
    a, b = (int(a) % rank for a in given[1:3])
    order[a], order[b] = b, a
    return order


def _origin(r: Rewriter, node: Node) -> tuple[Node, list[int | None]]:
    """The tensor that a value's axes come from, and which of its axes each one is."""
    spec = r.specs[node.name]
    own: list[int | None] = [a if _counts(r, node, a) else None for a in range(len(spec.shape))]
    source = node.args[0] if node.args else None
    if not isinstance(source, Node) or source.name not in r.specs:
        return node, own
    if node.target in PERMUTED:
        root, axes = _origin(r, source)
        return root, [axes[a] for a in order_of(node, len(axes))]
    if node.target not in VIEWS | DUMMIES:
        return node, own
    before = [a for a in range(len(r.specs[source.name].shape)) if _counts(r, source, a)]
    after = [a for a in own if a is not None]
    if _sizes(r, source, before) != _sizes(r, node, after):
        return node, own
    root, axes = _origin(r, source)
    found = dict(zip(after, before, strict=True))
    return root, [None if a is None else axes[found[a]] for a in own]


def _counts(r: Rewriter, node: Node, axis: int) -> bool:
    """Whether an axis is longer than one, or that of the sequences."""
    spec = r.specs[node.name]
    return spec.shape[axis] != 1 or axis == spec.batch_axis


def _sizes(r: Rewriter, node: Node, axes: list[int]) -> list[tuple[int, bool]]:
    spec = r.specs[node.name]
    return [(spec.shape[a], a == spec.batch_axis) for a in axes]
