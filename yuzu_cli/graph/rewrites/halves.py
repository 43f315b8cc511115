"""Both directions of a recurrent layer, read apart: each changes on one side of an edit."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.rewriter import Rewriter

_aten = torch.ops.aten
_MOVES = {_aten.transpose.int, _aten.permute.default, _aten.clone.default}


def halves(r: Rewriter, node: Node) -> bool:
    """A linear map of both directions side by side -> the sum of one map of each.

    conv(cat(a, b)) = conv(a) + conv(b), and so a linear layer, also after a flatten.
    """
    one_group = node.target is _aten.convolution.default and node.args[-1] == 1
    if node.target is not ops.linear and not one_group:
        return False
    given: tuple[Any, ...] = node.args
    source, weight, *rest = given
    axis = 1 if one_group else 0
    moves = _moves(source)
    joined = moves[-1].args[0] if moves else source
    value = r.constant(weight)
    if joined.target is not _aten.cat.default or value is None or not rest:
        return False
    parts: Any = joined.args[0]
    if len({_direction(part) for part in parts} - {None}) < 2 or joined.name not in r.specs:
        return False
    owner = _owners(r, joined, moves, parts, 1 if axis else -1)
    if owner is None or len(owner) != value.shape[axis]:
        return False
    total: Node | None = None
    for i, part in enumerate(parts):
        for move in reversed(moves):
            args = (part, *move.args[1:])
            if move.target is _aten.reshape.default:
                args = (part, [move.args[1][0], -1])
            part = r.insert(node, move.target, args)
        own = r.add_constant(value.index_select(axis, (owner == i).nonzero()[:, 0]), node)
        bias = rest[0] if i == 0 else None
        made = r.insert(node, node.target, (part, own, bias, *rest[1:]))
        total = made if total is None else r.insert(node, _aten.add.Tensor, (total, made))
    assert total is not None
    return r.replace(node, total)


def _moves(source: Any) -> list[Node]:
    """Moves before a value, the last first: of axes, and a flatten."""
    found: list[Node] = []
    while isinstance(source, Node):
        flat = source.target is _aten.reshape.default and len(source.args[1]) == 2 and not found
        if not (flat or source.target in _MOVES):
            break
        found.append(source)
        source = source.args[0]
    return found


def _direction(part: Any) -> bool | None:
    """Which way a recurrent layer went, whatever its axes are called since."""
    while isinstance(part, Node) and part.target in _MOVES:
        part = part.args[0]
    return bool(part.args[8]) if isinstance(part, Node) and part.target is ops.recurrent else None


def _owners(
    r: Rewriter, joined: Node, moves: list[Node], parts: list[Node], axis: int
) -> torch.Tensor | None:
    """Which part each entry of an axis of the moved value is of; None where they mix."""
    along: Any = joined.args[1] if len(joined.args) > 1 else 0
    marks = [torch.full(r.specs[p.name].shape, i) for i, p in enumerate(parts)]
    mark = torch.cat(marks, along)
    for move in reversed(moves):
        if move.target is _aten.reshape.default:
            mark = mark.reshape(1, -1)
        elif move.target is not _aten.clone.default:
            mark = move.target(mark, *move.args[1:])
    mark = mark.movedim(axis, 0).flatten(1)
    return mark[:, 0] if bool((mark == mark[:, :1]).all()) else None
