"""The first axis given back to the sequences: positions or strands that a model put beside them."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.program import batch_size
from yuzu_cli.graph.rewrites.axes import order_of
from yuzu_cli.graph.rewrites.rewriter import VIEWS, Rewriter

_aten = torch.ops.aten

MOST_STREAMS = 4
"""More copies of what follows than this are not made."""

_EACH_ROW = {
    _aten.convolution.default,
    _aten.clone.default,
    ops.adaptive_max,
    ops.affine,
    ops.avg_pool,
    ops.grouped,
    ops.layer_norm,
    ops.linear,
    ops.max_pool,
}
"""Calls that treat every row alike, whatever their arguments are."""
_ALONG = {
    _aten._log_softmax.default: 1,
    _aten._softmax.default: 1,
    _aten.amax.default: 1,
    _aten.cat.default: 1,
    _aten.flip.default: 1,
    _aten.mean.dim: 1,
    _aten.select.int: 1,
    _aten.slice.Tensor: 1,
    _aten.squeeze.dim: 1,
    _aten.sum.dim_IntList: 1,
    _aten.unsqueeze.default: 1,
    ops.pick: 1,
    ops.softmax_pool: 2,
    ops.softmax_sum: 2,
}
"""Calls that do so along other axes, and where these stand among their arguments."""


def _pointwise(node: Node) -> bool:
    return torch.Tag.pointwise in getattr(node.target, "tags", ())


# --- positions merged with the sequences --------------------------------------------------------


def merged_rows(r: Rewriter, node: Node) -> bool:
    """f(x.reshape(N * L, C)) -> f(x).reshape(N * L, C') for f of single rows."""
    if node.target not in (ops.linear, ops.layer_norm) and not _pointwise(node):
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
    if any(s != shapes[0] for s in shapes) or (_pointwise(node) and not rowwise):
        return False
    if _pointwise(node) and shapes[0][-1] != last:
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
    return None if last is None else (source, (*before.shape[:last], after.shape[-1]))


def _as(r: Rewriter, before: Node, x: Node, shape: tuple[int, ...]) -> Node:
    """x with its last axes merged, where they are not."""
    if r.specs[x.name].shape == shape:
        return x
    merged = [*r.shape_of(x)[: len(shape) - 1], shape[-1]]
    return r.insert(before, _aten.reshape.default, (x, merged))


# --- strands stacked on the sequences -----------------------------------------------------------


def streams(r: Rewriter, node: Node) -> bool:
    """f(cat([x, y], 0)), taken apart later -> f(x) and f(y), where f treats each row for itself."""
    spec = r.specs.get(node.name)
    if node.target is not _aten.cat.default or spec is None or spec.batch_axis != 0:
        return False
    parts: Any = node.args[0]
    axis: Any = node.args[1] if len(node.args) > 1 else 0
    alone = all(r.specs[p.name].batch_axis == 0 and r.specs[p.name].shape[0] == 1 for p in parts)
    if axis % len(spec.shape) or not alone or not 1 < len(parts) <= MOST_STREAMS:
        return False
    ends: dict[Node, int | None] = {}
    within = _between(r, node, len(parts), ends)
    if within is None or not ends:
        return False
    found: dict[Node, list[Node]] = {node: list(parts)}
    for inner in within:
        found[inner] = [_copy(r, inner, found, i) for i in range(len(parts))]
    for end, which in ends.items():
        pieces = found[end.args[0]]
        if which is None:
            each = [r.insert(end, _aten.unsqueeze.default, (p, 0)) for p in pieces]
            r.replace(end, r.insert(end, _aten.cat.default, (each, 0)))
        else:
            r.replace(end, pieces[which])
    return True


def _between(
    r: Rewriter, root: Node, count: int, ends: dict[Node, int | None]
) -> list[Node] | None:
    """What is computed of each stream, in order; None where streams meet or are not told apart.

    `ends` gets the calls that take streams apart: which one each gives, None for all of them.
    """
    stacked, within = {root}, []
    for node in r.graph.nodes:
        read = [n for n in node.all_input_nodes if n in stacked]
        if not read:
            continue
        if node.op != "call_function" or node.name not in r.specs:
            return None
        which = _taken(r, node, count)
        if which is not None:
            ends[node] = which
            continue
        shape, batch = r.specs[node.name].shape, r.specs[node.name].batch_axis
        if node.target in VIEWS and shape[:2] == (count, 1) and batch == 1:
            ends[node] = None
            continue
        others = [n for n in node.all_input_nodes if n not in stacked and n.name in r.specs]
        fixed = all(r.constant(n) is not None for n in others)
        if batch != 0 or shape[0] != count or not fixed or not _each_row(r, node):
            return None
        stacked.add(node)
        within.append(node)
    return within


def _each_row(r: Rewriter, node: Node) -> bool:
    """Whether a call treats the entries of the first axis each for itself."""
    target, rank = node.target, len(r.specs[node.name].shape)
    if target in _EACH_ROW or target in VIEWS or _pointwise(node):
        return True
    if target in (_aten.permute.default, _aten.transpose.int):
        return order_of(node, rank)[0] == 0
    if target is _aten.constant_pad_nd.default:
        return not any(node.args[1][2 * rank - 2 :])
    at = _ALONG.get(target)
    if at is None or len(node.args) <= at:
        return False
    axes: Any = node.args[at] if isinstance(node.args[at], (list, tuple)) else [node.args[at]]
    source = node.args[0][0] if target is _aten.cat.default else node.args[0]
    before = len(r.specs[source.name].shape) + (target is _aten.unsqueeze.default)
    return bool(axes) and all(axis % before != 0 for axis in axes)


def _taken(r: Rewriter, node: Node, count: int) -> int | None:
    """Which stream a slice of the first axis is."""
    if node.target is not _aten.slice.Tensor or node.kwargs:
        return None
    given: Any = node.args
    _, axis, begin, end, step = given + (None, 0, None, None, 1)[len(given) :]
    if axis % len(r.specs[node.name].shape) or step != 1:
        return None
    found = {_rows(begin, end, n, count) for n in (5, 7)}
    return found.pop() if len(found) == 1 else None


def _rows(begin: Any, end: Any, n: int, count: int) -> int | None:
    """The stream that a slice of n * count rows is."""
    try:
        low, high, _ = slice(_number(begin, n), _number(end, n)).indices(n * count)
    except TypeError:
        return None
    return low // n if low % n == 0 and high - low == n else None


def _number(value: Any, n: int) -> Any:
    """An expression of the number of sequences, for n of them."""
    if not isinstance(value, Node):
        return value
    if value.target is batch_size:
        return n
    if value.target not in (operator.mul, operator.add):
        raise TypeError(value.name)
    return value.target(*(_number(a, n) for a in value.args))


def _copy(r: Rewriter, node: Node, found: dict[Node, list[Node]], which: int) -> Node:
    """A call for one stream."""
    args: Any = torch.fx.map_arg(node.args, lambda n: found[n][which] if n in found else n)
    if node.target in VIEWS:
        args = (args[0], [r.batch(), *args[1][1:]])
    made = r.insert(node, node.target, args)
    made.kwargs = dict(node.kwargs)
    return made
