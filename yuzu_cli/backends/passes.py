"""How many rows go through the model at a time, and one-hot tensors made on the device.

The size of a pass follows from the bytes the model's operations allocate per row, so it is the same
every time: a resumed run must repeat the bits of the first. May not: know about mutants or scores.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch

from yuzu_cli.backends.base import Settings
from yuzu_cli.graph.capture import Watching
from yuzu_cli.graph.nested import NESTED
from yuzu_cli.model import Model
from yuzu_cli.operators.cost import Cost, call_macs, rates_of

logger = logging.getLogger(__name__)

CPU_PASS_BYTES = 16 << 20
"""What the operations of one pass may return on a CPU, so that most of it stays in the caches.

Measured on four nets: the best passes return 5 to 40 MB in all, more where there are more weights,
as every pass reads them. Larger ones are never better, and slower where the caches are shared.
"""

LEAST_ROWS = 4
"""A pass of fewer rows takes other kernels, which round otherwise.

What the rounding of a mutant and of its sequence have in common then no longer cancels: up to six
times the error on a BPNet.
"""

GPU_PASS_ROWS = 4096
"""More rows than this fill no GPU better."""

T = TypeVar("T")


class RowCost(NamedTuple):
    """What a forward pass takes.

    Attributes
    ----------
    bytes, macs : int
        For one row: of all tensors made on the way, more than lives at one time; multiply-adds.
    calls : int
        Of operators, however many rows.
    """

    bytes: int
    macs: int
    calls: int


class _Meter(Watching):
    """Adds up the bytes of every tensor that operations make (views aside), and their work.

    torch's own counter loads the whole of torch's compiler at its first
    operation: a second of processor time in every run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.macs, self.calls = 0, 0.0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name() in NESTED:
            return NESTED[func.name()](self, lambda value, _: bool(value), *args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        inside = {_storage(tensor) for tensor in _tensors(args)}
        made = (tensor for tensor in _tensors(result) if _storage(tensor) not in inside)
        self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in made)
        self.macs += call_macs(func, args, kwargs or {}, result)
        self.calls += 1
        return result


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [t for item in value for t in _tensors(item)]
    return []


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def row_cost(model: Model, settings: Settings) -> RowCost:
    """Bytes allocated, multiply-adds and calls, counted in a pass of the fewest rows."""
    rows = max(1, model.batch_range[0])
    x = one_hot(torch.zeros(rows, settings.length, dtype=torch.uint8), model, settings)
    with torch.no_grad(), _Meter() as meter:
        model(x)
    made = meter.bytes + x.numel() * x.element_size()
    return RowCost(max(1, made // rows), int(meter.macs) // rows, meter.calls)


def row_seconds(model: Model, settings: Settings, cost: RowCost) -> float:
    """Predicted time of a row of a whole pass: all that is made is written and read once."""
    rates = rates_of(settings.device)
    start = cost.calls * rates.start / pass_rows(model, settings, cost.bytes)
    return Cost(cost.macs, 2 * cost.bytes).seconds(rates) + start


def pass_rows(model: Model, settings: Settings, bytes_per_row: int) -> int:
    """Rows of a forward pass: a power of two within the memory and what the device likes."""
    rows = _power_of_two(settings.memory / bytes_per_row, math.floor)
    if settings.device.type == "cpu":
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        best = CPU_PASS_BYTES + min(weights, CPU_PASS_BYTES)
        rows = min(rows, max(LEAST_ROWS, _power_of_two(best / bytes_per_row, round)))
    else:
        rows = min(rows, GPU_PASS_ROWS)
    low, high = model.batch_range
    if low == high:
        return low * max(1, rows // low)
    return max(low, min(rows, high or rows))


def _power_of_two(value: float, rounded: Callable[[float], int]) -> int:
    return 1 << max(0, rounded(math.log2(value))) if value > 1 else 1


def one_hot(codes: torch.Tensor, model: Model, settings: Settings) -> torch.Tensor:
    """Codes uint8 (B, L) to one-hot (B, A, L), in the type and on the device of the model.

    Unknown letters (code 255) are columns of `settings.unknown`.
    """
    size = model.alphabet_size
    there = codes.to(settings.device)[:, None]
    letters = torch.arange(size, dtype=torch.uint8, device=settings.device)[:, None]
    x = (there == letters).to(settings.dtype)
    return x.masked_fill_(there >= size, settings.unknown) if settings.unknown else x


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch failed for want of memory, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text or "out of memory" in text
    )


class PassSize:
    """A number of rows that is halved when memory runs out, with a note."""

    def __init__(self, rows: int, least: int = 1, unit: str = "mutants in a forward pass") -> None:
        self.rows, self.least, self.unit = rows, least, unit

    def pieces(self, step: Callable[[torch.Tensor], T], rows: torch.Tensor) -> Iterator[T]:
        """`step` of `rows` in pieces along axis 0, in order; smaller ones after memory ran out.

        Raises
        ------
        RuntimeError
            Memory runs out with the fewest rows that are possible.
        """
        done = 0
        while done < len(rows):
            piece = rows[done : done + self.rows]
            try:
                result = step(piece)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.rows <= self.least:
                    raise
            else:
                done += len(piece)
                yield result
                continue
            # Outside the handler, where the traceback no longer holds the tensors of the pass.
            self.rows = max(self.least, self.rows // 2)
            logger.warning("out of memory; from here on at most %d %s", self.rows, self.unit)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
