"""Values that only change place along one axis: assignments, joins of slices, fresh tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.rewriter import Rewriter, slice_of

_aten = torch.ops.aten

_FRESH: dict[Any, Callable[[tuple[Any, ...]], Any]] = {
    _aten.zeros_like.default: lambda args: 0,
    _aten.ones_like.default: lambda args: 1,
    _aten.full_like.default: lambda args: args[1],
    _aten.empty_like.default: lambda args: 0,
    _aten.new_empty.default: lambda args: 0,
    _aten.new_zeros.default: lambda args: 0,
    _aten.new_ones.default: lambda args: 1,
    _aten.new_full.default: lambda args: args[2],
}
"""Tensors that take only shape and type from another, with what fills them."""
UNWRITTEN = "memory that nothing has written"


def fresh_tensors(r: Rewriter, node: Node) -> bool:
    """zeros_like(x) and the like -> full, which reads nothing that an edit can change."""
    spec = r.specs.get(node.name)
    if node.target not in _FRESH or spec is None or spec.batch_axis in (None, -1):
        return False
    value = _FRESH[node.target](tuple(node.args))
    if not isinstance(value, (int, float, bool)):
        return False
    sizes: list[Any] = list(spec.shape)
    at, rows = spec.batch_axis, r.batch()
    sizes[at] = rows if sizes[at] == 1 else r.insert(node, operator.mul, (rows, sizes[at]))
    made = r.insert(node, _aten.full.default, (sizes, value))
    made.kwargs = {"dtype": spec.dtype, "device": r.like.device}
    made.meta[UNWRITTEN] = "empty" in str(node.target)
    return r.replace(node, made)


def selections(r: Rewriter, node: Node) -> bool:
    """x.select(axis, i) -> a slice of one, squeezed: what else of x is not needed then shows."""
    if node.target is not _aten.select.int or node.kwargs or node.args[0].name not in r.specs:
        return False
    x, axis, at = node.args
    spec = r.specs[x.name]
    axis = int(axis) % len(spec.shape)
    if spec.batch_axis != 0 or axis == 0 or not isinstance(at, int):
        return False
    at = at % spec.shape[axis]
    piece = r.insert(node, _aten.slice.Tensor, (x, axis, at, at + 1))
    return r.replace(node, r.insert(node, _aten.squeeze.dim, (piece, axis)))


def stacks(r: Rewriter, node: Node) -> bool:
    """Tensors stacked on a new axis -> joined along it."""
    if node.target is not _aten.stack.default or node.name not in r.specs:
        return False
    axis: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    axis = int(axis) % len(r.specs[node.name].shape)
    parts = [r.insert(node, _aten.unsqueeze.default, (part, axis)) for part in node.args[0]]
    return r.replace(node, r.insert(node, _aten.cat.default, (parts, axis)))


def assignments(r: Rewriter, node: Node) -> bool:
    """x[..., a:b] = y -> x before a, y, x after b, joined."""
    if node.target is not _aten.slice_scatter.default or node.name not in r.specs:
        return False
    shape = r.specs[node.name].shape
    given = (*node.args, *(None, None, 0, None, None, 1)[len(node.args) :])
    base, source, axis, start, stop, step = given
    axis = int(axis) % len(shape)
    if (
        step != 1
        or axis == 0
        or node.kwargs
        or not all(isinstance(n, Node) for n in (base, source))
    ):
        return False
    begin, end, _ = slice(start, stop).indices(shape[axis])
    if end <= begin:
        return r.replace(node, base)
    parts = [source]
    if begin > 0:
        parts.insert(0, r.insert(node, _aten.slice.Tensor, (base, axis, 0, begin)))
    if end < shape[axis]:
        parts.append(r.insert(node, _aten.slice.Tensor, (base, axis, end, shape[axis])))
    return r.replace(node, r.insert(node, _aten.cat.default, (parts, axis)))


def picks(r: Rewriter, node: Node) -> bool:
    """Slices of one tensor joined along the axis they were cut on -> positions picked from it."""
    if node.target is not _aten.cat.default or node.name not in r.specs:
        return False
    axis = _cat_axis(r, node)
    if axis == 0:
        return False
    roots, index = _traced(r, node, axis)
    if any(root is not roots[0] for root in roots) or roots[0] is node:
        return False
    root = roots[0]
    if len(node.args[0]) == 1 and len(index[0]) == r.specs[root.name].shape[axis]:
        return False
    picked = torch.from_numpy(np.concatenate(index)).to(r.like.device)
    args = (root, axis, r.add_constant(picked, node))
    return r.replace(node, r.insert(node, ops.pick, args))


def listings(r: Rewriter, node: Node) -> bool:
    """x[:, [3, 2, 1, 0]] and x.repeat(1, 5, 1) -> positions picked from an axis."""
    spec = r.specs.get(node.args[0].name) if node.args and isinstance(node.args[0], Node) else None
    if spec is None or spec.batch_axis != 0 or node.kwargs:
        return False
    x, *rest = node.args
    given: Any = rest[0] if rest else ()
    if node.target is _aten.repeat.default:
        if len(given) != len(spec.shape) or any(not isinstance(n, int) for n in given):
            return False
        wanted = [(a, torch.arange(spec.shape[a]).repeat(n)) for a, n in enumerate(given) if n != 1]
    elif node.target is _aten.index.Tensor:
        lists = [(a, r.constant(i)) for a, i in enumerate(given) if i is not None]
        ((axis, index), *more) = lists
        if more or index is None or index.dim() != 1 or index.dtype is not torch.int64:
            return False
        wanted = [(axis, index % spec.shape[axis])]
    else:
        return False
    if any(axis == 0 for axis, _ in wanted):
        return False
    for axis, index in wanted:
        place = r.add_constant(index.to(r.like.device), node)
        x = r.insert(node, ops.pick, (x, axis, place))
    return r.replace(node, x)


def _cat_axis(r: Rewriter, node: Node) -> int:
    axis: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return int(axis) % len(r.specs[node.name].shape)


def _traced(r: Rewriter, node: Node, axis: int) -> tuple[list[Node], list[np.ndarray]]:
    """Where the positions of a value come from: tensors, and runs of positions of each."""
    if node.target is _aten.cat.default and node.name in r.specs and _cat_axis(r, node) == axis:
        pairs = [_traced(r, part, axis) for part in node.args[0]]
        return [n for p in pairs for n in p[0]], [i for p in pairs for i in p[1]]
    if node.target is _aten.slice.Tensor and node.name in r.specs:
        along, *bounds = slice_of(node)
        if int(along) % len(r.specs[node.name].shape) == axis:
            return _cut(*_traced(r, node.args[0], axis), slice(*bounds))
    return [node], [np.arange(r.specs[node.name].shape[axis], dtype=np.int64)]


def _cut(
    roots: list[Node], index: list[np.ndarray], part: slice
) -> tuple[list[Node], list[np.ndarray]]:
    """A slice of positions that come from several tensors."""
    owner = np.concatenate([np.full(len(run), i) for i, run in enumerate(index)])[part]
    places = np.concatenate(index)[part]
    kept = [i for i in range(len(roots)) if (owner == i).any()]
    return [roots[i] for i in kept], [places[owner == i] for i in kept]
