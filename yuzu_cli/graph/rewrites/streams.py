"""Strands that a model put beside the sequences, on their axis, computed each for itself."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.apart import Streams, all_taken, taken, written
from yuzu_cli.graph.rewrites.axes import order_of
from yuzu_cli.graph.rewrites.rewriter import (
    VIEWS,
    NotYetKnownError,
    Rewriter,
    pointwise,
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


def streams(r: Rewriter, node: Node) -> bool:
    """f(cat([x, y], 0)), taken apart later -> f(x) and f(y), where f treats each row for itself.

    So with rows in turn, as of ``stack([x, y], 1).flatten(0, 1)``, and with ``stack([x, y], 0)``.
    """
    found = _joined(r, node) or _stacked(r, node) or _woven(r, node)
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


def _joined(r: Rewriter, node: Node) -> Streams | None:
    """Streams one after the other."""
    spec = r.specs.get(node.name)
    if node.target is not _aten.cat.default or spec is None or spec.batch_axis != 0:
        return None
    parts: Any = node.args[0]
    axis: Any = node.args[1] if len(node.args) > 1 else 0
    alone = all(r.specs[p.name].by_sequence for p in parts)
    if axis % len(spec.shape) or not alone or not 1 < len(parts) <= MOST_STREAMS:
        return None
    return Streams(node, len(parts), False, {node: 1})


def _stacked(r: Rewriter, node: Node) -> Streams | None:
    """Streams one after the other, from an axis of their own before that of the sequences."""
    spec = r.specs.get(node.name)
    if node.target not in VIEWS or spec is None or spec.batch_axis != 0:
        return None
    source: Any = node.args[0]
    before, count = r.specs[source.name], spec.shape[0]
    whole = before.batch_axis == 1 and before.shape[:2] == (count, 1)
    if not whole or not 1 < count <= MOST_STREAMS or not _turned(r, source):
        return None
    return Streams(node, count, False, {node: 1})


def _turned(r: Rewriter, source: Node) -> bool:
    """Whether a call does nothing but put the axis of the sequences second."""
    rank = len(r.specs[source.name].shape)
    turns = source.target in (_aten.permute.default, _aten.transpose.int)
    return turns and order_of(source, rank) == [1, 0, *range(2, rank)]


def _woven(r: Rewriter, node: Node) -> Streams | None:
    """Streams in turn: the second axis, or equal parts of it, merged with that of the sequences."""
    spec = r.specs.get(node.name)
    if node.target not in VIEWS or spec is None or not 1 < spec.shape[0] <= MOST_STREAMS:
        return None
    before, count = r.specs[node.args[0].name], spec.shape[0]
    whole = spec.batch_axis == 0 and before.by_sequence
    if not whole or len(before.shape) < 3 or before.shape[1] % count:
        return None
    return Streams(node, count, True, {node: 1})


def _parts(r: Rewriter, node: Node, found: Streams) -> list[Node]:
    """The streams, with nothing else on the axis of the sequences."""
    source: Any = node.args[0]
    if isinstance(source, list):
        return list(source)
    source = source if found.woven else source.args[0]
    size = r.specs[source.name].shape[1] // found.count
    joins = source.target is _aten.cat.default and source.args[1:] == (1,)
    if joins and [r.specs[p.name].shape[1] for p in source.args[0]] == [size] * found.count:
        parts = source.args[0]
    elif size == 1 and _repeats(r, source):
        parts = [source.args[0]] * found.count
    else:
        ends = [(i * size, (i + 1) * size) for i in range(found.count)]
        parts = [r.insert(node, _aten.slice.Tensor, (source, 1, *pair)) for pair in ends]
    shape = [r.batch(), *r.specs[node.name].shape[1:]]
    return [r.insert(node, _aten.reshape.default, (part, shape)) for part in parts]


def _repeats(r: Rewriter, source: Node) -> bool:
    """Whether entries of the second axis are one and the same."""
    if source.target is not _aten.expand.default:
        return False
    before, after = (r.specs[n.name].shape for n in (source.args[0], source))
    return before == (1, 1, *after[2:])


def _follow(r: Rewriter, found: Streams) -> bool:
    """Find what is computed of each stream; False where streams meet or are not told apart."""
    for node in r.graph.nodes:
        read = {found.leading[n] for n in node.all_input_nodes if n in found.leading}
        if not read or node is found.root:
            continue
        if node not in r.there:
            raise NotYetKnownError(node.name)
        leading = max(read)
        if node.op == "call_function" and node.name in r.specs and len(read) == 1:
            which = taken(r, node, found, leading)
            if which is not None:
                found.ends[node] = which
                continue
            put = written(r, node, found, leading)
            if put is not None:
                found.leading[node], found.writes[node] = leading, put
                continue
            after = _leading(r, node, found, leading)
            if after is not None:
                found.leading[node] = after
                continue
            if leading == 1 and all_taken(r, node, found):
                found.ends[node] = None
                continue
        if min(read) == 1:
            return False
    apart = len(found.leading) == 1 and None not in found.ends.values()
    return bool(found.ends) if apart or not found.woven else any(map(_heavy, found.leading))


def _heavy(node: Node) -> bool:
    """Whether a call is more than a function of single elements in another order."""
    return node.target in _EACH_ROW | ALONG.keys()


def _leading(r: Rewriter, node: Node, found: Streams, leading: int) -> int | None:
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
