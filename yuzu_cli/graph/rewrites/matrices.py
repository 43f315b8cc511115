"""Linear layers and batch norm: one spelling each, folded into the layer before them."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.rewriter import VIEWS, Rewriter

_aten = torch.ops.aten


def _peel(node: Any) -> Any:
    """The node behind views and expansions."""
    while isinstance(node, Node) and (node.target in VIEWS or node.target is _aten.expand.default):
        node = node.args[0]
    return node


def _matrix_argument(r: Rewriter, node: Any) -> tuple[Node, torch.Tensor] | None:
    """A constant (I, O), maybe expanded over the batch: the weight of a linear layer."""
    root = _peel(node)
    value = r.constant(root)
    if value is None or not isinstance(node, Node):
        return None
    alike = value.dim() == 3 and bool((value == value[:1]).all())
    if alike and len(value):  # as einsum spells it, or one matrix for every position
        value = value[0]
        root = r.add_constant(value, node)
    if value.dim() != 2:
        return None
    return (root, value) if r.specs[node.name].shape[-2:] == value.shape else None


def linear(r: Rewriter, node: Node) -> bool:
    """addmm / mm / bmm with a constant matrix -> linear, on the tensor before leading axes were
    merged.
    """
    if node.target is _aten.addmm.default and not node.kwargs:
        bias, x, weight = node.args
    elif node.target in (_aten.mm.default, _aten.bmm.default, _aten.matmul.default):
        bias, (x, weight) = None, node.args
        if _channels_mixed(r, node):
            return True
    else:
        return False
    matrix = _matrix_argument(r, weight)
    if matrix is None or not isinstance(x, Node) or (bias is not None and r.constant(bias) is None):
        return False
    inner = x
    while inner.target in VIEWS and isinstance(inner.args[0], Node):
        source = inner.args[0]
        if r.specs[source.name].shape[-1:] != matrix[1].shape[:1]:
            break
        inner = source
    new = r.insert(node, ops.linear, (inner, matrix[0], bias))
    if inner is not x:
        if r.specs[node.name].batch_axis == -1:
            return False
        new = r.insert(node, _aten.reshape.default, (new, r.shape_of(node)))
    return r.replace(node, new)


def _channels_mixed(r: Rewriter, node: Node) -> bool:
    """One matrix (O, I) times x (N, I, L) -> a convolution of width one."""
    left, x = node.args
    if node.target is not _aten.bmm.default or not isinstance(x, Node) or r.constant(x) is not None:
        return False
    specs, matrix = [r.specs[n.name] for n in (left, x)], _matrix_argument(r, left)
    if matrix is None or any(not s.by_sequence for s in specs):
        return False
    taps = r.add_constant(matrix[1].unsqueeze(2), node)
    args = (x, taps, None, [1], [0], [1], False, [0], 1)
    return r.replace(node, r.insert(node, _aten.convolution.default, args))


def add_after_linear(r: Rewriter, node: Node) -> bool:
    """linear without bias, then a constant vector added -> linear with bias."""
    if node.target is not _aten.add.Tensor or node.kwargs:
        return False
    for x, other in (node.args, node.args[::-1]):
        bias = r.constant(other)
        if (
            isinstance(x, Node)
            and x.target is ops.linear
            and x.args[2] is None
            and len(x.users) == 1
            and bias is not None
            and bias.shape == r.specs[x.name].shape[-1:]
        ):
            return r.replace(node, r.insert(node, ops.linear, (x.args[0], x.args[1], other)))
    return False


_FIXED_NORMS = {
    _aten._native_batch_norm_legit_no_training.default: 6,
    _aten.native_batch_norm.default: 7,
    _aten.cudnn_batch_norm.default: 7,
    _aten._native_batch_norm_legit.default: 7,
}


def batch_norm(r: Rewriter, node: Node, source: Node) -> bool:
    """Batch norm in evaluation mode -> affine with constants."""
    at = _FIXED_NORMS.get(source.target)
    if at is None or (at == 7 and source.args[5] is not False):
        return False
    weight, bias, mean, variance = (r.constant(a) for a in source.args[1:5])
    if mean is None or variance is None:
        return False
    eps = float(source.args[at])
    scale = torch.rsqrt(variance.double() + eps)
    if weight is not None:
        scale = scale * weight.double()
    shift = -mean.double() * scale
    if bias is not None:
        shift = shift + bias.double()
    dtype = r.like.dtype
    args = (
        source.args[0],
        r.add_constant(scale.to(dtype), node),
        r.add_constant(shift.to(dtype), node),
    )
    return r.replace(node, r.insert(node, ops.affine, args))


def instance_norm(r: Rewriter, node: Node) -> bool:
    """A batch norm that takes every channel of every sequence for one of its own -> group norm."""
    made = node.args[0] if node.target in VIEWS else None
    if not isinstance(made, Node) or made.target is not operator.getitem or made.args[1] != 0:
        return False
    norm: Any = made.args[0]
    if _FIXED_NORMS.get(norm.target) != 7:
        return False
    view, weight, bias, mean, variance, training, _, eps = norm.args
    spec, learned = r.specs[node.name], [n for n in (weight, bias) if n is not None]
    repeated = all(n.target is _aten.repeat.default and r.constant(n.args[0]) is not None
                   for n in learned)  # fmt: skip
    x = view.args[0] if view.target in VIEWS else None
    if x is None or r.specs.get(x.name) != spec or not spec.by_sequence:
        return False
    if mean is not None or variance is not None or not training or not repeated:
        return False
    channels, places = spec.shape[1], math.prod(spec.shape[2:])
    if r.specs[view.name].batch_axis != 1 or r.specs[view.name].shape[1:] != spec.shape[1:]:
        return False
    weight, bias = (None if n is None else n.args[0] for n in (weight, bias))
    args = (x, weight, bias, r.batch(), channels, places, channels, eps)
    made = r.insert(node, _aten.native_group_norm.default, args)
    return r.replace(node, r.insert(node, operator.getitem, (made, 0)))


def fold_affine(r: Rewriter, node: Node) -> bool:
    """affine after a convolution or a linear layer that nothing else reads -> folded into its
    weights.
    """
    if node.target is not ops.affine:
        return False
    source = node.args[0]
    scale, shift = r.constant(node.args[1]), r.constant(node.args[2])
    if not isinstance(source, Node) or len(source.users) != 1 or scale is None or shift is None:
        return False
    scale64, shift64 = scale.double(), shift.double()
    if source.target is _aten.convolution.default and not source.args[6]:
        weight, bias = r.constant(source.args[1]), r.constant(source.args[2])
        if weight is None or (bias is None and source.args[2] is not None):
            return False
        new_weight = weight.double() * scale64.view(-1, *(1,) * (weight.dim() - 1))
    elif source.target is ops.linear and len(r.specs[source.name].shape) == 2:
        weight, bias = r.constant(source.args[1]), r.constant(source.args[2])
        if weight is None:
            return False
        new_weight = weight.double() * scale64
    else:
        return False
    new_bias = shift64 if bias is None else bias.double() * scale64 + shift64
    dtype = weight.dtype
    args = list(source.args)
    args[1] = r.add_constant(new_weight.to(dtype), node)
    args[2] = r.add_constant(new_bias.to(dtype), node)
    return r.replace(node, r.insert(node, source.target, tuple(args)))
