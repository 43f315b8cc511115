"""Position by position: functions of one element, sums, products, and maps over the other axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph.ops import OpOverload
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import Form, Item, Window
from yuzu_cli.operators.reach import EVERYWHERE, UNTOUCHED, AnyReach, Reach, join
from yuzu_cli.operators.record import (
    Call,
    Interval,
    Operator,
    Step,
    Unfamiliar,
)
from yuzu_cli.operators.windows import Sketch

POINTWISE = "position by position"


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
        for node in self.constants():
            self.aligned(node)
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
