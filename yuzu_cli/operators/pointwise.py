"""Position by position: functions of one element, sums, products, and maps over the other axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.ops import OpOverload
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import Frame, overlap, runs
from yuzu_cli.operators.reach import EVERYWHERE, UNTOUCHED, AnyReach, Reach, join
from yuzu_cli.operators.record import (
    JUMP,
    NONE,
    STEEP,
    WHOLE,
    Call,
    Interval,
    Operator,
    Step,
    Unfamiliar,
    axes_of,
    operator,
)
from yuzu_cli.operators.windows import Form, Item, Sketch, Window

_aten = torch.ops.aten

POINTWISE = "position by position"
LINEAR_MAP = "linear in the deltas"


def windows(items: Mapping[str, Item], nodes: list[Node]) -> list[Window]:
    """The windows of some arguments."""
    found = []
    for node in nodes:
        item = items[node.name]
        assert isinstance(item, Window)
        found.append(item)
    return found


def here(call: Call, sketch: Sketch, frame: Frame, at: int, form: Form) -> Window:
    """A window of the call's own value."""
    return Window(call.name, frame, at, form, call.reach.axis, call.rest())


class SamePositions(Operator):
    """Every position of the value depends on the same position of what is read."""

    def reach(self) -> AnyReach:
        call, touched = self.call, []
        for arg in call.touched:
            reach = call.reach_of(arg)
            if not isinstance(reach, Reach) or len(call.shape_of(arg)) != len(call.shape):
                return EVERYWHERE
            if reach.flat is None and call.shape[reach.axis] != reach.size:
                return EVERYWHERE
            if reach.flat is not None and call.shape != call.shape_of(arg):
                return EVERYWHERE
            touched.append(reach)
        return join(touched)

    def need(self, source: Node, mine: Interval) -> Interval:
        return mine

    def constants(self) -> list[Node]:
        """Arguments that are tensors and that no edit changes.

        Raises
        ------
        Unfamiliar
            One of them depends on the number of sequences.
        """
        call = self.call
        found = [n for n in call.node.all_input_nodes if call.reach_of(n) is UNTOUCHED]
        for node in found:
            call.constant(node)
        return found


class Pointwise(SamePositions):
    """A function of single elements: rows of values go through the call as they are."""

    def way(self) -> str:
        try:
            for node in self.constants():
                self.aligned(node)
        except Unfamiliar:
            return WHOLE
        return POINTWISE

    def cost(self, letters: bool) -> Cost:
        return self.passes(4)

    def aligned(self, node: Node) -> torch.Tensor:
        """A constant as (1 or size, *other axes), to be read beside rows."""
        call, value, reach = self.call, self.call.constant(node), self.call.reach
        if reach.flat is not None:
            if value.numel() == 1:
                return value.reshape((1,) * len(reach.flat))
            if value.numel() != value.shape[-1] or value.numel() != call.shape[-1]:
                raise Unfamiliar
            return value.reshape(reach.flat).movedim(reach.axis - 1, 0)
        rank = len(call.shape)
        if value.dim() > rank:
            raise Unfamiliar
        value = value.reshape((1,) * (rank - value.dim()) + value.shape)
        if value.shape[0] != 1:
            raise Unfamiliar
        return value.movedim(reach.axis, 0).squeeze(1)

    def lower(self) -> Step:
        call, touched = self.call, self.call.touched
        fixed = {n.name: self.aligned(n) for n in self.constants()}
        dtype, rest = call.spec.dtype, call.rest()
        order = [n.name for n in call.node.all_input_nodes]
        function = Bound(call.node, order)

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            wins = windows(items, touched)
            frame = sketch.common(wins, call.reach)
            values = {n.name: sketch.values(w, frame) for n, w in zip(touched, wins, strict=True)}
            shape = (frame.width, *sketch.shape, self.channels)
            reads, tails, over = [], [], None
            for name in order:
                if name in values:
                    at, tail = values[name].at, values[name].rest
                    if sketch.registers[at].shape == shape and sketch.dtype(at) == dtype:
                        over = at if over is None else over
                else:
                    at, tail = (
                        constant_rows(sketch, name, fixed[name], frame),
                        fixed[name].shape[1:],
                    )
                reads.append(at)
                tails.append(tuple(tail))
            plain = not fixed and all(tail == rest for tail in tails)
            at = sketch.emit(
                "pointwise", reads, shape, dtype, over=over, function=function,
                tails=None if plain else tails, rest=rest,
            )  # fmt: skip
            return here(call, sketch, frame, at, Form.VALUE)

        return step

    @property
    def channels(self) -> int:
        return self.call.spec.numel // self.call.reach.size


class Bound:
    """A node's call with its tensors left open, in a given order of its arguments' names."""

    def __init__(self, node: Node, order: list[str]) -> None:
        self.target: Any = node.target
        self.name = getattr(node.target, "__name__", str(node.target))
        at = {name: i for i, name in enumerate(order)}
        self.args, self.kwargs = list(node.args), dict(node.kwargs)
        self.slots: list[tuple[int, int]] | None = []
        for i, arg in enumerate(node.args):
            if isinstance(arg, Node):
                self.slots.append((i, at[arg.name]))
            elif isinstance(arg, (list, tuple)) and any(isinstance(a, Node) for a in arg):
                self.slots = None
                break
        if any(isinstance(v, Node) for v in node.kwargs.values()):
            self.slots = None
        self.at = at
        self.out = out_variant(self.target)

    def arguments(self, values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        if self.slots is None:
            filled = torch.fx.map_arg((self.args, self.kwargs), lambda n: values[self.at[n.name]])
            return list(filled[0]), filled[1]
        args = list(self.args)
        for i, j in self.slots:
            args[i] = values[j]
        return args, self.kwargs

    def __call__(self, *values: Any) -> Any:
        args, kwargs = self.arguments(list(values))
        return self.target(*args, **kwargs)

    def into(self, out: torch.Tensor, *values: Any) -> None:
        """The result written into `out`."""
        args, kwargs = self.arguments(list(values))
        if self.out is not None:
            self.out(*args, **kwargs, out=out)
        else:
            out.copy_(self.target(*args, **kwargs))


def out_variant(target: Any) -> Any:
    """The overload of an operator that writes into a given tensor; None where there is none."""
    if not isinstance(target, OpOverload):
        return None
    packet, own = target.overloadpacket, [a.name for a in target._schema.arguments]
    for name in (f"{target._overloadname}_out", "out"):
        found = getattr(packet, name, None) if name in packet.overloads() else None
        if found is None:
            continue
        schema = found._schema.arguments
        types = [str(a.type) for a in schema if a.name != "out"]
        if [a.name for a in schema] == [*own, "out"] and types == [
            str(a.type) for a in target._schema.arguments
        ]:
            return found
    return None


def constant_rows(sketch: Sketch, name: str, value: torch.Tensor, frame: Frame) -> int:
    """A constant (1 or size, ...) beside the rows of a frame: (w or 1, P or 1, 1, 1, ...)."""
    tail = tuple(value.shape[1:])
    if value.shape[0] == 1:
        key = ("constant", sketch.node, name)
        table = value.reshape(1, 1, 1, 1, *tail)
        return sketch.input((*key, Held(table)), (1, 1, 1, 1, *tail), value.dtype)
    index = frame.rows().clip(0, frame.size - 1)
    shape = (*index.shape, 1, 1, *tail)
    return sketch.emit(
        "constant rows", (), shape, value.dtype, table=value, index=index.reshape(-1)
    )


class Held:
    """A tensor inside a key: the same object is the same key."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and (
            self.value is other.value
            or (
                self.value.shape == other.value.shape
                and self.value.data_ptr() == other.value.data_ptr()
            )
        )


# --- functions of one element that keep a rounding error one ------------------------------------

_SMOOTH = [
    _aten.relu.default,
    _aten.sigmoid.default,
    _aten.tanh.default,
    _aten.gelu.default,
    _aten.silu.default,
    _aten.elu.default,
    _aten.leaky_relu.default,
    _aten.softplus.default,
    _aten.hardtanh.default,
    _aten.hardswish.default,
    _aten.hardsigmoid.default,
    _aten.mish.default,
    _aten.log_sigmoid_forward.default,
    _aten.prelu.default,
    _aten._prelu_kernel.default,
    _aten.celu.default,
    _aten.selu.default,
    _aten.abs.default,
    _aten.exp.default,
    _aten.expm1.default,
    _aten.erf.default,
    _aten.sin.default,
    _aten.cos.default,
    _aten.atan.default,
    _aten.clamp.default,
    _aten.clamp_min.default,
    _aten.clamp_max.default,
    _aten.clamp.Tensor,
    _aten.maximum.default,
    _aten.minimum.default,
    _aten.square.default,
    _aten.lerp.Scalar,
    _aten.lerp.Tensor,
    _aten.addcmul.default,
    _aten.cosh.default,
    _aten.exp2.default,
    _aten.logaddexp.default,
    _aten.masked_fill.Scalar,
    _aten.masked_fill.Tensor,
    _aten.relu6.default,
    _aten.sinh.default,
    _aten.where.self,
    _aten.where.Scalar,
    _aten.where.ScalarSelf,
    _aten.where.ScalarOther,
    _aten.clone.default,
    _aten.pow.Scalar,
]


@operator(*_SMOOTH)
class Smooth(Pointwise):
    """A function of bounded slope."""

    makes = NONE
    through = True


_STEEP = [
    _aten.acos.default,
    _aten.acosh.default,
    _aten.asin.default,
    _aten.atanh.default,
    _aten.atan2.default,
    _aten.digamma.default,
    _aten.lgamma.default,
    _aten.log.default,
    _aten.log10.default,
    _aten.log1p.default,
    _aten.log2.default,
    _aten.logit.default,
    _aten.pow.Tensor_Tensor,
    _aten.reciprocal.default,
    _aten.rsqrt.default,
    _aten.sqrt.default,
    _aten.xlogy.Tensor,
]


@operator(*_STEEP)
class Steep(Pointwise):
    """A function whose slope has no bound, or that is undefined, near some value."""

    makes = STEEP


@operator(_aten._to_copy.default)
class Converted(Pointwise):
    """Values in another type: into whole numbers they jump."""

    through = True

    def decode(self, dtype: Any = None, **_: Any) -> None:
        self.makes = NONE if dtype is None or dtype.is_floating_point else JUMP


@operator(_aten.pow.Tensor_Scalar)
class Power(Pointwise):
    """Whole positive powers are smooth; others are steep or undefined at zero."""

    through = True

    def decode(self, exponent: Any = 1, **_: Any) -> None:
        whole = float(exponent) >= 1 and float(exponent).is_integer()
        self.makes = NONE if whole else STEEP


class Affine(Pointwise):
    """Sums, and products with constants: deltas go through as they are."""

    makes = NONE
    through = True

    def way(self) -> str:
        if self.exact or not self.is_linear():
            return super().way()
        try:
            self.constants()
        except Unfamiliar:
            return WHOLE
        return LINEAR_MAP

    def is_linear(self) -> bool:
        return True

    def cost(self, letters: bool) -> Cost:
        return self.passes(2) if self.way() == LINEAR_MAP else super().cost(letters)

    def lower(self) -> Step:
        return self.lower_linear() if self.way() == LINEAR_MAP else super().lower()

    def lower_linear(self) -> Step:
        raise NotImplementedError


@operator(_aten.add.Tensor, _aten.sub.Tensor, _aten.add.Scalar, _aten.sub.Scalar, _aten.rsub.Scalar)
class Sum(Affine):
    """Windows of one or two tensors added with factors."""

    def decode(self, other: Any = None, alpha: Any = 1, **_: Any) -> None:
        target, first = self.call.node.target, self.call.node.args[0]
        factor = -1.0 if target in (_aten.sub.Tensor, _aten.sub.Scalar) else 1.0
        one = -float(alpha) if target is _aten.rsub.Scalar else 1.0
        pairs = [(first, one), (other, factor * float(alpha))]
        self.terms: list[tuple[Node, float]] = [(n, f) for n, f in pairs if isinstance(n, Node)]

    def is_linear(self) -> bool:
        return all(self.call.spec_of(n).dtype.is_floating_point for n in self.call.touched)

    def lower_linear(self) -> Step:
        call = self.call
        terms = [(n, f) for n, f in self.terms if call.reach_of(n) is not UNTOUCHED]

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            wins = [sketch.delta(w) for w in windows(items, [n for n, _ in terms])]
            return sum_of(call, sketch, wins, [f for _, f in terms])

        return step


def sum_of(call: Call, sketch: Sketch, wins: list[Window], factors: list[float]) -> Window:
    """Deltas added with factors, in the frame that holds them all."""
    rest, own = call.rest(), call.reach
    if len(wins) == 1 and wins[0].rest == rest and wins[0].frame.size == own.size:
        win = scaled(sketch, wins[0], factors[0])
        return replace(win, name=call.name, axis=own.axis, rest=rest)
    wins = [sketch.expand(w) for w in wins]
    frame = sketch.common(wins, own)
    shape = (frame.width, *sketch.shape, call.spec.numel // own.size)
    # A term that already has the result's shape is where the others are added.
    same = [i for i, w in enumerate(wins) if w.rest == rest]
    order = sorted(range(len(wins)), key=lambda i: (i not in same, not wins[i].frame.same(frame)))
    first = wins[order[0]]
    if first.rest == rest:
        at = sketch.reframe(scaled(sketch, first, factors[order[0]]), frame).at
        order = order[1:]
    else:
        at = sketch.emit("zeros", (), shape, call.spec.dtype)
    for i in order:
        win = wins[i]
        moves = [
            (*overlap(offset, win.frame.width, frame.width), run)
            for run, offset in runs(win.frame.start - frame.start)
        ]
        at = sketch.emit(
            "accumulate", (at, win.at), shape, call.spec.dtype, over=at, moves=moves,
            factor=factors[i], rest=rest, tail=win.rest,
        )  # fmt: skip
    return here(call, sketch, frame, at, Form.DELTA)


def scaled(sketch: Sketch, win: Window, factor: float) -> Window:
    """Deltas times a number."""
    if factor == 1.0:
        return win
    dtype = sketch.dtype(win.at)
    at = sketch.emit("scale", (win.at,), sketch.rows_of(win), dtype, over=win.at, factor=factor)
    return replace(win, at=at)


@operator(_aten.neg.default)
class Negative(Affine):
    """Deltas with the other sign."""

    linear = True

    def lower_linear(self) -> Step:
        call = self.call

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            return sum_of(call, sketch, [sketch.delta(windows(items, [call.source])[0])], [-1.0])

        return step


@operator(_aten.mul.Tensor, _aten.mul.Scalar, _aten.div.Tensor, _aten.div.Scalar)
class Product(Affine):
    """A product of two windows, or of one with a constant."""

    def decode(self, other: Any = None, **_: Any) -> None:
        first = self.call.node.args[0]
        self.divides = self.call.node.target in (_aten.div.Tensor, _aten.div.Scalar)
        self.factors = [first, other]

    def makes_of(self, source: Node) -> int:
        """A divisor that an edit changes may come near zero."""
        return STEEP if self.divides and source is self.factors[1] else NONE

    def is_linear(self) -> bool:
        a, b = self.factors
        touched = [self.call.reach_of(f) is not UNTOUCHED for f in (a, b)]
        if touched == [True, False]:
            return self.call.spec_of(a).dtype.is_floating_point
        if touched == [False, True] and not self.divides:
            return self.call.spec_of(b).dtype.is_floating_point
        return False

    def way(self) -> str:
        way = super().way()
        if way != LINEAR_MAP:
            return way
        try:
            for node in self.constants():
                self.aligned(node)
        except Unfamiliar:
            return WHOLE
        return LINEAR_MAP

    def lower_linear(self) -> Step:
        call, node = self.call, self.call.touched[0]
        fixed = {n.name: self.aligned(n) for n in self.constants()}
        function = Bound(call.node, [n.name for n in call.node.all_input_nodes])
        order, rest = [n.name for n in call.node.all_input_nodes], call.rest()

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = sketch.delta(windows(items, [node])[0])
            positional = any(v.shape[0] > 1 for v in fixed.values())
            win = sketch.expand(win) if positional else win
            frame, reads, tails = win.frame, [], []
            for name in order:
                if name == node.name:
                    reads.append(win.at)
                    tails.append(win.rest)
                else:
                    reads.append(constant_rows(sketch, name, fixed[name], frame))
                    tails.append(tuple(fixed[name].shape[1:]))
            shape = (*sketch.rows_of(win)[:4], self.channels)
            same = sketch.rows_of(win) == shape
            at = sketch.emit(
                "pointwise", reads, shape, call.spec.dtype, over=win.at if same else None,
                function=function, tails=None if not fixed else tails, rest=rest,
            )  # fmt: skip
            # A constant of minus infinity would make zeros outside the tensor undefined.
            return sketch.masked(here(call, sketch, frame, at, win.form))

        return step


@operator(ops.affine)
class Scaling(Product):
    """Batch norm with its statistics fixed: deltas times its scale."""

    def decode(self, other: Any = None, scale: Any = None, shift: Any = None, **_: Any) -> None:
        self.scale, self.shift = scale, shift
        self.makes = NONE
        self.factors = [self.call.node.args[0], scale]
        self.divides = False

    def reach(self) -> AnyReach:
        reach = self.call.only_source(flat=True)
        if reach.flat is None and reach.axis == 1:
            raise Unfamiliar
        return reach

    def aligned(self, node: Node) -> torch.Tensor:
        call, value, reach = self.call, self.call.constant(node), self.call.reach
        if reach.flat is not None:
            return value.reshape(reach.flat).movedim(reach.axis - 1, 0)
        return value.reshape(1, -1, *(1,) * (len(call.shape) - 3))

    def lower(self) -> Step:
        return self.lower_linear() if self.way() == LINEAR_MAP else self.of_values()

    def of_values(self) -> Step:
        """Values times the scale plus the shift."""
        call, rest = self.call, self.call.rest()
        scale, shift = self.aligned(self.scale), self.aligned(self.shift)

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = sketch.value(windows(items, [call.source])[0])
            factor = constant_rows(sketch, self.scale.name, scale, win.frame)
            term = constant_rows(sketch, self.shift.name, shift, win.frame)
            at = sketch.emit(
                "affine", (win.at, factor, term), sketch.rows_of(win), call.spec.dtype,
                over=win.at, rest=rest,
            )  # fmt: skip
            return here(call, sketch, win.frame, at, Form.VALUE)

        return step

    def lower_linear(self) -> Step:
        call, scale = self.call, self.aligned(self.scale)
        rest = call.rest()

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = sketch.delta(windows(items, [call.source])[0])
            win = sketch.expand(win) if scale.shape[0] > 1 else win
            factor = constant_rows(sketch, self.scale.name, scale, win.frame)
            at = sketch.emit(
                "multiply", (win.at, factor), sketch.rows_of(win), call.spec.dtype, over=win.at,
                rest=rest,
            )  # fmt: skip
            return here(call, sketch, win.frame, at, win.form)

        return step


# --- maps over the other axes, at each position -------------------------------------------------


class Across(SamePositions):
    """The node's own call at each position, on the other axes of its values."""

    def reach(self) -> AnyReach:
        return self.along(self.call.only_source())

    def along(self, reach: Reach) -> AnyReach:
        return reach

    def reduced(self, axes: list[int], keepdim: bool, reach: Reach) -> AnyReach:
        """Over other axes than the position's."""
        if reach.axis in axes or 0 in axes:
            return EVERYWHERE
        return reach.moved(axis=reach.axis - (0 if keepdim else sum(a < reach.axis for a in axes)))

    def way(self) -> str:
        try:
            self.constants()
        except Unfamiliar:
            return WHOLE
        return POINTWISE

    def cost(self, letters: bool) -> Cost:
        source = self.call.spec_of(self.call.source)
        return self.passes(4 * max(1.0, source.numel / self.call.spec.numel))

    def lower(self) -> Step:
        call, touched = self.call, self.call.touched
        fixed = {n.name: call.constant(n) for n in self.constants()}
        function = Bound(call.node, [n.name for n in call.node.all_input_nodes])

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            wins = windows(items, touched)
            frame = sketch.common(wins, call.reach)
            values = {n.name: sketch.values(w, frame) for n, w in zip(touched, wins, strict=True)}
            reads: list[int] = []
            layouts: list[tuple[int, tuple[int, ...]] | None] = []
            for node in call.node.all_input_nodes:
                if node.name in values:
                    win = values[node.name]
                    reads.append(win.at)
                    layouts.append((win.axis, win.rest))
                else:
                    value = fixed[node.name]
                    key = ("constant", call.name, node.name, Held(value))
                    reads.append(sketch.input(key, tuple(value.shape), value.dtype))
                    layouts.append(None)
            shape = (frame.width, *sketch.shape, call.spec.numel // call.reach.size)
            at = sketch.emit(
                "apply", reads, shape, call.spec.dtype, function=function, layouts=layouts,
                axis=call.reach.axis,
            )  # fmt: skip
            return here(call, sketch, frame, at, Form.VALUE)

        return step


@operator(_aten._softmax.default, _aten._log_softmax.default)
class Softmax(Across):
    """Softmax over other axes."""

    makes = NONE

    def decode(self, dim: int = -1, **_: Any) -> None:
        self.axes = axes_of(dim, len(self.call.shape))

    def along(self, reach: Reach) -> AnyReach:
        return self.reduced(self.axes, True, reach)


@operator(ops.layer_norm)
class LayerNorm(Across):
    """Normalisation over trailing axes."""

    makes = NONE

    def decode(self, shape: Any = (), **_: Any) -> None:
        ndim = len(self.call.shape)
        self.axes = list(range(ndim - len(shape), ndim))

    def along(self, reach: Reach) -> AnyReach:
        return self.reduced(self.axes, True, reach)


@operator(_aten.glu.default)
class Gated(Across):
    """Half of an axis times the sigmoid of the other half."""

    makes = NONE

    def decode(self, dim: int = -1, **_: Any) -> None:
        self.axes = axes_of(dim, len(self.call.shape))

    def along(self, reach: Reach) -> AnyReach:
        return self.reduced(self.axes, True, reach)


@operator(_aten.argmax.default)
class Largest(Across):
    """The place of the largest along another axis: letters as numbers."""

    def decode(self, dim: Any = None, keepdim: bool = False, **_: Any) -> None:
        if dim is None:
            raise Unfamiliar
        self.axes = axes_of(dim, len(self.call.shape_of(self.call.source)))
        self.keepdim = bool(keepdim)

    def along(self, reach: Reach) -> AnyReach:
        return self.reduced(self.axes, self.keepdim, reach)


@operator(_aten.embedding.default)
class Embedding(Across):
    """Rows of a constant table by number: an axis more at the end."""

    def decode(self, indices: Any = None, **_: Any) -> None:
        self.indices = indices

    def reach(self) -> AnyReach:
        reach = self.call.reach_of(self.indices)
        if self.call.touched != [self.indices] or not isinstance(reach, Reach) or reach.flat:
            return EVERYWHERE
        return reach.moved()

    def cost(self, letters: bool) -> Cost:
        return self.passes(3)
