"""Arrays to compressed chunks, in the form that HDF5's own filters read.

Compressing here and not inside HDF5 lets several threads do it at once without holding Python's
lock, and lets a chunk be made once and then only copied.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from math import prod
from typing import Any

import h5py
import numpy as np
from isal import isal_zlib

from yuzu_cli.errors import UsageError

#: A plane of bytes of this length is worth a code of its own: last bytes of numbers, which hold the
#: exponents, are alike, first ones are not. Measured on deltas of the example model in chunks of
#: 256 kB: 0.71 of the size at 420 MB/s, and 0.73 at 450 without; in float16 0.72 at 440, and 0.76
#: at 480. In chunks of 32 kB it would be 0.76 at 255, and is 0.80 at 350.
_LONG, _ANEW = 16 << 10, isal_zlib.Z_FULL_FLUSH

#: Bytes that are looked at to see whether there is anything to pack.
_SAMPLE = 2048

#: Chunks are handed to threads in groups of this size: a task of its own for each would cost more.
_GROUP = 1 << 20

#: A chunk as it is stored, and its mask of filters left out.
Chunk = tuple[bytes, int]

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
        """From `output.compression`; a UsageError for what is none."""
        if text in ("gzip", "lzf", "none", *(f"gzip:{level}" for level in range(1, 10))):
            name, _, level = text.partition(":")
            return cls(name, int(level or 0))
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

    def begin(self, pool: Executor, values: np.ndarray, chunk: tuple[int, ...]) -> Iterator[Chunk]:
        """Begin to encode the chunks of some rows in threads; in order, waited for as needed."""

        def every(group: list[np.ndarray]) -> list[Chunk]:
            return [self.encode(block) for block in group]

        blocks = cut(values, chunk)
        together = max(1, _GROUP // (prod(chunk) * values.itemsize))
        groups = iter(lambda: list(islice(blocks, together)), [])
        return chain.from_iterable(pool.map(every, groups))

    def encode(self, block: np.ndarray) -> Chunk:
        """One whole chunk, an array of any shape, as it is stored."""
        block = np.ascontiguousarray(block)
        if self.name == "none":
            return block.tobytes(), 0
        if self.name == "lzf":
            return _lzf(block, self.create_options())
        values = block.reshape(-1).view(f"<u{block.itemsize}")
        planes = np.empty((block.itemsize, values.size), np.uint8)
        for k, plane in enumerate(planes):
            np.right_shift(values, 8 * k, out=plane, casting="unsafe")
        if self.level:
            return zlib.compress(planes.data, self.level), 0
        return _deflate(planes), 0


def threads() -> ThreadPoolExecutor:
    """For `Codec.begin`: a thread for each core of this process, at most 8."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ThreadPoolExecutor(max(1, min(8, found or 1)), thread_name_prefix="yuzu-worker")


def chunk_starts(shape: Sequence[int], chunk: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """First element of every chunk of an array, in the order they are stored."""
    counts = [-(-size // step) for size, step in zip(shape, chunk, strict=True)]
    for index in np.ndindex(*counts):
        yield tuple(i * step for i, step in zip(index, chunk, strict=True))


def cut(values: np.ndarray, chunk: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The chunks of some rows, in order; those at an edge are filled up with zeros."""
    for start in chunk_starts(values.shape, chunk):
        piece = values[tuple(slice(s, s + c) for s, c in zip(start, chunk, strict=True))]
        if piece.shape != chunk:
            whole = np.zeros(chunk, piece.dtype)
            whole[tuple(slice(0, size) for size in piece.shape)] = piece
            piece = whole
        yield piece


def _deflate(planes: np.ndarray) -> bytes:
    """A zlib stream of planes of bytes, uint8 (itemsize, n), that spends no time on noise."""
    if _is_noise(low := planes[:-1].reshape(-1)):
        checksum = isal_zlib.adler32(planes.data).to_bytes(4, "big")
        return b"".join([*_kept(low, planes[-1]), checksum])
    if planes.shape[1] < _LONG:
        return isal_zlib.compress(planes.data, 1)
    packer = isal_zlib.compressobj(1)
    parts = [p for row in planes[:-1] for p in (packer.compress(row.data), packer.flush(_ANEW))]
    return b"".join([*parts, packer.compress(planes[-1].data), packer.flush()])


def _kept(low: np.ndarray, high: np.ndarray) -> Iterator[bytes | memoryview]:
    """All but the checksum of a zlib stream that keeps the first part as it is."""
    yield b"\x78\x01"
    for at in range(0, len(low), 65535):
        piece = low.data[at : at + 65535]
        yield struct.pack("<BHH", 0, len(piece), 65535 - len(piece))
        yield piece
    yield isal_zlib.compress(high.data, 1, -zlib.MAX_WBITS)


def _is_noise(data: np.ndarray) -> bool:
    """Whether bytes are as good as random, so that deflate would make nothing of them."""
    # Effects are 0 at the letter that is there: that is seen at once.
    if len(data) < _SAMPLE or data[:256].tobytes().count(0) > 5:
        return False
    found = data[:: len(data) // _SAMPLE | 1]
    counts = np.bincount(found, minlength=256)
    # Of random bytes this is n + n²/256, give or take 1 %.
    return int(counts @ counts) < len(found) + len(found) ** 2 / 235


def _lzf(block: np.ndarray, options: dict[str, Any]) -> Chunk:
    """Compress by h5py, in a file in memory: LZF has no other implementation at hand."""
    with _h5_lock, h5py.File("lzf", "w", driver="core", backing_store=False) as file:
        flat = block.reshape(-1)
        dataset = file.create_dataset("x", data=flat, chunks=flat.shape, **options)
        mask, data = dataset.id.read_direct_chunk((0,))
        return bytes(data), int(mask)
