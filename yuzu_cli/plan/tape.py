"""The tape of a chunk: what is done for some positions, as a flat list of kernels over registers.

What a chunk does depends on the plan and its positions, not on the sequences: it is worked out once
and run for every batch. Here it is put together from what each step adds, registers get their place
in memory, and `storage` says what of it lives at the same time. Nothing is computed here.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.ops import OpOverload
from yuzu_cli.graph.program import batch_size
from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import Form, Instruction, Item, Other, Register, Whole, Window
from yuzu_cli.operators.pointwise import Bound
from yuzu_cli.operators.reach import Ints
from yuzu_cli.operators.record import CONSTANT, WHOLE, Step
from yuzu_cli.operators.windows import Sketch
from yuzu_cli.plan.analyse import Analysis
from yuzu_cli.plan.cuts import before
from yuzu_cli.plan.fuse import fuse
from yuzu_cli.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class Tape:
    """What is done for a chunk.

    Attributes
    ----------
    positions : int64 (P,)
    registers : tuple of Register
    prelude, instructions : tuple of Instruction
        Once for a batch; for the chunk.
    output : Item
    tail : tuple of Instruction
        Lay an output that is a window into whole tensors, for who wants these.
    last : dict of register -> index
        The last instruction that reads it.
    """

    positions: Ints
    registers: tuple[Register, ...]
    prelude: tuple[Instruction, ...]
    instructions: tuple[Instruction, ...]
    output: Item
    tail: tuple[Instruction, ...]
    last: dict[int, int]

    def inputs(self) -> list[tuple[int, Register]]:
        """What is read and filled before a run, by number; views after what they are of."""
        steps = (*self.prelude, *self.instructions, *self.tail)
        used = {self.output.at, *(at for step in steps for at in step.reads)}
        sources = {at: r.source for at, r in enumerate(self.registers) if r.source is not None}
        used |= {s[1] for at, s in sources.items() if at in used and s[0] == "view"}
        return [(at, self.registers[at]) for at in sources if at in used]


class Script:
    """The prepared steps of a model: what a chunk's tape is made from.

    Parameters
    ----------
    found : Analysis
    plan : Plan
    few_starts, rough : bool
        See `Sketch`.
    cut : tuple of str
        Tensors whose deltas are multiplied with gradients; the tape ends there, with (E, T).
    fused : bool
        What lies between two products is one instruction.
    """

    def __init__(
        self, found: Analysis, plan: Plan, few_starts: bool = False, rough: bool = False,
        fused: bool = False, cut: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.found, self.program, self.ways = found, found.program, plan.ways
        self.few_starts, self.rough, self.fused, self.cut = few_starts, rough, fused, cut
        self.nodes: list[Node] = [n for n in self.program.calls() if self.ways[n.name] != CONSTANT]
        if cut:
            head = before(self.program, cut)
            self.nodes = [n for n in self.nodes if n.name in head]
        self.steps: dict[str, Step] = {
            n.name: found.operators[n.name].lower()
            for n in self.nodes
            if self.ways[n.name] != WHOLE
        }

    def tape(self, positions: Ints) -> Tape:
        """The tape for some positions, in the order given."""
        sketch = Sketch(
            self.program, self.found.reaches, positions, self.few_starts, self.found.unbounded,
            self.rough,
        )  # fmt: skip
        items: dict[str, Item] = {self.program.input.name: self._letters(sketch)}
        whole = WholeTensors(self, sketch, items)
        for node in self.nodes:
            sketch.node = node.name
            step = self.steps.get(node.name)
            items[node.name] = step(sketch, items) if step is not None else whole.compute(node)
        sketch.node = "output"
        if self.cut:
            output: Item = Other(sketch.times_gradients([items[name] for name in self.cut]))
            return _tape(sketch, output, len(sketch.instructions), self.fused)
        output = items[self.program.output.name]
        if isinstance(output, Window):
            output = sketch.delta(output)
        elif isinstance(output, Whole):
            output = Whole(output.name, sketch.whole_delta(output), True)
        count = len(sketch.instructions)
        if isinstance(output, Window):
            sketch.lay_whole(output, deltas=True)
        return _tape(sketch, output, count, self.fused)

    def _letters(self, sketch: Sketch) -> Window:
        """Deltas of the one-hot input for every pair of letters: (1, 1, A*A, 1, A)."""
        size = self.program.letters
        shape = (1, 1, size * size, 1, size)
        at = sketch.input(("letters",), shape, self.program.specs[self.program.input.name].dtype)
        frame = Frame(sketch.positions, 1, self.program.length)
        return Window(self.program.input.name, frame, at, Form.PAIRS, 2, (size,))


def _tape(sketch: Sketch, output: Item, count: int, fused: bool) -> Tape:
    steps, tail = sketch.instructions[:count], sketch.instructions[count:]
    if fused:
        steps = fuse(sketch.registers, steps, output.at, sketch.shape)
    last: dict[int, int] = {}
    for i, instruction in enumerate(steps):
        for register in instruction.reads:
            last[register] = i
    last[output.at] = len(steps)
    for step in reversed(steps):
        if step.kernel == "call" and _may_be_view(step.args["function"].target):
            for read in step.reads:  # whose memory lives on in the result
                last[read] = max(last[read], last.get(step.write, 0))
    prelude, registers = tuple(sketch.prelude), tuple(sketch.registers)
    return Tape(sketch.positions, registers, prelude, tuple(steps), output, tuple(tail), last)


def _may_be_view(target: Any) -> bool:
    """Whether what a call gives may be the memory of what it reads."""
    if isinstance(target, OpOverload):
        return any(r.alias_info is not None for r in target._schema.returns)
    return target in (operator.getitem, ops.pick)


# --- whole tensors ------------------------------------------------------------------------------


class WholeTensors:
    """Nodes that are computed whole for every mutant of a chunk: each node's own call, on deltas
    where that is the same.

    Also the place where windows end that no way continues: they are laid into the reference.
    """

    def __init__(self, script: Script, sketch: Sketch, items: dict[str, Item]) -> None:
        self.script, self.sketch, self.items = script, sketch, items
        self.program = script.program

    def compute(self, node: Node) -> Item:
        """The node's value for every mutant."""
        known = self.script.found.operators[node.name]
        if known.linear and not known.exact:
            found = self._on_deltas(node, known.weighted)
            if found is not None:
                return found
        pack = torch.Tag.pointwise not in getattr(node.target, "tags", ())
        order = node.all_input_nodes
        reads = [self.value(n) for n in order]
        spec = self.program.specs.get(node.name)
        at = self.sketch.emit(
            "call", reads, None, spec.dtype if spec is not None else None, bytes=self._bytes(node),
            function=Bound(node, [n.name for n in order]), packed=pack,
        )  # fmt: skip
        return Other(at) if spec is None else Whole(node.name, at, False)

    def _bytes(self, node: Node) -> int:
        """Of the value for all mutants of one sequence, as far as known."""
        spec, (p, k, _) = self.program.specs.get(node.name), self.sketch.shape
        return 0 if spec is None else spec.numel * spec.dtype.itemsize * p * k

    def _on_deltas(self, node: Node, weighted: bool) -> Item | None:
        source = node.args[0]
        item = self.items.get(source.name) if isinstance(source, Node) else None
        if not isinstance(source, Node) or item is None or isinstance(item, Other):
            return None
        if not self.program.specs[source.name].dtype.is_floating_point:
            return None
        # Of values, too, the deltas are taken before weights: products of many rows round otherwise
        # than those of the reference alone, and that would not cancel.
        if isinstance(item, Whole) and not item.is_delta and not weighted:
            return None
        if source.name in self.script.found.unbounded:
            return None
        weights = {n.name for n in node.all_input_nodes} - {source.name}
        if weighted and not weights <= set(self.program.constants):
            return None
        for spec in (self.program.specs[source.name], self.program.specs[node.name]):
            if not spec.by_sequence:
                return None  # rows are no longer mutants: the reference could not be added back
        if isinstance(item, Window):
            data = self.sketch.lay_whole(item, deltas=True)
        else:
            data = self.sketch.whole_delta(item)
        spec, weight = self.program.specs[node.name], node.args[1:2]
        if node.target is ops.linear and weighted:
            shape, matrix = (*self.sketch.mutants, *spec.shape[1:]), self.program.constants
            made = self.sketch.dtype(data)
            at = self.sketch.emit("matrix", (data,), shape, made, weight=matrix[weight[0].name])
            return Whole(node.name, at, True)
        order = [n for n in node.all_input_nodes if n is not source]
        reads = [data, *(self.value(n) for n in order)]
        function: Any = Bound(node, [source.name, *(n.name for n in order)])
        at = self.sketch.emit(
            "call", reads, None, self.sketch.dtype(data), bytes=self._bytes(node),
            function=WithoutBias(function) if weighted else function, packed=True,
        )  # fmt: skip
        return Whole(node.name, at, True)

    def value(self, node: Node) -> int:
        """An argument of a call, for every mutant."""
        item = self.items.get(node.name)
        if isinstance(item, Window):
            return self.sketch.lay_whole(item, deltas=False)
        if isinstance(item, Whole):
            return self.sketch.whole_value(item)
        if isinstance(item, Other):
            return item.at
        constant = self.program.constants.get(node.name)
        if constant is not None:
            shape = tuple(constant.shape) if isinstance(constant, torch.Tensor) else None
            return self.sketch.input(
                ("value of", node.name), shape, getattr(constant, "dtype", None)
            )
        found = self._batch_only(node)
        self.items[node.name] = Other(found)
        return found

    def _batch_only(self, node: Node) -> int:
        """Something that depends on the number of mutants alone."""
        if node.target is batch_size:
            return self.sketch.input(("mutants",), None, None)
        order = node.all_input_nodes
        reads = [self.value(n) for n in order]
        function = Bound(node, [n.name for n in order])
        return self.sketch.emit("call", reads, None, None, function=function, packed=False)


class WithoutBias:
    """A linear layer's or a convolution's call, its third argument left out."""

    def __init__(self, function: Bound) -> None:
        self.function, self.name, self.target = function, function.name, function.target

    def __call__(self, *values: Any) -> Any:
        args, kwargs = self.function.arguments(list(values))
        args[2:3] = [None] if len(args) > 2 else []
        if "bias" in kwargs:
            kwargs = {**kwargs, "bias": None}
        return self.function.target(*args, **kwargs)
