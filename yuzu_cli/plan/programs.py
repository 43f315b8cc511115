"""Instructions between two products as one program: what each element follows from.

A program is worked out backwards, from rows of what is wanted to rows of what is read. What a
program means, statement by statement, is defined in `yuzu_cli.kernels.between`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from yuzu_cli.operators.items import Instruction, Register
from yuzu_cli.operators.reach import Ints
from yuzu_cli.plan.statements import TABLES, Said

_aten = torch.ops.aten

NAMES: dict[Any, str] = {
    _aten.relu.default: "relu",
    _aten.gelu.default: "gelu",
    _aten.exp.default: "exp",
    _aten.sigmoid.default: "sigmoid",
    _aten.softplus.default: "softplus",
    _aten.elu.default: "elu",
    _aten.silu.default: "silu",
    _aten.tanh.default: "tanh",
    _aten.maximum.default: "maximum",
    _aten.minimum.default: "minimum",
    _aten.add.Tensor: "add",
    _aten.sub.Tensor: "subtract",
    _aten.mul.Tensor: "multiply",
    _aten.div.Tensor: "divide",
}


class Points(Said):
    """A program while it is made: statements for rows of registers, worked out backwards.

    Rows are numbered ``row * P + position`` of their window.
    """

    def __init__(
        self, registers: list[Register], writer: dict[int, Instruction], own: set[int],
        positions: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.registers, self.writer, self.own, self.p = registers, writer, own, positions

    def program(self, root: Instruction) -> Instruction:
        """The instruction that does all of it."""
        count = self._rows(root)
        self.value(root.write, np.arange(count))
        statements, tables = self.used()
        stacked = np.stack(tables) if tables else np.zeros((0, count), np.int32)
        args: dict[str, Any] = {
            "program": statements,
            "tables": stacked,
            "constants": self.constants,
        }
        args["multiplied"] = sum(self._met(s[2], tables) for s in statements if s[0] == "taps")
        return Instruction("between", tuple(self.reads), root.write, args, None, root.node)

    def _met(self, numbers: tuple[Any, ...], tables: list[Ints]) -> int:
        """How many rows the taps of a convolution meet, for all rows of the result."""
        read, table, which, stride, shift, gap = numbers
        held = self.registers[self.reads[read]].extent
        rows, times = np.unique(np.where(tables[table] < 0, -1, tables[table] // self.p),
                                return_counts=True)  # fmt: skip
        at = rows * stride - shift + np.arange(len(self.constants[which]))[:, None] * gap
        return int((((at >= 0) & (at < held[0]) & (rows >= 0)) * times).sum())

    def _rows(self, step: Instruction) -> int:
        """Rows of what an instruction writes, times P."""
        return self.registers[step.write].extent[0] * self.p

    # --- values -----------------------------------------------------------------------------------

    def value(self, at: int, index: Ints) -> int:
        """What rows of a register hold."""
        key = ("value", at, self.table(index))
        if key not in self._numbers:
            self._numbers[key] = self._value(at, index)
        return self._numbers[key]

    def _value(self, at: int, index: Ints) -> int:
        step = self.writer.get(at)
        if at not in self.own or step is None:
            return self.say("rows", numbers=(self.read(at), self.table(index)))
        method = getattr(self, f"_{step.kernel.replace(' ', '_')}")
        found: int = method(step, index)
        return found

    def beneath(self, at: int, index: Ints) -> int:
        """The same of a register of references, (n, B, C) or (w, P or 1, 1, B, C)."""
        register, step = self.registers[at], self.writer.get(at)
        if step is not None and step.kernel == "rows":
            assert isinstance(step.args["index"], np.ndarray)
            at, index = step.reads[0], step.args["index"][self._narrow(at, index)]
        elif register.source is not None and register.source[0] == "view":
            _, source, first, move, _, _ = register.source
            row, position = divmod(index, self.p)
            at, index = source, first + row + move * position
        else:
            index = self._narrow(at, index)
        return self.say("reference", numbers=(self.read(at), self.table(index)))

    def _narrow(self, at: int, index: Ints) -> Ints:
        """Rows of a register that may hold one position for all."""
        alike = self.registers[at].extent[1] == 1 and self.p > 1
        return index // self.p if alike else index

    def absent(self, x: int, gone: np.ndarray, fill: float) -> int:
        """The value, but for some rows that are a number."""
        if not gone.any():
            return x
        name, _, numbers = self.statements[x]
        if name in ("rows", "letters", "taps") and fill == 0.0:
            at = TABLES[name]
            rows = np.where(gone, -1, self.tables[numbers[at]])
            return self.say(name, numbers=(*numbers[:at], self.table(rows), *numbers[at + 1 :]))
        other = self.say("number", numbers=(float(fill),))
        return self.say("where", x, other, numbers=(self.table(np.where(gone, -1, 0)),))

    # --- instructions -----------------------------------------------------------------------------

    def _mask(self, step: Instruction, index: Ints) -> int:
        gone = np.zeros(self._rows(step), dtype=bool)
        gone[step.args["index"]] = True
        gone = gone[index]
        return self.absent(self.value(step.reads[0], index), gone, step.args["fill"])

    def _gather(self, step: Instruction, index: Ints) -> int:
        return self.value(step.reads[0], step.args["index"][index])

    def _flank(self, step: Instruction, index: Ints) -> int:
        rows = np.full(self._rows(step), -1)
        rows[step.args["index"]] = step.args["beneath"]
        rows = rows[index]
        table = self.table(np.where(rows < 0, 0, -1))
        reads = (self.read(step.reads[1]), self.table(rows))
        x = self.value(step.reads[0], index)
        return self.say("where", x, self.say("reference", numbers=reads), numbers=(table,))

    def _expand(self, step: Instruction, index: Ints) -> int:
        reads = (self.read(step.reads[0]), self.read(step.reads[1]), self.table(index))
        return self.say("letters", numbers=reads)

    def _repeat(self, step: Instruction, index: Ints) -> int:
        row, position = divmod(index, self.p)
        rows = row // step.args["count"] * self.p + position
        return self.value(step.reads[0], rows)

    def _moved(self, step: Instruction, index: Ints) -> tuple[Ints, np.ndarray]:
        """Rows that were laid into others, and where there is none."""
        rows = np.full(self._rows(step), -1).reshape(-1, self.p)
        position = np.arange(self.p)
        for into, out_of, run in step.args["moves"]:
            lines = np.arange(out_of.start, out_of.stop)[:, None] * self.p
            rows[into, run] = lines + position[run]
        rows = rows.reshape(-1)[index]
        return np.where(rows < 0, 0, rows), rows < 0

    def _laid(self, step: Instruction, at: int, index: Ints) -> int:
        rows, gone = self._moved(step, index)
        return self.absent(self.value(at, rows), gone, 0.0)

    def _lay(self, step: Instruction, index: Ints) -> int:
        return self._laid(step, step.reads[0], index)

    def _lay_on_reference(self, step: Instruction, index: Ints) -> int:
        x = self._laid(step, step.reads[0], index)
        return self.say("add", x, self.beneath(step.reads[1], index))

    def _lay_beside_reference(self, step: Instruction, index: Ints) -> int:
        rows, gone = self._moved(step, index)
        x = self.value(step.reads[0], rows)
        other = self.beneath(step.reads[1], index)
        return self.say("where", x, other, numbers=(self.table(np.where(gone, -1, 0)),))

    def _accumulate(self, step: Instruction, index: Ints) -> int:
        base = self.value(step.reads[0], index)
        x, factor = self._laid(step, step.reads[1], index), step.args["factor"]
        if factor == 1:
            return self.say("add", base, x)
        return self.say("add", base, self._scaled(x, factor))

    def _add(self, step: Instruction, index: Ints) -> int:
        x = self.value(step.reads[0], index)
        return self.say(step.kernel, x, self.beneath(step.reads[1], index))

    _subtract = _add

    def _scaled(self, x: int, factor: float) -> int:
        return self.say("multiply", x, self.say("number", numbers=(float(factor),)))

    def _scale(self, step: Instruction, index: Ints) -> int:
        return self._scaled(self.value(step.reads[0], index), step.args["factor"])

    def _channels(self, step: Instruction, value: torch.Tensor) -> int:
        """A constant along the other axes."""
        rest = tuple(step.args["rest"])
        whole = value.reshape(value.shape[max(0, value.dim() - len(rest)) :])
        which = self.constant(whole.expand(rest).reshape(-1).contiguous(), (id(value), rest))
        return self.say("constant", numbers=(which,))

    def _by_channel(self, step: Instruction, index: Ints) -> int:
        """Times a factor, and plus a term where there is one."""
        x = self.value(step.reads[0], index)
        for name, at in zip(("multiply", "add"), step.reads[1:], strict=False):
            x = self.say(name, x, self._channels(step, self.registers[at].origin[-1].value))
        return x

    _multiply = _affine = _by_channel

    def _add_bias(self, step: Instruction, index: Ints) -> int:
        x = self.value(step.reads[0], index)
        return self.say("add", x, self._channels(step, step.args["bias"]))

    def _pointwise(self, step: Instruction, index: Ints) -> int:
        function, operands = step.args["function"], []
        for at in step.reads:
            source = self.registers[at].source
            operands.append(
                self._channels(step, source[-1].value) if source is not None
                else self.value(at, index)
            )  # fmt: skip
        order = [operands[j] for _, j in function.slots]
        return self.say(NAMES[function.target], *order)

    def _window(self, step: Instruction, at: int, index: Ints) -> list[int]:
        """The rows that a pool takes together."""
        args, (row, position) = step.args, divmod(index, self.p)
        count = args["size"] if "size" in args else args["kernel_size"]
        first, gap = row * args.get("stride", count), args.get("gap", 1)
        return [self.value(at, (first + k * gap) * self.p + position) for k in range(count)]

    def _folded(self, name: str, values: list[int]) -> int:
        found = values[0]
        for value in values[1:]:
            found = self.say(name, found, value)
        return found

    def _max_pool(self, step: Instruction, index: Ints) -> int:
        return self._folded("maximum", self._window(step, step.reads[0], index))

    def _average_pool(self, step: Instruction, index: Ints) -> int:
        total = self._folded("add", self._window(step, step.reads[0], index))
        return self.say("divide", total, self.say("number", numbers=(float(step.args["divisor"]),)))

    def _softmax_pool(self, step: Instruction, index: Ints) -> int:
        logits = self._window(step, step.reads[0], index)
        values = self._window(step, step.reads[1], index)
        if len(logits) == 2:
            share = self.say("sigmoid", self.say("subtract", *logits))
            apart = self.say("subtract", values[0], values[1])
            return self.say("add", values[1], self.say("multiply", share, apart))
        top = self._folded("maximum", logits)
        shares = [self.say("exp", self.say("subtract", x, top)) for x in logits]
        weighed = [self.say("multiply", x, y) for x, y in zip(shares, values, strict=True)]
        return self.say("divide", self._folded("add", weighed), self._folded("add", shares))

    def _taps(self, step: Instruction, index: Ints) -> int:
        args = step.args
        which = self.constant(args["taps"], (id(args["taps"]),))
        reads = (self.read(step.reads[0]), self.table(index), which)
        numbers = (args.get("stride", 1), args.get("shift", 0), args["gap"])
        return self.say("taps", numbers=(*reads, *numbers))

    _strided_taps = _taps
