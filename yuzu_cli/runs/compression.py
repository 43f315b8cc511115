"""Arrays to compressed chunks, in the form that HDF5's own filters read.

Compressing here and not inside HDF5 lets several threads do it at once without holding Python's
lock, and lets a chunk be made once and then only copied.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from isal import isal_zlib

from yuzu_cli.errors import UsageError

#: A plane of bytes of this length is worth a code of its own: first bytes of numbers, which hold
#: the exponents, are alike, last ones are not. Measured on scores of the example model in chunks of
#: 256 kB: 0.71 of the size at 300 MB/s, and 0.73 at 400 without; in float16 0.72 at 407, and 0.76
#: at 436. In chunks of 32 kB it would be 0.76 at 232, and is 0.80 at 330.
_LONG, _ANEW = 16 << 10, isal_zlib.Z_FULL_FLUSH

#: Arrays are handed to threads in groups of this size: a task of its own for each would cost more.
_GROUP = 1 << 20

#: ``map``, or that of some threads.
Map = Callable[..., Iterable[Any]]

_h5_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Codec:
    """How chunks are compressed: `name` is ``gzip``, ``lzf`` or ``none``; `level` is gzip's.

    Level 0 stands for the default, the fast deflate of ISA-L: plain gzip to every reader.
    """

    name: str
    level: int = 0

    @classmethod
    def parse(cls, text: str) -> Codec:
        """From `output.compression`: ``gzip``, ``gzip:1`` to ``gzip:9``, ``lzf`` or ``none``.

        Raises
        ------
        UsageError
            For anything else.
        """
        name, _, level = text.partition(":")
        if name == "gzip" and (level in ("", *"123456789")):
            return cls("gzip", int(level or 0))
        if text in ("lzf", "none"):
            return cls(text)
        raise UsageError(
            "output.compression",
            f"{text!r} is not a compression",
            "take gzip, gzip:1 to gzip:9, lzf or none",
        )

    def create_options(self) -> dict[str, Any]:
        """Keyword arguments for h5py's ``create_dataset``."""
        if self.name == "gzip":
            return {"compression": "gzip", "compression_opts": self.level or 1, "shuffle": True}
        return {"compression": "lzf", "shuffle": True} if self.name == "lzf" else {}

    def encode(self, block: np.ndarray) -> tuple[bytes, int]:
        """One whole chunk (any shape) to its bytes on disk and its mask of filters left out."""
        block = np.ascontiguousarray(block)
        if self.name == "none":
            return block.tobytes(), 0
        if self.name == "lzf":
            return _lzf(block, self.create_options())
        planes = np.ascontiguousarray(
            block.reshape(-1).view(np.uint8).reshape(-1, block.itemsize).T
        )
        if self.level:
            return zlib.compress(planes.data, self.level), 0
        if planes.shape[1] < _LONG:
            return isal_zlib.compress(planes.data, 1), 0
        packer = isal_zlib.compressobj(1)
        parts = [p for row in planes for p in (packer.compress(row.data), packer.flush(_ANEW))]
        return b"".join([*parts, packer.flush()]), 0


def _lzf(block: np.ndarray, options: dict[str, Any]) -> tuple[bytes, int]:
    """Compress by h5py, in a file in memory: LZF has no other implementation at hand."""
    import h5py

    with _h5_lock, h5py.File("lzf", "w", driver="core", backing_store=False) as file:
        flat = block.reshape(-1)
        dataset = file.create_dataset("x", data=flat, chunks=flat.shape, **options)
        mask, data = dataset.id.read_direct_chunk((0,))
        return bytes(data), int(mask)


class Workers:
    """Some threads that compress ahead, in order, with a bounded number of results waiting."""

    def __init__(self) -> None:
        found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        count = max(1, min(8, found or 1))
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="yuzu-worker")
        self._depth = count + 2

    def map(self, function: Callable[[Any], Any], blocks: Iterable[np.ndarray]) -> Iterator[Any]:
        """The outcome for each array, in order."""

        def every(group: list[np.ndarray]) -> list[Any]:
            return [function(block) for block in group]

        waiting: deque[Future[list[Any]]] = deque()
        for group in _groups(blocks):
            waiting.append(self._pool.submit(every, group))
            if len(waiting) >= self._depth:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _groups(blocks: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    group: list[np.ndarray] = []
    size = 0
    for block in blocks:
        group.append(block)
        size += block.nbytes
        if size >= _GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group
