"""Strands that a model put beside the sequences, on their axis, computed each for itself."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.program import batch_size
from yuzu_cli.graph.rewrites.axes import order_of
from yuzu_cli.graph.rewrites.rewriter import (
    VIEWS,
    NotYetKnownError,
    Rewriter,
    defaults,
    pointwise,
    slice_of,
)

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
ALONG = {
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
_APART_TOO = {_aten.clone.default, ops.layer_norm, ops.linear}
"""Those of them whose second axis may be that of the streams."""


@dataclass(slots=True)
class _Streams:
    """What is computed of `count` streams: ``cat([x, y], 0)`` or, woven, of pairs (x, y).

    Attributes
    ----------
    leading : dict of Node -> int
        What is computed of each stream for itself, in order, and how many axes are those of
        sequences and streams: 1, or 2 where woven streams have an axis of their own.
    ends : dict of Node -> int or None
        Calls that take streams apart, and which one each gives; None for all of them.
    writes : dict of Node -> int
        Calls that put something else in the place of one stream, and of which.
    """

    root: Node
    count: int
    woven: bool
    leading: dict[Node, int] = field(default_factory=dict)
    ends: dict[Node, int | None] = field(default_factory=dict)
    writes: dict[Node, int] = field(default_factory=dict)


def streams(r: Rewriter, node: Node) -> bool:
    """f(cat([x, y], 0)), taken apart later -> f(x) and f(y), where f treats each row for itself.

    So with rows in turn, as of ``stack([x, y], 1).flatten(0, 1)``.
    """
    found = _joined(r, node) or _woven(r, node)
    if found is None or not _follow(r, found):
        return False
    parts = _parts(r, node, found)
    pieces: dict[Node, list[Node]] = {node: parts}
    for inner, leading in found.leading.items():
        if inner in found.writes:
            pieces[inner] = list(pieces[inner.args[0]])
            pieces[inner][found.writes[inner]] = inner.args[1]
        elif inner is not node:
            made = (_copy(r, inner, pieces, i, leading) for i in range(found.count))
            pieces[inner] = list(made)
    for end, which in found.ends.items():
        given = pieces[end.args[0]]
        if which is not None:
            r.replace(end, given[which])
            continue
        axis = int(found.woven)
        each = [r.insert(end, _aten.unsqueeze.default, (p, axis)) for p in given]
        joined = r.insert(end, _aten.cat.default, (each, axis))
        r.replace(end, r.insert(end, _aten.reshape.default, (joined, r.shape_of(end))))
    for inner, leading in found.leading.items():
        beyond = [u for u in inner.users if u not in found.leading and u not in found.ends]
        if leading == 2 and beyond:
            joined = r.insert(inner, _aten.cat.default, (pieces[inner], 1))
            for user in beyond:
                user.replace_input_with(inner, joined)
    return True


def _joined(r: Rewriter, node: Node) -> _Streams | None:
    """Streams one after the other."""
    spec = r.specs.get(node.name)
    if node.target is not _aten.cat.default or spec is None or spec.batch_axis != 0:
        return None
    parts: Any = node.args[0]
    axis: Any = node.args[1] if len(node.args) > 1 else 0
    alone = all(r.specs[p.name].by_sequence for p in parts)
    if axis % len(spec.shape) or not alone or not 1 < len(parts) <= MOST_STREAMS:
        return None
    return _Streams(node, len(parts), False, {node: 1})


def _woven(r: Rewriter, node: Node) -> _Streams | None:
    """Streams in turn: the second axis, or equal parts of it, merged with that of the sequences."""
    spec = r.specs.get(node.name)
    if node.target not in VIEWS or spec is None or not 1 < spec.shape[0] <= MOST_STREAMS:
        return None
    before, count = r.specs[node.args[0].name], spec.shape[0]
    whole = spec.batch_axis == 0 and before.by_sequence
    if not whole or len(before.shape) < 3 or before.shape[1] % count:
        return None
    return _Streams(node, count, True, {node: 1})


def _parts(r: Rewriter, node: Node, found: _Streams) -> list[Node]:
    """The streams, with nothing else on the axis of the sequences."""
    source: Any = node.args[0]
    if not found.woven:
        return list(source)
    size = r.specs[source.name].shape[1] // found.count
    joins = source.target is _aten.cat.default and source.args[1:] == (1,)
    if joins and [r.specs[p.name].shape[1] for p in source.args[0]] == [size] * found.count:
        parts = source.args[0]
    else:
        ends = [(i * size, (i + 1) * size) for i in range(found.count)]
        parts = [r.insert(node, _aten.slice.Tensor, (source, 1, *pair)) for pair in ends]
    shape = [r.batch(), *r.specs[node.name].shape[1:]]
    return [r.insert(node, _aten.reshape.default, (part, shape)) for part in parts]


def _follow(r: Rewriter, found: _Streams) -> bool:
    """Find what is computed of each stream; False where streams meet or are not told apart."""
    for node in r.graph.nodes:
        read = {found.leading[n] for n in node.all_input_nodes if n in found.leading}
        if not read or node is found.root:
            continue
        if node not in r.there:
            raise NotYetKnownError(node.name)
        leading = max(read)
        if node.op == "call_function" and node.name in r.specs and len(read) == 1:
            which = _taken(r, node, found, leading)
            if which is not None:
                found.ends[node] = which
                continue
            written = _written(r, node, found, leading)
            if written is not None:
                found.leading[node], found.writes[node] = leading, written
                continue
            after = _leading(r, node, found, leading)
            if after is not None:
                found.leading[node] = after
                continue
            if leading == 1 and _all_taken(r, node, found):
                found.ends[node] = None
                continue
        if min(read) == 1:
            return False
    return bool(found.ends) if not found.woven else any(map(_heavy, found.leading))


def _heavy(node: Node) -> bool:
    """Whether a call is more than a function of single elements in another order."""
    return node.target in _EACH_ROW | ALONG.keys()


def _leading(r: Rewriter, node: Node, found: _Streams, leading: int) -> int | None:
    """How many axes of a call's value are those of sequences and streams, the rest for itself."""
    spec, count = r.specs[node.name], found.count
    if spec.batch_axis != 0:
        return None
    if node.target in VIEWS:
        if spec.shape[0] == count:
            return 1
        return 2 if found.woven and spec.shape[:2] == (1, count) else None
    others = [n for n in node.all_input_nodes if n not in found.leading and n.name in r.specs]
    fixed = all(r.constant(n) is not None for n in others)
    rows = spec.shape[:leading] == ((count,) if leading == 1 else (1, count))
    return leading if rows and fixed and _each_row(r, node, others, leading) else None


def _each_row(r: Rewriter, node: Node, fixed: list[Node], leading: int) -> bool:
    """Whether a call treats the entries of the first axis, or the first two, each for itself."""
    target, rank = node.target, len(r.specs[node.name].shape)
    if pointwise(node):
        shapes = (r.specs[n.name].shape[1 - rank :] for n in fixed)
        return leading == 1 or all(len(s) < rank - 1 or s[0] == 1 for s in shapes)
    if target in _EACH_ROW:
        inner: Any = len(node.args[1]) if target is ops.layer_norm else 1
        return leading == 1 or (target in _APART_TOO and rank - inner >= 2)
    if target in (_aten.permute.default, _aten.transpose.int):
        return order_of(node, rank)[:leading] == list(range(leading))
    if target is _aten.constant_pad_nd.default:
        return not any(node.args[1][2 * (rank - leading) :])
    at = ALONG.get(target)
    if at is None or len(node.args) <= at:
        return False
    axes: Any = node.args[at] if isinstance(node.args[at], (list, tuple)) else [node.args[at]]
    source = node.args[0][0] if target is _aten.cat.default else node.args[0]
    before = len(r.specs[source.name].shape) + (target is _aten.unsqueeze.default)
    return bool(axes) and all(axis % before >= leading for axis in axes)


def _taken(r: Rewriter, node: Node, found: _Streams, leading: int) -> int | None:
    """Which stream a slice is."""
    if node.target is not _aten.slice.Tensor or node.kwargs:
        return None
    return _which(r, node, slice_of(node), found, leading)


def _written(r: Rewriter, node: Node, found: _Streams, leading: int) -> int | None:
    """Which stream an assignment to a slice puts something else in the place of."""
    if node.target is not _aten.slice_scatter.default or node.kwargs or node in found.leading:
        return None
    base, source, *cut = defaults(node, (None, None, 0, None, None, 1))
    spec = r.specs[source.name] if isinstance(source, Node) else None
    if base not in found.leading or source in found.leading or spec is None:
        return None
    if not spec.by_sequence:
        return None
    return _which(r, node, tuple(cut), found, leading)


def _which(
    r: Rewriter, node: Node, cut: tuple[Any, ...], found: _Streams, leading: int
) -> int | None:
    """The stream that an axis, a begin, an end and a step come to."""
    axis, begin, end, step = cut
    if axis % len(r.specs[node.name].shape) != leading - 1:
        return None
    told = {_rows(slice(begin, end, step), n, found, leading) for n in (5, 7)}
    return told.pop() if len(told) == 1 else None


def _rows(part: slice, n: int, found: _Streams, leading: int) -> int | None:
    """The stream that a slice is, of n sequences."""
    count = found.count
    try:
        bounds = slice(_number(part.start, n), _number(part.stop, n), part.step)
    except TypeError:
        return None
    rows = range(*bounds.indices(count if leading == 2 else n * count))
    for i in range(count):
        one = range(i, i + 1) if leading == 2 else range(i * n, i * n + n)
        if rows == (range(i, n * count, count) if found.woven and leading == 1 else one):
            return i
    return None


def _number(value: Any, n: int) -> Any:
    """An expression of the number of sequences, for n of them."""
    if not isinstance(value, Node):
        return value
    if value.target is batch_size:
        return n
    if value.target not in (operator.mul, operator.add):
        raise TypeError(value.name)
    return value.target(*(_number(a, n) for a in value.args))


def _all_taken(r: Rewriter, node: Node, found: _Streams) -> bool:
    """Whether a view takes the sequences apart from the streams, which it keeps in order."""
    spec = r.specs[node.name]
    if node.target not in VIEWS:
        return False
    if found.woven:
        return spec.by_sequence
    return spec.batch_axis == 1 and spec.shape[:2] == (found.count, 1)


def _copy(
    r: Rewriter, node: Node, pieces: dict[Node, list[Node]], which: int, leading: int
) -> Node:
    """A call for one stream."""
    args: Any = torch.fx.map_arg(node.args, lambda n: pieces[n][which] if n in pieces else n)
    if node.target in VIEWS:
        one = [1] * (leading - 1)
        args = (args[0], [r.batch(), *one, *r.specs[node.name].shape[leading:]])
    made = r.insert(node, node.target, args)
    made.kwargs = dict(node.kwargs)
    return made
