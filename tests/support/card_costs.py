"""What a card is asked to do, counted, and a simple model of an H100 that makes a time of it."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Collection
from heapq import nlargest
from operator import itemgetter
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils import _pytree as pytree

START = 4e-6
"""Seconds to start a kernel when the host keeps up."""

BANDWIDTH = 3.0e12
"""Bytes a second of the card's memory, read and written together."""

FLOAT32 = 5.0e13
"""Operations a second in float32, two for a multiply-add, without tensor cores."""

TF32X3 = 1.3e14
"""The same of three products in tf32 for one, as fused kernels make them on tensor cores."""

VIEWS = frozenset(
    [
        "view",
        "_unsafe_view",
        "permute",
        "transpose",
        "t",
        "slice",
        "select",
        "unsqueeze",
        "squeeze",
        "expand",
        "as_strided",
        "alias",
        "detach",
        "unfold",
        "split",
        "split_with_sizes",
        "chunk",
        "_reshape_alias",
        "diagonal",
        "lift_fresh",
        "lift",
        "unbind",
        "view_as_real",
        "view_as_complex",
        "narrow",
        "empty",
        "empty_strided",
        "empty_like",
        "new_empty",
        "new_empty_strided",
        "set_",
        "_local_scalar_dense",
    ]
)
"""Operators that start no kernel."""

ALWAYS_WAIT = frozenset(
    [
        "_local_scalar_dense",
        "nonzero",
        "equal",
        "is_nonzero",
        "masked_select",
        "unique_dim",
        "_unique2",
        "repeat_interleave",
    ]
)
"""Operators after which the host must know a value."""

_GATHERS = frozenset(["index", "gather", "index_select", "take", "embedding"])


class Counts:
    """What a card was asked to do.

    Attributes
    ----------
    kernels, bytes : Counter
    seconds : dict of key to float
        By operator and place in the package.
    waits : Counter
        By reason and place.
    each : list of (key, seconds)
        Of every kernel its place, and what it would take if it started at once.
    uploads, downloads, uploaded, downloaded : int
        How many, and of how many bytes.
    multiply_adds : int
    """

    def __init__(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.waits: Counter[str] = Counter()
        self.ups: Counter[str] = Counter()
        self.each: list[tuple[str, float]] = []
        self._busy = False
        self.uploads = self.uploaded = self.downloads = self.downloaded = self.multiply_adds = 0

    def kernel(self, name: str, inner: list[Any], args: Any, out: Any) -> None:
        """One kernel: it reads its arguments and writes its results, each once."""
        made = sum(map(bytes_of, pytree.tree_leaves(out)))
        moved = sum(map(bytes_of, inner)) + made
        if name in _GATHERS:
            moved = 2 * made + sum(map(bytes_of, inner[1:]))
        products = _multiply_adds(name, args, out)
        key = f"{name}  {place()}"
        self._started(key, moved, products, FLOAT32)

    def fused(self, name: str, tensors: list[Any], products: int) -> None:
        """One kernel that reads and writes each of its tensors once."""
        key, moved = f"{name}  {place()}", sum(map(bytes_of, tensors))
        self._started(key, moved, products, TF32X3)

    def _started(self, key: str, moved: int, products: int, rate: float) -> None:
        busy = max(moved / BANDWIDTH, 2 * products / rate)
        self.seconds[key] += max(START, busy)
        self.each.append((key, busy))
        self.kernels[key] += 1
        self.bytes[key] += moved
        self.multiply_adds += products
        self._busy = True

    def saved(self, start: float, keys: Collection[str]) -> float:
        """Seconds less if these kernels started within so many."""
        times = [busy for key, busy in self.each if key in keys]
        return sum(max(START, busy) - max(start, busy) for busy in times)

    def wait(self, reason: str) -> None:
        """The host waits for the card."""
        self._busy = False
        self.waits[f"{reason}, {place()}"] += 1

    def upload(self, source: torch.Tensor, reason: str, waits: bool = True) -> None:
        """From memory that is not pinned torch copies when all that was asked before is done."""
        self.uploads += 1
        self.uploaded += bytes_of(source)
        self.ups[f"{reason}, {place()}"] += 1
        if waits and self._busy:
            self.wait(reason)

    def download(self, source: torch.Tensor, waits: bool) -> None:
        self.downloads += 1
        self.downloaded += bytes_of(source)
        if waits:
            self.wait("download")

    @property
    def milliseconds(self) -> float:
        """Predicted time of all that was counted."""
        return sum(self.seconds.values()) * 1e3

    def plain(self) -> dict[str, float]:
        """The sums, as plain numbers."""
        return {
            "kernels": self.kernels.total(),
            "bytes": self.bytes.total(),
            "multiply_adds": self.multiply_adds,
            "uploads": self.uploads,
            "uploaded": self.uploaded,
            "downloads": self.downloads,
            "waits": self.waits.total(),
            "milliseconds": self.milliseconds,
        }

    def summary(self, top: int = 0) -> str:
        """The sums in one line, and the places that cost most."""
        p = self.plain()
        lines = [
            f"{p['kernels']} kernels, {p['bytes'] / 1e9:.2f} GB, "
            f"{p['multiply_adds'] / 1e9:.1f} G multiply-adds, {self.uploads} uploads of "
            f"{self.uploaded / 1e6:.2f} MB, {self.downloads} downloads, {p['waits']} waits; "
            f"predicted {self.milliseconds:.2f} ms"
        ]
        for key, seconds in nlargest(top, self.seconds.items(), key=itemgetter(1)):
            lines.append(f"  {seconds * 1e3:9.3f} ms {self.kernels[key]:6d} kernels  {key}")
        return "\n".join(lines)


def bytes_of(x: Any) -> int:
    return x.numel() * x.element_size() if isinstance(x, torch.Tensor) else 0


def _multiply_adds(name: str, args: Any, out: Any) -> int:
    if name in ("mm", "addmm", "addmm_"):
        a, b = args[-2:] if name == "mm" else args[1:3]
        return a.shape[0] * a.shape[1] * b.shape[1]
    if name in ("bmm", "baddbmm", "baddbmm_"):
        a, b = args[-2:] if name == "bmm" else args[1:3]
        return a.shape[0] * a.shape[1] * a.shape[2] * b.shape[2]
    if name == "convolution":
        return out.numel() * args[1].numel() // args[1].shape[0]
    return 0


_PACKAGE = f"{Path(__file__).parents[2] / 'yuzu_cli'}/"


def place() -> str:
    """Where in the package the call comes from."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_PACKAGE):
            return f"{name.removeprefix(_PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
