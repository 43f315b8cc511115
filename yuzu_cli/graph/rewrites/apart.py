"""Where streams are taken apart: which of them a slice, an assignment or a view is."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph.program import batch_size
from yuzu_cli.graph.rewrites.rewriter import VIEWS, Rewriter, defaults, slice_of

_aten = torch.ops.aten


@dataclass(slots=True)
class Streams:
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


def taken(r: Rewriter, node: Node, found: Streams, leading: int) -> int | None:
    """Which stream a slice is."""
    if node.target is not _aten.slice.Tensor or node.kwargs:
        return None
    return _which(r, node, slice_of(node), found, leading)


def written(r: Rewriter, node: Node, found: Streams, leading: int) -> int | None:
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
    r: Rewriter, node: Node, cut: tuple[Any, ...], found: Streams, leading: int
) -> int | None:
    """The stream that an axis, a begin, an end and a step come to."""
    axis, begin, end, step = cut
    if axis % len(r.specs[node.name].shape) != leading - 1:
        return None
    told = {_rows(slice(begin, end, step), n, found, leading) for n in (5, 7)}
    return told.pop() if len(told) == 1 else None


def _rows(part: slice, n: int, found: Streams, leading: int) -> int | None:
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


def all_taken(r: Rewriter, node: Node, found: Streams) -> bool:
    """Whether a view takes the sequences apart from the streams, which it keeps in order."""
    spec = r.specs[node.name]
    if node.target not in VIEWS:
        return False
    if found.woven:
        return spec.by_sequence
    return spec.batch_axis == 1 and spec.shape[:2] == (found.count, 1)
