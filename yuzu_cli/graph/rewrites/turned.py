"""Tensors whose first axis is not that of the sequences, as torch's layers have them by default.

What is done to them is done with the sequences first, between two permutations; these cancel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.axes import order_of
from yuzu_cli.graph.rewrites.rewriter import DUMMIES, PERMUTED, VIEWS, Rewriter, pointwise

_aten = torch.ops.aten
_PICKS = {_aten.select.int, _aten.slice.Tensor}
_SUMS = {_aten.mean.dim, _aten.sum.dim_IntList, _aten.amax.default}


def sequences_first(r: Rewriter, node: Node) -> bool:
    """f(x) for x (..., N, ...) -> f'(x (N, ...)), permuted back."""
    spec, source = r.specs.get(node.name), node.args[0] if node.args else None
    parts: Any = source if node.target is _aten.cat.default else [source]
    first = parts[0] if parts and isinstance(parts[0], Node) else None
    if spec is None or first is None or first.name not in r.specs:
        return False
    at, to = r.specs[first.name].batch_axis, spec.batch_axis
    if at is None or to is None or at < 0 or to < 0 or at == to == 0:
        return False
    if r.specs[first.name].shape[at] != 1 or spec.shape[to] != 1:
        return False
    made = _made(r, node, first, at, to)
    if made is None:
        return False
    back = list(range(1, len(spec.shape)))
    back.insert(to, 0)
    return r.replace(node, r.insert(node, _aten.permute.default, (made, back)))


def _made(r: Rewriter, node: Node, x: Node, at: int, to: int) -> Node | None:
    """The call on what has the sequences first."""
    target, args, rank = node.target, list(node.args), len(r.specs[x.name].shape)
    shape = r.specs[node.name].shape

    def axis(given: int) -> int:
        given %= rank
        return given + (given < at)

    if target in VIEWS | DUMMIES:
        before = r.specs[x.name].shape
        if math.prod(before[:at]) != math.prod(shape[:to]):
            return None
        rest = [s for i, s in enumerate(shape) if i != to]
        return r.insert(node, _aten.reshape.default, (_first(r, node, x, at), [r.batch(), *rest]))
    if target in _PICKS or target in _SUMS:
        axes: Any = args[1] if len(args) > 1 else None
        listed = axes if isinstance(axes, (list, tuple)) else [axes]
        if not listed or any(not isinstance(a, int) or a % rank == at for a in listed):
            return None
        args[0] = _first(r, node, x, at)
        args[1] = [axis(a) for a in listed] if isinstance(axes, (list, tuple)) else axis(axes)
    elif target in (ops.linear, ops.layer_norm):
        if at >= rank - (1 if target is ops.linear else len(args[1])):
            return None
        args[0] = _first(r, node, x, at)
    elif target is _aten.cat.default:
        along = int(args[1]) % rank if len(args) > 1 else 0
        if along == at or any(r.specs[p.name].batch_axis != at for p in args[0]):
            return None
        args[:2] = [_first(r, node, p, at) for p in args[0]], axis(along)
    elif target is _aten.clone.default:
        return _first(r, node, x, at)
    elif pointwise(node) and at == to and not node.kwargs:
        found = [_aligned(r, node, a, at, rank) for a in args]
        if any(f is None for f in found) or len(shape) != rank:
            return None
        args = [f[0] for f in found if f is not None]
    else:
        return None
    made = r.insert(node, target, tuple(args))
    made.kwargs = dict(node.kwargs)
    return made


def _aligned(r: Rewriter, node: Node, given: Any, at: int, rank: int) -> tuple[Any] | None:
    """An argument of a function of single elements, with the sequences first."""
    if not isinstance(given, Node):
        return (given,)
    value = r.constant(given)
    if value is None:
        spec = r.specs[given.name]
        fits = spec.batch_axis == at and len(spec.shape) == rank
        return (_first(r, node, given, at),) if fits else None
    if value.dim() <= rank - 1 - at:
        return (given,)
    value = value.reshape(*(1,) * (rank - value.dim()), *value.shape)
    if value.dim() > rank or value.shape[at] != 1:
        return None
    return (r.add_constant(value.movedim(at, 0), node),)


def _first(r: Rewriter, node: Node, x: Node, at: int) -> Node:
    """x with the sequences before all other axes."""
    if at == 0:
        return x
    order = [at, *(a for a in range(len(r.specs[x.name].shape)) if a != at)]
    return r.insert(node, _aten.permute.default, (x, order))


def heads_first(r: Rewriter, node: Node) -> bool:
    """Heads merged with the sequences while these stand second, and parted again: said plainly.

    (L, N, H * D) -> (L, N * H, D) -> (N * H, L, D), and back.
    """
    return _merged(r, node) or _split(r, node)


def _merged(r: Rewriter, node: Node) -> bool:
    view = node.args[0] if node.target in PERMUTED else None
    source = view.args[0] if isinstance(view, Node) and view.target in VIEWS else None
    if not isinstance(view, Node) or not isinstance(source, Node):
        return False
    before, after = r.specs[source.name], r.specs[view.name]
    if before.batch_axis != 1 or after.batch_axis != 1 or len(after.shape) != 3:
        return False
    length, heads, width = after.shape
    order = order_of(node, 3)
    if before.shape != (length, 1, heads * width) or heads == 1 or order[0] != 1:
        return False
    apart = [length, r.batch(), heads, width]
    moved = r.insert(node, _aten.reshape.default, (source, apart))
    tail = [0 if a == 0 else 3 for a in order[1:]]
    moved = r.insert(node, _aten.permute.default, (moved, [1, 2, *tail]))
    return r.replace(node, r.insert(node, _aten.reshape.default, (moved, r.shape_of(node))))


def _split(r: Rewriter, node: Node) -> bool:
    turned = node.args[0] if node.target in VIEWS else None
    if not isinstance(turned, Node) or turned.target not in PERMUTED:
        return False
    source = turned.args[0]
    before, after = r.specs[source.name], r.specs[node.name]
    if before.batch_axis != 0 or len(before.shape) != 3 or before.shape[0] == 1:
        return False
    heads, length, width = before.shape
    rows = after.batch_axis == 1 and after.shape == (length, 1, heads * width)
    merged = after.batch_axis == 0 and after.shape == (length, heads * width)
    if order_of(turned, 3) != [1, 0, 2] or not (rows or merged):
        return False
    apart = [r.batch(), heads, length, width]
    moved = r.insert(node, _aten.reshape.default, (source, apart))
    moved = r.insert(node, _aten.permute.default, (moved, [2, 0, 1, 3]))
    return r.replace(node, r.insert(node, _aten.reshape.default, (moved, r.shape_of(node))))
