"""A slice taken before what treats positions alike, so that only what is read is computed.

A class token, a last state or a cropped profile needs few rows of the last attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.rewriter import Rewriter, pointwise, slice_of

_aten = torch.ops.aten


def sliced_early(r: Rewriter, node: Node) -> bool:
    """f(x)[:, a:b] -> f(x[:, a:b]), where nothing else of f(x) is read."""
    piece = _piece(r, node)
    if piece is None:
        return False
    source, at, rows = piece
    users = list(source.users)
    if any(u is not node and _piece(r, u) != piece for u in users):
        return False
    if not _from_attention(r, source, at, 0):
        return False
    made = _made(r, node, source, at, rows)
    if made is None:
        return False
    for user in users:
        r.replace(user, made)
    return True


def _piece(r: Rewriter, node: Node) -> tuple[Node, int, tuple[int, int]] | None:
    """What a slice without steps is of, its axis, its first row and the row behind it."""
    if node.target is not _aten.slice.Tensor or node.kwargs:
        return None
    source: Any = node.args[0]
    axis, begin, end, step = slice_of(node)
    spec = r.specs[source.name]
    if not spec.by_sequence or step != 1:
        return None
    if not all(isinstance(n, int | None) for n in (begin, end)):
        return None
    axis = int(axis) % len(spec.shape)
    low, high, _ = slice(begin, end).indices(spec.shape[axis])
    return None if axis == 0 or high - low == spec.shape[axis] else (source, axis, (low, high))


def _from_attention(r: Rewriter, node: Node, at: int, depth: int) -> bool:
    """Whether attention lies before a value, and what treats its queries alike between."""
    if node.target is ops.attention:
        return at == 1
    if depth > 20 or not _alike(r, node, at):
        return False
    read = [n for n in node.all_input_nodes if r.constant(n) is None]
    return any(_from_attention(r, n, at, depth + 1) for n in read)


def _alike(r: Rewriter, node: Node, at: int) -> bool:
    """Whether a call treats the entries of an axis alike."""
    if node.name not in r.specs:
        return False
    rank = len(r.specs[node.name].shape)
    if node.target is ops.linear:
        return at < rank - 1
    if node.target is ops.layer_norm:
        return at < rank - len(node.args[1])
    return pointwise(node) or (node.target is _aten.clone.default)


def _made(r: Rewriter, node: Node, call: Node, at: int, rows: tuple[int, int]) -> Node | None:
    """The call on a piece of what it reads."""
    args: list[Any] = list(call.args)
    if call.target is ops.attention:
        query, *_, given, causal = args
        args[0] = r.insert(node, _aten.slice.Tensor, (query, 1, *rows))
        bias = None if given is None else r.constant(given)
        if given is not None and bias is None:
            return None
        if bias is not None and bias.shape[-2] > 1:
            bias = bias[..., rows[0] : rows[1], :]
        if causal:
            keys = torch.arange(r.specs[args[1].name].shape[1], device=r.like.device)
            after = keys > torch.arange(*rows, device=r.like.device)[:, None]
            bias = after.to(r.like).new_zeros(after.shape) if bias is None else bias
            bias = bias.masked_fill(after, float("-inf"))
        if bias is not None:
            bias = None if not bool(bias.any()) else r.add_constant(bias, node)
        args[-2:] = bias, False
        return r.insert(node, call.target, tuple(args))
    shape = r.specs[call.name].shape
    for i, given in enumerate(args):
        if not isinstance(given, Node):
            continue
        value = r.constant(given)
        if value is not None:
            axis = at - len(shape) + value.dim()
            each = pointwise(call) and axis >= 0
            if each and value.shape[axis] > 1:
                args[i] = r.add_constant(value.narrow(axis, rows[0], rows[1] - rows[0]), node)
        elif r.specs[given.name].shape != shape and call.target not in (ops.linear, ops.layer_norm):
            return None
        else:
            args[i] = r.insert(node, _aten.slice.Tensor, (given, at, *rows))
    if call.kwargs and any(isinstance(v, Node) for v in call.kwargs.values()):
        return None
    made = r.insert(node, call.target, tuple(args))
    made.kwargs = dict(call.kwargs)
    return made
