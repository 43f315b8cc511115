"""What lies between two products of a model: its tape's programs, with numbers to run them on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.support.conformance import BY_NAME, Subject, loaded
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.windowed import understand
from yuzu_cli.bench.papers import zoo
from yuzu_cli.model import Model, load_model
from yuzu_cli.plan.tape import Script


@dataclass(frozen=True)
class Passage:
    """One program of a tape.

    Attributes
    ----------
    name : str
        The model, and the node it ends with.
    out : tuple of int
        (w, P, K, B, C).
    reads : tuple of (shape, dtype)
    options : dict
        As `yuzu_cli.kernels.between.compute` takes them; tables are numpy's.
    """

    name: str
    out: tuple[int, ...]
    reads: tuple[tuple[tuple[int, ...], torch.dtype], ...]
    options: dict[str, Any]

    @property
    def taps(self) -> tuple[int, ...] | None:
        """(kernel, I, O) of its product."""
        for name, _, numbers in self.options["program"]:
            if name == "taps":
                return tuple(self.options["constants"][numbers[2]].shape)
        return None

    @property
    def operations(self) -> int:
        """Of its product, two for a multiply-add."""
        if self.taps is None:
            return 0
        mutants, (_, inputs, outputs) = self.out[2] * self.out[3], self.taps
        return 2 * int(self.options["multiplied"]) * mutants * inputs * outputs

    def numbers(self, device: str, seed: int = 0) -> tuple[Tensor, list[Tensor], dict[str, Any]]:
        """Random tensors: an output full of NaN, what is read, and the options on the device."""
        draw = torch.Generator().manual_seed(seed)
        reads = [
            torch.randint(16, shape, generator=draw) if dtype == torch.int64
            else torch.randn(shape, generator=draw) for shape, dtype in self.reads
        ]  # fmt: skip
        options = dict(self.options)
        options["tables"] = torch.as_tensor(options["tables"], device=device)
        options["constants"] = [x.to(device) for x in options["constants"]]
        out = torch.full(self.out, torch.nan, device=device)
        return out, [x.to(device) for x in reads], options


def doubled(call: Callable[..., None], out: Tensor, reads: list[Tensor], options: Any) -> Tensor:
    """The same in float64."""
    wide = lambda x: x.double() if x.is_floating_point() else x  # noqa: E731
    options = {**options, "constants": [wide(x) for x in options["constants"]]}
    result = out.double()
    call(result, *map(wide, reads), **options)
    return result


def passages(
    name: str, length: int, batch: int, positions: int | None = None, width: float = 1.0
) -> list[Passage]:
    """Every program of a model of the zoo, for so many positions from end to end."""
    with tempfile.TemporaryDirectory() as folder:
        path = zoo.save(name, Path(folder) / "model.pt", length=length, width=width)
        return of_model(load_model(path, length=length, layout="NCL"), name, batch, positions)


def of_subject(subject: Subject, folder: Path, batch: int, positions: int) -> list[Passage]:
    """The same of a conformance case."""
    how = "scripted" if BY_NAME[subject.name].scripted else "traced"
    return of_model(loaded(subject, how, folder), subject.name, batch, positions)


def of_model(model: Model, name: str, batch: int, positions: int | None) -> list[Passage]:
    """The same of a loaded model."""
    length = model.length
    found = understand(model, Settings(length, torch.device("cpu")))
    where = np.linspace(0, length - 1, positions or length).round().astype(np.int64)
    tape = Script(found.found, found.plan, few_starts=True, fused=True).tape(where)
    made = []
    for step in tape.instructions:
        if step.kernel == "between":
            registers = [tape.registers[r] for r in (step.write, *step.reads)]
            shapes = [r.sized(batch) for r in registers]
            reads = [(s, r.dtype) for s, r in zip(shapes[1:], registers[1:], strict=True)]
            # Registers between products all have a type.
            made.append(Passage(f"{name} {step.node}", shapes[0], tuple(reads), dict(step.args)))  # type: ignore[arg-type]
    return made
