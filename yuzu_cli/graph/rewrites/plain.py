"""Constants folded, calls that do nothing dropped, views and splits in one spelling."""

from __future__ import annotations

import operator

import torch
from torch.fx import Node

from yuzu_cli.graph.program import evaluate
from yuzu_cli.graph.rewrites.rewriter import DUMMIES, VIEWS, Rewriter, pointwise

_aten = torch.ops.aten

_COPIES = {
    _aten.clone.default,
    _aten.contiguous.default,
    _aten.lift_fresh_copy.default,
    _aten.dropout.default,
}
_NAMES_ONLY = {_aten.alias.default, _aten.detach.default, _aten.lift_fresh.default}
"""The same memory under another name."""
_MATRIX_PRODUCTS = {
    _aten.mm.default,
    _aten.bmm.default,
    _aten.addmm.default,
    _aten.convolution.default,
}
_SAME_WHEN_SHAPE_IS = VIEWS | {
    _aten.expand.default,
    _aten.slice.Tensor,
    _aten.squeeze.dim,
    _aten._to_copy.default,
}


def fold_constants(r: Rewriter) -> None:
    """Calls on constants become constants, so that patterns see weights as weights."""
    for node in list(r.graph.nodes):
        if node.op == "call_function" and (value := r.constant(node)) is not None:
            r.replace(node, r.add_constant(value, node))


def uniform(r: Rewriter, node: Node) -> bool:
    """Functions of a value and of tensors full of one number -> of the value and the number."""
    spec = r.specs.get(node.name)
    if spec is None or torch.Tag.pointwise not in getattr(node.target, "tags", ()):
        return False
    found = {n: _number(r, n) for n in node.all_input_nodes}
    kept = [r.specs[n.name].shape for n, number in found.items() if number is None]
    if spec.shape not in kept or all(number is None for number in found.values()):
        return False
    for n, number in found.items():
        if number is not None:
            node.replace_input_with(n, r.add_constant(number, node))
    return True


def _number(r: Rewriter, node: Node) -> torch.Tensor | None:
    """A tensor (1, ..., 1) for one that is full of a number, whatever the number of sequences."""
    spec = r.specs.get(node.name)
    if spec is None or r.constant(node) is not None:
        return None
    if node.target is _aten.full.default and isinstance(node.args[1], (bool, int, float)):
        return torch.full((1,) * len(spec.shape), node.args[1], dtype=spec.dtype).to(r.like.device)
    if torch.Tag.pointwise not in getattr(node.target, "tags", ()):
        return None
    found = {n: _number(r, n) for n in node.all_input_nodes}
    if not found or any(number is None for number in found.values()):
        return None
    made = evaluate(node, lambda n: found[n])
    return made if isinstance(made, torch.Tensor) else None


def drop_no_ops(r: Rewriter, node: Node) -> bool:
    source = node.args[0] if node.args else None
    if not isinstance(source, Node) or source.name not in r.specs or node.name not in r.specs:
        return False
    if node.target in _NAMES_ONLY:
        return r.replace(node, source)
    if node.target in _COPIES:
        return all(_reads_any_layout(user) for user in node.users) and r.replace(node, source)
    if node.target is _aten.copy.default and isinstance(node.args[1], Node):
        same = r.specs.get(node.args[1].name) == r.specs[node.name]
        return same and r.replace(node, node.args[1])
    if node.target is _aten.slice_scatter.default:
        whole = isinstance(node.args[1], Node) and r.specs[node.args[1].name] == r.specs[node.name]
        return whole and r.replace(node, node.args[1])
    if node.target is _aten.permute.default:
        axes = list(node.args[1])
        return axes == sorted(axes) and r.replace(node, source)
    if node.target is _aten.constant_pad_nd.default:
        return not any(node.args[1]) and r.replace(node, source)
    if node.target is _aten._to_copy.default and set(node.kwargs) - {"dtype"}:
        return False
    return (
        node.target in _SAME_WHEN_SHAPE_IS
        and r.specs[source.name] == r.specs[node.name]
        and r.replace(node, source)
    )


def _reads_any_layout(node: Node) -> bool:
    """Whether a call may be given other strides than it was captured with.

    Some kernels (oneDNN's LSTM) read wrong numbers from tensors that are not contiguous, so the
    copy that made them so stays unless the reader is known.
    """
    return (
        node.op == "output" or pointwise(node) or node.target in VIEWS | _COPIES | _MATRIX_PRODUCTS
    )


def convolutions(r: Rewriter, node: Node) -> bool:
    """The traced spelling of a convolution -> the scripted one."""
    if node.target is not _aten._convolution.default:
        return False
    return r.replace(node, r.insert(node, _aten.convolution.default, tuple(node.args[:9])))


def splits(r: Rewriter, node: Node) -> bool:
    """One piece of a split -> a slice; of an unbind -> what is selected."""
    source = node.args[0] if node.args else None
    if node.target is not operator.getitem or not isinstance(source, Node):
        return False
    if source.target is _aten.unbind.int:
        return _unbound(r, node, source)
    x, index = source.args[0] if source.args else None, node.args[1]
    if not isinstance(x, Node) or x.name not in r.specs or not isinstance(index, int):
        return False
    axis = source.args[2] if len(source.args) > 2 else source.kwargs.get("dim", 0)
    if not isinstance(axis, int):
        return False
    if source.target is _aten.split.Tensor and isinstance(source.args[1], Node):
        rows = source.args[1]  # a number of sequences
        ends = (r.insert(node, operator.mul, (rows, i)) for i in (index, index + 1))
        return r.replace(node, r.insert(node, _aten.slice.Tensor, (x, axis, *ends)))
    size = r.specs[x.name].shape[axis]
    if source.target is _aten.split_with_sizes.default:
        sizes = source.args[1]
        start, step = sum(sizes[:index]), sizes[index]
    elif source.target is _aten.split.Tensor and isinstance(source.args[1], int):
        start, step = index * source.args[1], source.args[1]
    else:
        return False
    if axis % len(r.specs[x.name].shape) == r.specs[x.name].batch_axis:
        return False
    args = (x, axis, start, min(start + step, size))
    return r.replace(node, r.insert(node, _aten.slice.Tensor, args))


def _unbound(r: Rewriter, node: Node, source: Node) -> bool:
    x, axis = source.args[0], source.args[1] if len(source.args) > 1 else 0
    spec = r.specs[x.name]
    axis = int(axis) % len(spec.shape)
    if spec.batch_axis in (None, -1, axis):
        return False
    return r.replace(node, r.insert(node, _aten.select.int, (x, axis, node.args[1])))


def view_of_view(r: Rewriter, node: Node) -> bool:
    if node.target not in VIEWS:
        return False
    source = node.args[0]
    if not isinstance(source, Node) or source.target not in VIEWS | DUMMIES:
        return False
    node.args = (source.args[0], node.args[1])
    return True
