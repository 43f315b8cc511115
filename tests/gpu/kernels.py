"""The fused kernels on the card: equal to their definition in float64, and how fast beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from yuzu_cli.kernels import between as plain
from yuzu_cli.kernels import fused

Result = dict[str, Any]

PRODUCTS = {"ieee": 3e-6, "tf32x3": 3e-6, "tf32": 3e-3}
"""Largest error accepted of a dilated block, of the largest delta."""


@dataclass(frozen=True)
class Shape:
    """One pass of a model: as wide as edits in the middle of the sequence make it.

    Attributes
    ----------
    name : str
    width, positions, batch, channels, size : int
        w, P, B, C, and the length of the tensor; K is 3.
    pool : tuple of int
        Kernel and stride.
    activation : str
    paired : bool
        Straight after the first convolution: rows come from the table of pairs of letters.
    gap : int
        Of a dilated block of three taps; 0 for a pass between products.
    """

    name: str
    width: int
    positions: int
    batch: int
    channels: int
    size: int
    pool: tuple[int, int] = (1, 1)
    activation: str = "relu"
    paired: bool = False
    gap: int = 0


SHAPES = (
    Shape("Basset 1", 19, 1000, 4, 300, 1000, (3, 3), paired=True),
    Shape("Basset 2", 18, 1000, 4, 200, 333, (4, 4)),
    Shape("Basset 3", 12, 1000, 4, 200, 83, (4, 4)),
    Shape("residual AI-TAC 1", 19, 251, 16, 298, 251, activation="gelu"),
    Shape("BPNet, gap 2", 21, 2114, 2, 64, 2114, gap=2),
    Shape("BPNet, gap 16", 81, 1000, 1, 64, 2114, gap=16),
    Shape("BPNet, gap 128", 529, 200, 1, 64, 2114, gap=128),
)


class Call:
    """One pass made ready: its tensors on the device, and the calls that compute it."""

    def __init__(self, shape: Shape, device: str, shrink: int = 1) -> None:
        positions, size = max(2, shape.positions // shrink), shape.size
        draw = torch.Generator().manual_seed(0)

        def random(*sizes: int) -> Tensor:
            return torch.randn(sizes, generator=draw).to(device)

        start = torch.linspace(-3, size - 2, positions).long()
        inner = (positions, 3, shape.batch, shape.channels)
        self.pairs = self.taps = None
        self.rows = random(shape.width, *((16, shape.channels) if shape.paired else inner))
        if shape.paired:
            self.pairs = torch.randint(16, inner[:3], generator=draw).to(device)
        self.reference = random(size, shape.batch, shape.channels)
        self.how: plain.Pool | plain.Dilated
        if shape.gap:
            self.taps = random(3, shape.channels, shape.channels) / 16
            self.how = plain.Dilated(size, shape.gap, shape.gap, shape.activation)
            out_start, width = start - shape.gap, shape.width + 2 * shape.gap
        else:
            kernel, stride = shape.pool
            out_size = (size - kernel) // stride + 1
            self.how = plain.Pool(size, out_size, shape.activation, kernel, stride)
            out_start = torch.div(start - kernel + 1, stride, rounding_mode="floor")
            width = (shape.width + kernel - 2) // stride + 2
        at = start + torch.arange(shape.width)[:, None]
        if not shape.paired:
            outside = ((at < 0) | (at >= size)).to(device)
            self.rows.masked_fill_(outside[..., None, None, None], 0.0)
        self.start, self.out_start = start.to(device), out_start.to(device)
        self.out = torch.empty((width, *inner), device=device)
        self.shape = shape

    def run(self, calls: Any, products: str = "ieee", dtype: torch.dtype = torch.float32) -> Tensor:
        """The pass by `plain`, `fused` or compiled functions, into `out` or a double of it."""
        out, rows, reference = self.out, self.rows, self.reference
        if dtype != out.dtype:
            out, rows, reference = (x.to(dtype) for x in (out, rows, reference))
        places = (reference, self.start, self.out_start)
        if self.taps is not None:
            assert isinstance(self.how, plain.Dilated)
            how = plain.Dilated(**{**_fields(self.how), "products": products})
            calls.dilated(out, rows, self.taps.to(dtype), *places, how)
        else:
            calls.pool(out, rows, *places, self.how, None, self.pairs)
        return out

    @property
    def bytes(self) -> int:
        """Each element read and written once."""
        return 4 * sum(x.numel() for x in (self.rows, self.reference, self.out))

    @property
    def operations(self) -> int:
        """Of the products, two for a multiply-add."""
        return 2 * self.out.numel() * (0 if self.taps is None else 3 * self.shape.channels)


def _fields(how: plain.Dilated) -> dict[str, Any]:
    return {name: getattr(how, name) for name in how.__slots__}


def check(device: str, shrink: int = 1) -> Iterator[Result]:
    """Every pass against the definition in float64; the output is poisoned before."""
    calls = fused.between(torch.device(device))
    for shape in SHAPES:
        call = Call(shape, device, 8 * shrink)
        exact = call.run(plain, dtype=torch.float64)
        for products in PRODUCTS if shape.gap else ("ieee",):
            call.out.fill_(torch.nan)
            off = (call.run(calls, products).double() - exact).abs().max() / exact.abs().max()
            good = bool(off <= PRODUCTS[products])
            yield {
                "name": f"kernel of {shape.name}, {products}",
                "status": "ok" if good else "failed",
                "why": "" if good else f"off by {float(off):.2g} of the largest",
                "off": float(off),
                "fused": calls.fused and not getattr(calls.pool, "broken", False),
            }


def median(call: Callable[[], object], device: str, seconds: float) -> float:
    """Median seconds of a call, after one that warms it up."""
    samples: list[float] = []
    call()
    begin = time.perf_counter()
    while len(samples) < 3 or (time.perf_counter() - begin < seconds and len(samples) < 200):
        _synchronise(device)
        mark = time.perf_counter()
        call()
        _synchronise(device)
        samples.append(time.perf_counter() - mark)
    return statistics.median(samples)


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


class Compiled:
    """The definition through torch.compile."""

    def __init__(self) -> None:
        self.pool = torch.compile(plain.pool, dynamic=False)
        self.dilated = torch.compile(plain.dilated, dynamic=False)


def rates(device: str, seconds: float, shrink: int = 1, compiled: bool = True) -> Iterator[Result]:
    """Milliseconds of every pass by the definition, compiled and fused; bytes and products a
    second.
    """
    calls = fused.between(torch.device(device))
    for shape in SHAPES:
        call = Call(shape, device, shrink)
        ways: dict[str, Callable[[], object]] = {"plain": lambda c=call: c.run(plain)}
        if compiled:
            own = Compiled()
            ways["compiled"] = lambda c=call, x=own: c.run(x)
        for products in PRODUCTS if shape.gap else ("ieee",):
            ways[f"fused {products}"] = lambda c=call, p=products: c.run(calls, p)
        found = {name: median(way, device, seconds) * 1e3 for name, way in ways.items()}
        best = min(ms for name, ms in found.items() if name.startswith("fused")) / 1e3
        yield {
            "pass": shape.name, "rows": list(call.out.shape), "ms": found,
            "GB_a_second": call.bytes / best / 1e9, "Tflop_a_second": call.operations / best / 1e12,
        }  # fmt: skip
