"""Attention in one spelling: softmax of products of queries and keys, times values."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.ops import OpOverload
from yuzu_cli.graph.rewrites.axes import order_of
from yuzu_cli.graph.rewrites.rewriter import DUMMIES, PERMUTED, VIEWS, Rewriter

_aten = torch.ops.aten
_KEPT = VIEWS | DUMMIES | PERMUTED | {_aten.clone.default, _aten.expand.default}
_SOFTMAX = {_aten._softmax.default, _aten._safe_softmax.default}
_FACTORS = (_aten.mul.Tensor, _aten.mul.Scalar, _aten.div.Tensor, _aten.div.Scalar)
_HIDDEN = -1e4
"""What is put or added where nothing is to be read is no larger than this."""


@dataclass
class _Logits:
    """scale * queries keys + bias."""

    query: Node
    key: Node
    scale: float = 1.0
    bias: torch.Tensor | None = None


def attentions(r: Rewriter, node: Node) -> bool:
    """Attention of any spelling -> `ops.attention` on tensors (N, L, C)."""
    if node.target is operator.getitem and node.args[1] == 0:
        return _fused(r, node)
    if node.target is _aten.bmm.default:
        return _of_products(r, node)
    return False


def _fused(r: Rewriter, node: Node) -> bool:
    """The call that torch made of scaled_dot_product_attention."""
    call = node.args[0]
    if not isinstance(call, Node) or not isinstance(call.target, OpOverload):
        return False
    if not call.target.overloadpacket.__name__.startswith("_scaled_dot_product"):
        return False
    names = [a.name for a in call.target._schema.arguments]
    given = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    parts: list[Any] = [given[name] for name in ("query", "key", "value")]
    specs = [r.specs[p.name] for p in parts]
    if any(not s.by_sequence or len(s.shape) != 4 for s in specs):
        return False
    heads, _, width = specs[0].shape[1:]
    if any(s.shape[1] != heads for s in specs) or given.get("dropout_p"):
        return False
    mask = given.get("attn_mask", given.get("attn_bias"))
    bias = None if mask is None else _fixed(r, mask)
    if mask is not None and bias is None:
        return False
    if bias is not None and bias.dtype is torch.bool:
        bias = torch.zeros(bias.shape).masked_fill(~bias, float("-inf"))
    scale = given.get("scale")
    rows = [_merge(r, node, p, 1, heads) for p in parts]
    made = _made(
        r, node, rows, heads, width**-0.5 if scale is None else scale, bias,
        bool(given.get("is_causal")),
    )  # fmt: skip
    if made is None:
        return False
    r.replace(node, _parted(r, node, made, heads))
    for gone in (node, call):  # torch says that it draws numbers: nobody else takes it out
        if not gone.users:
            r.graph.erase_node(gone)
    return True


def _of_products(r: Rewriter, node: Node) -> bool:
    weights: Any = node.args[0]
    value: Any = node.args[1]
    shape = r.specs[node.name].shape
    while isinstance(weights, Node) and weights.target in _KEPT and _keeps(r, weights):
        weights = weights.args[0]
    if not isinstance(weights, Node) or weights.target not in _SOFTMAX:
        return False
    made_of = r.specs[weights.name].shape
    if int(weights.args[1]) % len(made_of) != len(made_of) - 1 or shape[0] * shape[1] == 1:
        return False
    found = _logits(r, weights.args[0])
    if found is None or made_of[-2:] != (shape[1], r.specs[value.name].shape[1]):
        return False
    parts = ((found.query, False), (found.key, True), (value, False))
    rows = [_rows(r, node, n, turned, shape[0]) for n, turned in parts]
    made = _made(r, node, rows, shape[0], found.scale, found.bias, False)
    if made is None:
        return False
    return r.replace(node, _parted(r, node, made, shape[0]))


def _logits(r: Rewriter, node: Any) -> _Logits | None:
    """What is said of logits, down to the product."""
    scale, bias = 1.0, None
    shape = r.specs[node.name].shape[-2:]
    while isinstance(node, Node) and node.name in r.specs:
        args: Any = node.args
        if node.target in (_aten.bmm.default, _aten.baddbmm.default):
            if node.kwargs or r.specs[node.name].shape[-2:] != shape:
                return None
            if node.target is _aten.baddbmm.default:
                bias = _sum(bias, _fixed(r, args[0]), scale)
                if bias is None:
                    return None
            return _Logits(args[-2], args[-1], scale, bias)
        if node.target in _KEPT:
            if not _keeps(r, node):
                return None
            node = args[0]
            continue
        if node.kwargs or node.target not in _STEPS:
            return None
        step = _STEPS[node.target](r, args)
        if step is None:
            return None
        node, factor, term = step
        if term is not None:
            bias = _sum(bias, term, scale)
        scale *= factor
    return None


def _sum(bias: torch.Tensor | None, term: Any, scale: float) -> torch.Tensor | None:
    if term is None:
        return None
    return term * scale if bias is None else bias + term * scale


def _scaled(r: Rewriter, args: Any, power: int) -> Any:
    factor = _number(r, args[1])
    return None if not factor else (args[0], factor**power, None)


def _added(r: Rewriter, args: Any) -> Any:
    for x, other in (args[:2], args[1::-1]):
        term = _fixed(r, other)
        if term is not None and isinstance(x, Node):
            return x, 1.0, term
    return None


def _hidden(r: Rewriter, mask: Any, x: Any, fill: Any, where: bool) -> Any:
    """Logits that are put far below all others where a mask says so."""
    known, value = _fixed(r, mask), _number(r, fill)
    if known is None or value is None or value > _HIDDEN or not isinstance(x, Node):
        return None
    known = known.bool() == where
    return x, 1.0, torch.zeros(known.shape).masked_fill(known, float("-inf"))


_STEPS: dict[Any, Any] = {
    _aten.mul.Tensor: lambda r, args: _scaled(r, args, 1),
    _aten.mul.Scalar: lambda r, args: _scaled(r, args, 1),
    _aten.div.Tensor: lambda r, args: _scaled(r, args, -1),
    _aten.div.Scalar: lambda r, args: _scaled(r, args, -1),
    _aten.add.Tensor: _added,
    _aten.masked_fill.Scalar: lambda r, args: _hidden(r, args[1], args[0], args[2], True),
    _aten.masked_fill.Tensor: lambda r, args: _hidden(r, args[1], args[0], args[2], True),
    _aten.where.self: lambda r, args: (
        _hidden(r, args[0], args[1], args[2], False) or _hidden(r, args[0], args[2], args[1], True)
    ),
}
"""Calls between a product and a softmax: what they read, its factor, what is added to it."""


def _number(r: Rewriter, value: Any) -> float | None:
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, Node) and value.target is _aten.full.default:
        return _number(r, value.args[1])
    known = r.constant(value)
    return float(known) if known is not None and known.numel() == 1 else None


def _fixed(r: Rewriter, node: Any) -> torch.Tensor | None:
    """A constant, as it was before it was repeated for every sequence."""
    while isinstance(node, Node) and node.target in (_aten.expand.default, _aten.clone.default):
        node = node.args[0]
    return r.constant(node)


def _keeps(r: Rewriter, node: Node) -> bool:
    """Whether a call leaves the numbers in their order."""
    source = node.args[0]
    if not isinstance(source, Node) or source.name not in r.specs:
        return False
    before, after = r.specs[source.name].shape, r.specs[node.name].shape
    if node.target in PERMUTED:
        order = [a for a in order_of(node, len(before)) if before[a] != 1]
        return order == sorted(order)
    return len(before) > 0 and r.specs[source.name].numel == r.specs[node.name].numel and (
        [n for n in before if n != 1][-2:] == [n for n in after if n != 1][-2:]
    )  # fmt: skip


# --- tensors of heads -----------------------------------------------------------------------------


def _merge(r: Rewriter, at: Node, x: Node, axis: int, heads: int) -> Node:
    """(N, H, L, D) -> (N, L, H * D), or (N, H, D, L) where the positions' axis says so."""
    order = [0, 2, 1, 3] if axis == 1 else [0, 3, 1, 2]
    shape = r.specs[x.name].shape if x.name in r.specs else ()
    moved = r.insert(at, _aten.permute.default, (x, order))
    length, width = shape[order[1]], shape[order[3]]
    return r.insert(at, _aten.reshape.default, (moved, [r.batch(), length, heads * width]))


def _rows(r: Rewriter, at: Node, x: Any, turned: bool, heads: int) -> Node | None:
    """(N * H, L, D), or (N * H, D, L) if turned, -> (N, L, H * D)."""
    if not isinstance(x, Node) or x.name not in r.specs:
        return None
    spec, source = r.specs[x.name], x.args[0] if x.args else None
    if spec.batch_axis != 0 or spec.shape[0] != heads or len(spec.shape) != 3:
        return None
    if heads == 1:
        return r.insert(at, _aten.permute.default, (x, [0, 2, 1])) if turned else x
    if not isinstance(source, Node) or source.name not in r.specs:
        return None
    before = r.specs[source.name]
    if x.target in PERMUTED:
        order = order_of(x, 3)
        if order[0] == 0:
            return _rows(r, at, source, not turned if order[1] == 2 else turned, heads)
        return None
    if x.target in (*_FACTORS, _aten.clone.default):
        factor = _number(r, x.args[1]) if x.target is not _aten.clone.default else 1.0
        inner = None if factor is None else _rows(r, at, source, turned, heads)
        if inner is None or factor == 1.0:
            return inner
        return r.insert(at, x.target, (inner, factor))
    if x.target not in VIEWS or not before.by_sequence:
        return None
    if before.shape[-2:] != spec.shape[1:]:
        return None
    length, width = spec.shape[:0:-1] if turned else spec.shape[1:]
    apart = r.insert(at, _aten.reshape.default, (source, [r.batch(), heads, *spec.shape[1:]]))
    order = [0, 3, 1, 2] if turned else [0, 2, 1, 3]
    moved = r.insert(at, _aten.permute.default, (apart, order))
    return r.insert(at, _aten.reshape.default, (moved, [r.batch(), length, heads * width]))


def _made(
    r: Rewriter, at: Node, rows: list[Any], heads: int, scale: float,
    bias: torch.Tensor | None, causal: bool,
) -> Node | None:  # fmt: skip
    """The call, where all is known."""
    if any(x is None for x in rows):
        return None
    given = None
    if bias is not None:
        while bias.dim() > 3 and bias.shape[0] == 1:
            bias = bias[0]
        if bias.dim() > 3 or (bias.dim() == 3 and bias.shape[0] not in (1, heads)):
            return None
        bias = bias.to(r.like)
        bias = bias.reshape(*(1,) * (2 - bias.dim()), *bias.shape)
        if not bool((bias.amax(-1) > _HIDDEN).all()):  # a row that may read nothing
            return None
        above = torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).triu(1)
        square = bias.shape[-2] == bias.shape[-1] > 1
        if square and bool((bias[..., above] <= _HIDDEN).all()):
            causal, bias = True, bias.masked_fill(above, 0.0)
        given = r.add_constant(bias, at) if bool(bias.any()) else None
    return r.insert(at, ops.attention, (*rows, heads, scale, given, causal))


def _parted(r: Rewriter, node: Node, made: Node, heads: int) -> Node:
    """(N, L, H * D) -> what `node` has: (N, H, L, D) or (N * H, L, D)."""
    length, width = r.specs[node.name].shape[-2:]
    apart = r.insert(node, _aten.reshape.default, (made, [r.batch(), length, heads, width]))
    moved = r.insert(node, _aten.permute.default, (apart, [0, 2, 1, 3]))
    if len(r.specs[node.name].shape) == 4:
        return moved
    return r.insert(node, _aten.reshape.default, (moved, r.shape_of(node)))
