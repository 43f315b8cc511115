"""How each operator passes an edit's reach on: one table, one rule for many spellings.

A rule gets the node, its output spec and the reach of what it reads, and returns the reach of
its value. An operator without a rule, or one used in a way its rule does not know, reaches
everywhere: that may cost time, never correctness. Rules only speak of positions; what is
computed there is none of theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.program import Program, TensorSpec
from yuzu_cli.reach.domain import EVERYWHERE, UNTOUCHED, AnyReach, Reach, join
from yuzu_cli.reach.tables import table_of, through

_aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may look at."""

    program: Program
    reaches: dict[str, AnyReach]

    def of(self, arg: Any) -> AnyReach:
        """Reach of an argument; constants and numbers are untouched."""
        return self.reaches.get(arg.name, UNTOUCHED) if isinstance(arg, Node) else UNTOUCHED

    def spec(self, node: Node) -> TensorSpec:
        return self.program.specs[node.name]


Rule: TypeAlias = Callable[[Context, Node], AnyReach]
REACH_RULES: dict[Any, Rule] = {}


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """Register a rule for operators; an operator may have one rule only."""

    def register(function: Rule) -> Rule:
        for target in targets:
            if target in REACH_RULES:
                raise ValueError(f"{target} has a rule already")
            REACH_RULES[target] = function
        return function

    return register


def single(context: Context, node: Node) -> Reach | None:
    """The reach of the first argument when it is an interval and nothing else is touched."""
    first = context.of(node.args[0])
    others = [context.of(n) for n in node.all_input_nodes if n is not node.args[0]]
    if not isinstance(first, Reach) or any(o is not UNTOUCHED for o in others):
        return None
    return first


def plain(context: Context, node: Node) -> Reach | None:
    """As `single`, and not flattened."""
    reach = single(context, node)
    return None if reach is None or reach.flat is not None else reach


def positive(axis: int, ndim: int) -> int:
    return axis % ndim


def axes_of(node: Node, context: Context, at: int) -> list[int]:
    """The dimensions argument of a reduction, as non-negative axes; all of them when left out."""
    ndim = len(context.spec(node.args[0]).shape)
    dims = node.args[at] if len(node.args) > at else node.kwargs.get("dim")
    if dims is None or dims == []:
        return list(range(ndim))
    return [positive(int(d), ndim) for d in (dims if isinstance(dims, (list, tuple)) else [dims])]


# --- position by position ------------------------------------------------------------------------


def pointwise(context: Context, node: Node) -> AnyReach:
    """Every output position depends on the same position of the inputs."""
    spec = context.spec(node)
    touched = []
    for arg in node.all_input_nodes:
        reach = context.of(arg)
        if reach is UNTOUCHED:
            continue
        if not isinstance(reach, Reach) or len(context.spec(arg).shape) != len(spec.shape):
            return EVERYWHERE
        if reach.flat is None and spec.shape[reach.axis] != reach.size:
            return EVERYWHERE
        if reach.flat is not None and spec.shape != context.spec(arg).shape:
            return EVERYWHERE
        touched.append(reach)
    hull = join(touched)
    if (
        isinstance(hull, Reach)
        and hull.flat is not None
        and len(node.all_input_nodes) > len(touched)
    ):
        return EVERYWHERE
    return hull


def across(axes: list[int], keepdim: bool, reach: Reach, size: int) -> AnyReach:
    """A reduction or normalisation over other axes than the position's."""
    if reach.axis in axes or 0 in axes or reach.flat is not None:
        return EVERYWHERE
    shift = 0 if keepdim else sum(a < reach.axis for a in axes)
    return reach.moved(axis=reach.axis - shift)


@rule(
    _aten.sum.dim_IntList,
    _aten.mean.dim,
    _aten.amax.default,
    _aten.amin.default,
    _aten.logsumexp.default,
    _aten.linalg_vector_norm.default,
    _aten.prod.dim_int,
)
def _reduction(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    if reach is None:
        return EVERYWHERE
    at = 2 if node.target is _aten.linalg_vector_norm.default else 1
    keep = bool(node.args[at + 1]) if len(node.args) > at + 1 else bool(node.kwargs.get("keepdim"))
    return across(axes_of(node, context, at), keep, reach, reach.size)


@rule(_aten._softmax.default, _aten._log_softmax.default)
def _softmax(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    return EVERYWHERE if reach is None else across(axes_of(node, context, 1), True, reach, 0)


@rule(ops.softmax_sum)
def _softmax_sum(context: Context, node: Node) -> AnyReach:
    touched = [r for r in map(context.of, node.all_input_nodes) if r is not UNTOUCHED]
    intervals = [r for r in touched if isinstance(r, Reach) and r.flat is None]
    if len(intervals) < len(touched):
        return EVERYWHERE
    hull = join(intervals)
    return across([node.args[2]], node.args[3], hull, 0) if isinstance(hull, Reach) else EVERYWHERE


@rule(ops.layer_norm)
def _layer_norm(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    if reach is None:
        return EVERYWHERE
    ndim = len(context.spec(node).shape)
    return EVERYWHERE if reach.axis >= ndim - len(node.args[1]) else reach


@rule(ops.affine)
def _affine(context: Context, node: Node) -> AnyReach:
    reach = single(context, node)
    if reach is None or (reach.flat is None and reach.axis == 1):
        return EVERYWHERE
    return reach


@rule(ops.linear)
def _linear(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    last = len(context.spec(node).shape) - 1
    return EVERYWHERE if reach is None or reach.axis == last else reach


@rule(_aten.glu.default)
def _glu(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    dim = int(node.args[1]) if len(node.args) > 1 else -1
    ndim = len(context.spec(node).shape)
    return EVERYWHERE if reach is None or positive(dim, ndim) == reach.axis else reach


# --- windows ------------------------------------------------------------------------------------


def window(reach: Reach, kernel: int, stride: int, before: int, dilation: int, size: int) -> Reach:
    """Output o reads inputs ``o * stride - before + dilation * (0..kernel)``."""
    span = (kernel - 1) * dilation
    start = -((-(reach.start + before - span)) // stride)
    stop = (reach.stop - 1 + before) // stride + 1
    return reach.moved(start, stop, size=size)


def along(reach: Reach, values: Any, n_axes: int) -> int:
    """The entry of a per-axis option (kernel, stride …) that belongs to the position axis."""
    values = list(values)
    return int(values[0] if len(values) == 1 else values[reach.axis - 2])


def others_trivial(reach: Reach, options: list[tuple[Any, int]]) -> bool:
    """Whether a 2-D window does nothing along the axis that is not the position's."""
    for values, neutral in options:
        for i, value in enumerate(values):
            if i != reach.axis - 2 and value != neutral:
                return False
    return True


@rule(_aten.convolution.default)
def _convolution(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    if reach is None or reach.axis < 2:
        return EVERYWHERE
    _, weight, _, stride, padding, dilation, transposed, _, _ = node.args
    shape = context.spec(weight).shape
    kernel, n = shape[reach.axis], len(shape) - 2
    step, pad, gap = (along(reach, v, n) for v in (stride, padding, dilation))
    size = context.spec(node).shape[reach.axis]
    if not transposed:
        return window(reach, kernel, step, pad, gap, size)
    start = reach.start * step - pad
    stop = (reach.stop - 1) * step - pad + (kernel - 1) * gap + 1
    return reach.moved(start, stop, size=size)


@rule(ops.max_pool)
def _max_pool(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    if reach is None:
        return EVERYWHERE
    _, kernel, stride, padding, dilation, _ = node.args
    return _pool(context, node, reach, kernel, stride, padding, dilation)


@rule(ops.avg_pool)
def _avg_pool(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    if reach is None:
        return EVERYWHERE
    _, kernel, stride, padding, _, _, _ = node.args
    return _pool(context, node, reach, kernel, stride, padding, [1] * len(list(kernel)))


def _pool(
    context: Context,
    node: Node,
    reach: Reach,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
) -> AnyReach:
    n = len(kernel)
    if reach.axis < len(context.spec(node).shape) - n:
        return EVERYWHERE
    at = Reach(2 + reach.axis - (len(context.spec(node).shape) - n), 0, reach.start, reach.stop)
    if n == 2 and not others_trivial(at, [(kernel, 1), (stride, 1), (padding, 0), (dilation, 1)]):
        return EVERYWHERE
    k, s, p, d = (along(at, v, n) for v in (kernel, stride, padding, dilation))
    return window(reach, k, s, p, d, context.spec(node).shape[reach.axis])


# --- the same values elsewhere ------------------------------------------------------------------


@rule(_aten.permute.default)
def _permute(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    axes = [positive(a, len(context.spec(node).shape)) for a in node.args[1]]
    return EVERYWHERE if reach is None or axes[0] != 0 else reach.moved(axis=axes.index(reach.axis))


@rule(_aten.transpose.int)
def _transpose(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    a, b = (positive(int(d), len(context.spec(node).shape)) for d in node.args[1:3])
    if reach is None or (a != b and 0 in (a, b)):
        return EVERYWHERE
    return reach.moved(axis={a: b, b: a}.get(reach.axis, reach.axis))


@rule(_aten.unsqueeze.default)
def _unsqueeze(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    axis = positive(int(node.args[1]), len(context.spec(node).shape))
    if reach is None or axis == 0:
        return EVERYWHERE
    return reach.moved(axis=reach.axis + (axis <= reach.axis))


@rule(_aten.squeeze.dim, _aten.squeeze.dims, _aten.squeeze.default)
def _squeeze(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    if reach is None:
        return EVERYWHERE
    shape = context.spec(node.args[0]).shape
    gone = [a for a in axes_of(node, context, 1) if shape[a] == 1]
    if reach.axis in gone or 0 in gone:
        return EVERYWHERE
    return reach.moved(axis=reach.axis - sum(a < reach.axis for a in gone))


@rule(_aten.reshape.default)
def _reshape(context: Context, node: Node) -> AnyReach:
    reach = single(context, node)
    before, after = context.spec(node.args[0]), context.spec(node)
    if reach is None or before.batch_axis != 0 or after.batch_axis != 0:
        return EVERYWHERE
    if before.shape[0] != 1 or after.shape[0] != 1:
        return EVERYWHERE
    old = (1, *reach.flat) if reach.flat is not None else before.shape
    found = keep_axis(old, after.shape, reach.axis)
    if found is not None:
        axis, blocks, repeats = found
        size = after.shape[axis]
        start = (reach.start * repeats) // blocks
        stop = -((-reach.stop * repeats) // blocks)
        return Reach(axis, size, start, stop)
    if len(after.shape) == 2 and reach.flat is None:
        return Reach(reach.axis, reach.size, reach.start, reach.stop, before.shape[1:])
    return EVERYWHERE


def keep_axis(old: tuple[int, ...], new: tuple[int, ...], axis: int) -> tuple[int, int, int] | None:
    """Where a reshape leaves the position axis: (new axis, block length, repeats), or None.

    The axis survives when as many elements precede it as before, and it is whole, cut into blocks
    (``L -> L/k, k``) or joined with the axis after it (``L, k -> L*k``).
    """
    size, ahead = old[axis], int(np.prod(old[:axis]))
    places = [j for j in range(1, len(new)) if int(np.prod(new[:j])) == ahead]
    for j in places:  # first: axes of one may have been put before it
        if new[j] == size:
            return j, 1, 1
    for j in places:
        length = new[j]
        behind = new[j + 1] if j + 1 < len(new) else 1
        if length < size and length * behind == size:
            return j, behind, 1
        after = old[axis + 1] if axis + 1 < len(old) else 1
        if length > size and size * after == length:
            return j, 1, after
    return None


@rule(_aten.slice.Tensor)
def _slice(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    if reach is None:
        return EVERYWHERE
    axis, begin, step = slice_of(node, context)
    if axis == 0:
        return EVERYWHERE
    if axis != reach.axis:
        return reach
    start = -((begin - reach.start) // step)
    stop = -((begin - reach.stop) // step)
    return reach.moved(start, stop, size=context.spec(node).shape[axis])


def slice_of(node: Node, context: Context) -> tuple[int, int, int]:
    """Axis, first index and step of a slice."""
    args: list[Any] = list(node.args) + [0, None, None, 1][len(node.args) - 1 :]
    axis = positive(args[1], len(context.spec(node).shape))
    size = context.spec(node.args[0]).shape[axis]
    begin = 0 if args[2] is None else args[2]
    begin = begin + size if begin < 0 else begin
    return axis, min(max(begin, 0), size), args[4]


@rule(_aten.select.int)
def _select(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    ndim = len(context.spec(node).shape) + 1
    axis = positive(int(node.args[1]), ndim)
    if reach is None or axis in (0, reach.axis):
        return EVERYWHERE
    return reach.moved(axis=reach.axis - (axis < reach.axis))


@rule(_aten.index_select.default)
def _index_select(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    axis = positive(int(node.args[1]), len(context.spec(node).shape))
    if reach is None or axis == 0:
        return EVERYWHERE
    return reach if axis != reach.axis else _listed(context, node)


@rule(
    _aten.reflection_pad1d.default,
    _aten.reflection_pad2d.default,
    _aten.replication_pad1d.default,
    _aten.replication_pad2d.default,
    _aten.roll.default,
    _aten.upsample_nearest1d.default,
    _aten.upsample_nearest2d.default,
    _aten._upsample_nearest_exact1d.default,
    _aten._upsample_nearest_exact2d.default,
    _aten._adaptive_avg_pool2d.default,
    ops.adaptive_max,
    ops.pick,
)
def _listed(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    if reach is None:
        return EVERYWHERE
    table = table_of(node, context.program, reach.axis)
    return EVERYWHERE if table is None else through(table, reach)


@rule(_aten.flip.default)
def _flip(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    axes = axes_of(node, context, 1)
    if reach is None or 0 in axes:
        return EVERYWHERE
    if reach.axis not in axes:
        return reach
    return reach.moved(reach.size - reach.stop, reach.size - reach.start)


@rule(_aten.constant_pad_nd.default)
def _pad(context: Context, node: Node) -> AnyReach:
    reach = plain(context, node)
    if reach is None:
        return EVERYWHERE
    before = pads_of(node, context)
    if before[0] != 0:
        return EVERYWHERE
    shift = before[reach.axis]
    size = context.spec(node).shape[reach.axis]
    return reach.moved(reach.start + shift, reach.stop + shift, size=size)


def pads_of(node: Node, context: Context) -> list[int]:
    """Elements put before each axis (negative: taken away)."""
    ndim = len(context.spec(node).shape)
    pads = list(node.args[1])
    before = [0] * ndim
    for i in range(len(pads) // 2):
        before[ndim - 1 - i] = pads[2 * i]
    return before


@rule(_aten.cat.default)
def _cat(context: Context, node: Node) -> AnyReach:
    parts: list[Node] = list(node.args[0])
    axis = cat_axis(node, context)
    touched, offset = [], 0
    for part in parts:
        reach = context.of(part)
        if reach is EVERYWHERE or (isinstance(reach, Reach) and reach.flat is not None):
            return EVERYWHERE
        if isinstance(reach, Reach):
            if reach.axis == axis:
                size = context.spec(node).shape[axis]
                reach = reach.moved(reach.start + offset, reach.stop + offset, size=size)
            touched.append(reach)
        offset += context.spec(part).shape[axis]
    return EVERYWHERE if axis == 0 else join(touched)


def cat_axis(node: Node, context: Context) -> int:
    axis = int(node.args[1]) if len(node.args) > 1 else int(node.kwargs.get("dim", 0))
    return positive(axis, len(context.spec(node).shape))


def rule_for(target: Any) -> Rule | None:
    """The rule of an operator: its own, or `pointwise` for those torch itself tags so."""
    found = REACH_RULES.get(target)
    if found is None and torch.Tag.pointwise in getattr(target, "tags", ()):
        return pointwise
    return found
