"""Rewrites of the captured graph into canonical form; each keeps the numbers, to rounding.

Passes are small functions on one node, tried until none applies: folded constants, dropped no-ops,
`linear` and pooling in one spelling, batch norm folded into the layer before it, and a maximum
taken before a rising function instead of after it (fewer elements, same result).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.capture import constants_of, specs_of
from yuzu_cli.graph.program import TensorSpec

_aten = torch.ops.aten
_VIEWS = {_aten.view.default, _aten._unsafe_view.default, _aten.reshape.default}
_COPIES = {
    _aten.clone.default,
    _aten.contiguous.default,
    _aten.alias.default,
    _aten.detach.default,
    _aten.lift_fresh_copy.default,
    _aten.lift_fresh.default,
    _aten.dropout.default,
}
_MATRIX_PRODUCTS = {
    _aten.mm.default,
    _aten.bmm.default,
    _aten.addmm.default,
    _aten.convolution.default,
}
_SAME_WHEN_SHAPE_IS = _VIEWS | {
    _aten.expand.default,
    _aten.slice.Tensor,
    _aten.squeeze.dim,
    _aten._to_copy.default,
}
_RISING = {_aten.relu.default, _aten.exp.default, _aten.sigmoid.default, _aten.tanh.default}


class _Rewriter:
    """The graph under rewriting, with what is known of its values."""

    def __init__(self, module: GraphModule, like: torch.Tensor) -> None:
        self.module, self.graph, self.like = module, module.graph, like
        self.refresh()

    def refresh(self) -> None:
        self.graph.eliminate_dead_code()
        self.module.recompile()
        self.constants: dict[str, Any] = constants_of(self.module)
        self.specs: dict[str, TensorSpec] = specs_of(self.module, self.like)

    def constant(self, node: Any) -> torch.Tensor | None:
        """The value of a node that is the same for every batch; None when it is not."""
        value = self.constants.get(node.name) if isinstance(node, Node) else None
        return value if isinstance(value, torch.Tensor) else None

    def add_constant(self, value: torch.Tensor, before: Node) -> Node:
        number = sum(name.startswith("_folded") for name in self.module.__dict__["_buffers"])
        name = f"_folded{number}"
        self.module.register_buffer(name, value.contiguous(), persistent=False)
        with self.graph.inserting_before(before):
            node = self.graph.get_attr(name)
        self.constants[node.name] = value
        return node

    def insert(self, before: Node, function: Callable[..., Any], args: tuple[Any, ...]) -> Node:
        with self.graph.inserting_before(before):
            return self.graph.call_function(function, args)

    def replace(self, node: Node, by: Node) -> bool:
        node.replace_all_uses_with(by)
        return True


def _fold_constants(r: _Rewriter) -> None:
    """Calls on constants become constants, so that patterns see weights as weights."""
    for node in list(r.graph.nodes):
        if node.op == "call_function" and (value := r.constant(node)) is not None:
            r.replace(node, r.add_constant(value, node))


def _drop_no_ops(r: _Rewriter, node: Node) -> bool:
    source = node.args[0] if node.args else None
    if not isinstance(source, Node) or source.name not in r.specs or node.name not in r.specs:
        return False
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
    pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    return node.op == "output" or pointwise or node.target in _VIEWS | _COPIES | _MATRIX_PRODUCTS


def _convolutions(r: _Rewriter, node: Node) -> bool:
    """The traced spelling of a convolution -> the scripted one."""
    if node.target is not _aten._convolution.default:
        return False
    return r.replace(node, r.insert(node, _aten.convolution.default, tuple(node.args[:9])))


def _splits(r: _Rewriter, node: Node) -> bool:
    """One piece of a split -> a slice."""
    source = node.args[0] if node.args else None
    if node.target is not operator.getitem or not isinstance(source, Node):
        return False
    x, index = source.args[0] if source.args else None, node.args[1]
    if not isinstance(x, Node) or x.name not in r.specs or not isinstance(index, int):
        return False
    axis = source.args[2] if len(source.args) > 2 else source.kwargs.get("dim", 0)
    if not isinstance(axis, int):
        return False
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


def _view_of_view(r: _Rewriter, node: Node) -> bool:
    if node.target not in _VIEWS:
        return False
    source = node.args[0]
    if not isinstance(source, Node) or source.target not in _VIEWS:
        return False
    node.args = (source.args[0], node.args[1])
    return True


def _peel(node: Any) -> Any:
    """The node behind views and expansions."""
    while isinstance(node, Node) and (node.target in _VIEWS or node.target is _aten.expand.default):
        node = node.args[0]
    return node


def _matrix_argument(r: _Rewriter, node: Any) -> tuple[Node, torch.Tensor] | None:
    """A constant (I, O), maybe expanded over the batch: the weight of a linear layer."""
    root = _peel(node)
    value = r.constant(root)
    if value is None or value.dim() != 2 or not isinstance(node, Node):
        return None
    return (root, value) if r.specs[node.name].shape[-2:] == value.shape else None


def _linear(r: _Rewriter, node: Node) -> bool:
    """addmm / mm / bmm with a constant matrix -> linear, on the tensor before leading axes were
    merged.
    """
    if node.target is _aten.addmm.default and not node.kwargs:
        bias, x, weight = node.args
    elif node.target in (_aten.mm.default, _aten.bmm.default, _aten.matmul.default):
        bias, (x, weight) = None, node.args
    else:
        return False
    matrix = _matrix_argument(r, weight)
    if matrix is None or not isinstance(x, Node) or (bias is not None and r.constant(bias) is None):
        return False
    inner = x
    while inner.target in _VIEWS and isinstance(inner.args[0], Node):
        source = inner.args[0]
        if r.specs[source.name].shape[-1:] != matrix[1].shape[:1]:
            break
        inner = source
    new = r.insert(node, ops.linear, (inner, matrix[0], bias))
    if inner is not x:
        shape = _batched_shape(r, r.specs[node.name], node)
        if shape is None:
            return False
        new = r.insert(node, _aten.reshape.default, (new, shape))
    return r.replace(node, new)


def _batched_shape(r: _Rewriter, spec: TensorSpec, before: Node) -> list[Any] | None:
    """`spec.shape` with its batch axis as an expression, for a view."""
    shape: list[Any] = list(spec.shape)
    if spec.batch_axis is None:
        return shape
    if spec.batch_axis < 0:
        return None
    batch = next(n for n in r.graph.nodes if n.op == "call_function")
    factor = shape[spec.batch_axis]
    shape[spec.batch_axis] = (
        batch if factor == 1 else r.insert(before, operator.mul, (batch, factor))
    )
    return shape


def _add_after_linear(r: _Rewriter, node: Node) -> bool:
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


def _first_output(r: _Rewriter, node: Node) -> bool:
    """The first output of an operator with several -> the canonical operator with one."""
    if node.target is not operator.getitem or node.args[1] != 0:
        return False
    source = node.args[0]
    if not isinstance(source, Node):
        return False
    if source.target is _aten.max_pool2d_with_indices.default:
        x, kernel, stride, padding, dilation, ceil = _defaults(
            source, (None, None, [], [0, 0], [1, 1], False)
        )
        args = (x, kernel, stride or kernel, padding, dilation, ceil)
        return r.replace(node, r.insert(node, ops.max_pool, args))
    if source.target is _aten.max.dim:  # values of a maximum with indices
        x, dim, keep = _defaults(source, (None, None, False))
        return r.replace(node, r.insert(node, _aten.amax.default, (x, [dim], keep)))
    if source.target is _aten.native_layer_norm.default:
        return r.replace(node, r.insert(node, ops.layer_norm, tuple(source.args)))
    return _batch_norm(r, node, source)


def _defaults(node: Node, defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    """A call's positional arguments with the operator's defaults for those left out."""
    return (*node.args, *defaults[len(node.args) :])


_FIXED_NORMS = {
    _aten._native_batch_norm_legit_no_training.default: 6,
    _aten.native_batch_norm.default: 7,
    _aten.cudnn_batch_norm.default: 7,
    _aten._native_batch_norm_legit.default: 7,
}


def _batch_norm(r: _Rewriter, node: Node, source: Node) -> bool:
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


def _fold_affine(r: _Rewriter, node: Node) -> bool:
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


def _plain_pools(r: _Rewriter, node: Node) -> bool:
    """Average and adaptive pooling in one spelling, where all windows are alike."""
    if node.target in (_aten.avg_pool2d.default, _aten.avg_pool1d.default):
        n = 2 if node.target is _aten.avg_pool2d.default else 1
        x, kernel, stride, padding, ceil, count, divisor = _defaults(
            node, (None, None, [], [0] * n, False, True, None)
        )
        args = (x, kernel, stride or kernel, padding, ceil, count, divisor)
        return r.replace(node, r.insert(node, ops.avg_pool, args))
    if node.target is _aten._adaptive_avg_pool2d.default:
        x, sizes = node.args
        kernel = _even_windows(r, x, sizes)
        if kernel is None:
            return False
        args = (x, kernel, kernel, [0, 0], False, True, None)
        return r.replace(node, r.insert(node, ops.avg_pool, args))
    if node.target is operator.getitem and node.args[1] == 0:
        source = node.args[0]
        if isinstance(source, Node) and source.target is _aten.adaptive_max_pool2d.default:
            x, sizes = source.args
            kernel = _even_windows(r, x, sizes)
            if kernel is None:
                return False
            most = (x, kernel, kernel, [0, 0], [1, 1], False)
            return r.replace(node, r.insert(node, ops.max_pool, most))
    return False


def _even_windows(r: _Rewriter, x: Any, sizes: Any) -> list[int] | None:
    shape = r.specs[x.name].shape[-2:]
    if any(not isinstance(o, int) or size % o for size, o in zip(shape, sizes, strict=True)):
        return None
    return [size // o for size, o in zip(shape, sizes, strict=True)]


_DUMMIES = {_aten.unsqueeze.default, _aten.squeeze.dim, _aten.squeeze.dims}


def _maximum_before_scaling(r: _Rewriter, node: Node) -> bool:
    """max_pool(affine(relu(x))) -> affine(clamp(max_pool(x'))) with x' mirrored where the scale
    is negative.

    A negative scale turns the order of a channel's values around. With the sign moved ahead of the
    relu, which becomes a minimum with zero there, every step after it rises and the pool can go
    first.
    """
    if node.target is not ops.max_pool:
        return False
    scaled, between = _behind_dummies(node)
    if scaled is None or scaled.target is not ops.affine or len(scaled.users) != 1:
        return False
    relu = scaled.args[0]
    scale, shift = r.constant(scaled.args[1]), r.constant(scaled.args[2])
    if not isinstance(relu, Node) or relu.target is not _aten.relu.default or scale is None:
        return False
    shape = r.specs[relu.name].shape
    if (
        len(relu.users) != 1
        or shift is None
        or len(r.specs[node.name].shape)
        != len(shape) + sum(n.target is _aten.unsqueeze.default for n in between)
    ):
        return False
    x = relu.args[0]
    tail = (1,) * (len(r.specs[node.name].shape) - 2)
    if bool((scale < 0).any()):
        sign = torch.where(scale < 0, -1.0, 1.0).to(scale)
        zero = r.add_constant(torch.zeros_like(sign), relu)
        x = r.insert(relu, ops.affine, (x, r.add_constant(sign, relu), zero))
        infinite = torch.full_like(scale, float("inf"))
        low = torch.where(scale < 0, -infinite, 0.0).view(-1, *tail)
        high = torch.where(scale < 0, 0.0, infinite).view(-1, *tail)
    pooled = r.insert(node, ops.max_pool, (_through(between, x), *node.args[1:]))
    if bool((scale < 0).any()):
        bounds = (r.add_constant(low, node), r.add_constant(high, node))
        rising = r.insert(node, _aten.clamp.Tensor, (pooled, *bounds))
    else:
        rising = r.insert(node, _aten.relu.default, (pooled,))
    args = (rising, r.add_constant(scale.abs(), node), scaled.args[2])
    return r.replace(node, r.insert(node, ops.affine, args))


def _behind_dummies(node: Node) -> tuple[Node | None, list[Node]]:
    """A pool's argument behind unsqueezes nothing else reads, and those, nearest first."""
    source, between = node.args[0], []
    while isinstance(source, Node) and source.target in _DUMMIES and len(source.users) == 1:
        between.append(source)
        source = source.args[0]
    return (source if isinstance(source, Node) else None), between


def _through(between: list[Node], x: Any) -> Any:
    """x as the unsqueezes now read it."""
    if not between:
        return x
    between[-1].args = (x, *between[-1].args[1:])
    return between[0]


def _maximum_first(r: _Rewriter, node: Node) -> bool:
    """max_pool(f(x)) -> f(max_pool(x)) for f that never falls: fewer elements, the same result."""
    if node.target is not ops.max_pool:
        return False
    source, between = _behind_dummies(node)
    if source is None or source.target not in _RISING or len(source.users) != 1:
        return False
    pooled = r.insert(node, ops.max_pool, (_through(between, source.args[0]), *node.args[1:]))
    return r.replace(node, r.insert(node, source.target, (pooled,)))


_PASSES: tuple[Callable[[_Rewriter, Node], bool], ...] = (
    _convolutions,
    _splits,
    _drop_no_ops,
    _view_of_view,
    _first_output,
    _plain_pools,
    _linear,
    _add_after_linear,
    _maximum_before_scaling,
    _maximum_first,
    _fold_affine,
)


def normalise(module: GraphModule, like: torch.Tensor) -> dict[str, TensorSpec]:
    """Rewrite the graph in place until no pass applies; returns the spec of every tensor in it.

    Parameters
    ----------
    module : GraphModule
        A captured graph with its batch free.
    like : Tensor (1, A, L)
        Device and type of the input.
    """
    for node in module.graph.nodes:
        if node.target in _VIEWS:  # without the copies before them, views may need to copy
            node.target = _aten.reshape.default
    r = _Rewriter(module, like)
    _fold_constants(r)
    r.refresh()
    for rewrite in _PASSES:
        changed = True
        while changed:
            changed = False
            for node in list(r.graph.nodes):
                if node.op == "call_function" and node.users and rewrite(r, node):
                    changed = True
            if changed:
                r.refresh()
    _fold_constants(r)
    r.refresh()
    return r.specs
