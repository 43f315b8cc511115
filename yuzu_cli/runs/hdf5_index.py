"""HDF5 around chunks that are on disk already: the index of a dataset's chunks, and heaps of texts.

The HDF5 library makes everything that is small (groups, types, attributes), as an image in memory.
What it could only make by writing the data itself, is made here by the file format's specification
(version 0 of the superblock, version 1 of B-trees and object headers; read since HDF5 1.0). So no
data passes through the library, and none of its own writes can meet a full disk.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

UNDEFINED = 0xFFFFFFFFFFFFFFFF
#: One row of a table of chunks, in the order of their places in the dataset.
CHUNK = np.dtype([("address", "<u8"), ("size", "<u4"), ("mask", "<u4")])
#: A text in a dataset: how long, and where it stands in which heap.
TEXT_PLACE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])

_FANOUT = 64
_END_OF_FILE, _CONTINUATION, _LAYOUT = 40, 0x10, 0x08
_LEAST_HEAP = 4096


@dataclass(frozen=True, slots=True)
class ChunkIndex:
    """The B-tree over a dataset's chunks, made from front to back in little memory.

    Attributes
    ----------
    shape, chunk : tuple of int
        Of the dataset.
    itemsize : int
    at : int
        Where in the file it will be written.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    itemsize: int
    at: int

    @property
    def _node(self) -> np.dtype:
        rank = len(self.shape) + 1
        return np.dtype(
            [("size", "<u4"), ("mask", "<u4"), ("at", "<u8", (rank,)), ("child", "<u8")]
        )

    @property
    def _node_bytes(self) -> int:
        return 24 + (_FANOUT + 1) * (self._node.itemsize - 8) + _FANOUT * 8

    @property
    def root(self) -> int:
        """Address of the root: the last node written."""
        counts = [-(-s // c) for s, c in zip(self.shape, self.chunk, strict=True)]
        nodes, level = 0, -(-math.prod(counts) // _FANOUT)
        while level > 1:
            nodes += level
            level = -(-level // _FANOUT)
        return self.at + nodes * self._node_bytes

    def nodes(self, table: Iterable[np.ndarray]) -> Iterator[bytes]:
        """Its bytes, node by node, from the chunks: parts of a table of CHUNK, in order."""
        above: list[np.ndarray] = []
        at = self.at
        for node, first in self._level(self._entries(table), 0, at):
            first["child"] = at
            above.append(first)
            at += len(node)
            yield node
        level = 1
        while len(above) > 1:
            entries, above, begun = np.stack(above), [], at
            for node, first in self._level(iter([entries]), level, begun):
                first["child"] = at
                above.append(first)
                at += len(node)
                yield node
            level += 1

    def _entries(self, table: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        counts = [-(-s // c) for s, c in zip(self.shape, self.chunk, strict=True)]
        done = 0
        for part in table:
            entries = np.zeros(len(part), self._node)
            entries["size"], entries["mask"] = part["size"], part["mask"]
            entries["child"] = part["address"]
            where = np.unravel_index(np.arange(done, done + len(part)), counts)
            for axis, step in enumerate(self.chunk):
                entries["at"][:, axis] = where[axis].astype(np.uint64) * np.uint64(step)
            done += len(part)
            yield entries

    def _level(
        self, parts: Iterator[np.ndarray], level: int, at: int
    ) -> Iterator[tuple[bytes, np.ndarray]]:
        """Each node of a level with its first entry; a node names both of its neighbours."""
        left = UNDEFINED
        held = np.zeros(0, self._node)
        for part in parts:
            held = np.concatenate([held, part])
            while len(held) > _FANOUT:
                right = at + self._node_bytes
                yield self._pack(held[:_FANOUT], held[_FANOUT], level, left, right), held[0].copy()
                left, at, held = at, right, held[_FANOUT:]
        end = np.zeros((), self._node)
        past = [-(-s // c) * c for s, c in zip(self.shape, self.chunk, strict=True)]
        end["at"] = [*past, self.itemsize]
        yield self._pack(held, end, level, left, UNDEFINED), held[0].copy()

    def _pack(
        self, entries: np.ndarray, after: np.ndarray, level: int, left: int, right: int
    ) -> bytes:
        head = struct.pack("<4sBBHQQ", b"TREE", 1, level, len(entries), left, right)
        body = entries.tobytes() + after.tobytes()[:-8]
        return (head + body).ljust(self._node_bytes, b"\0")


def text_heap(texts: Sequence[str], at: int) -> tuple[bytes, np.ndarray]:
    """A heap of texts that is to stand at `at`, and the places of the texts, TEXT_PLACE (n,)."""
    places = np.zeros(len(texts), TEXT_PLACE)
    body: list[bytes] = []
    for i, text in enumerate(texts):
        data = text.encode()
        if data:
            places[i] = len(data), at, len(body) + 1
            head = struct.pack("<HHIQ", len(body) + 1, 0, 0, len(data))
            body.append(head + data.ljust(-(-len(data) // 8) * 8, b"\0"))
    joined = b"".join(body)
    size = max(_LEAST_HEAP, 16 + len(joined) + 16)
    rest = size - 16 - len(joined)
    free = struct.pack("<HHIQ", 0, 0, 0, rest)
    heap = struct.pack("<4sB3xQ", b"GCOL", 1, size) + joined + free
    return heap.ljust(size, b"\0"), places


def index_place(image: bytes | bytearray, dataset: h5py.Dataset) -> int:
    """Where, in the image of a file, the address of a dataset's chunk index stands."""
    address = h5py.h5o.get_info(dataset.id).addr
    for kind, at in _messages(image, address):
        if kind == _LAYOUT:
            version, layout = image[at], image[at + 1]
            if (version, layout) == (3, 2) and image[at + 3 : at + 11] == b"\xff" * 8:
                return at + 3
    raise AssertionError(f"{dataset.name}: no chunk index to fill in; another HDF5 than expected")


def _messages(image: bytes | bytearray, address: int) -> Iterator[tuple[int, int]]:
    version, count, size = struct.unpack_from("<BxHxxxxI", image, address)
    assert version == 1, "another version of object headers than asked for"
    blocks, seen = [(address + 16, size)], 0
    while blocks:
        at, length = blocks.pop(0)
        end = at + length
        while at + 8 <= end and seen < count:
            kind, size = struct.unpack_from("<HH", image, at)
            seen += 1
            yield kind, at + 8
            if kind == _CONTINUATION:
                blocks.append(struct.unpack_from("<QQ", image, at + 8))
            at += 8 + size


def set_address(image: bytearray, place: int, address: int) -> None:
    """Fill in an address."""
    struct.pack_into("<Q", image, place, address)


def set_end(image: bytearray, size: int) -> None:
    """Say in the superblock how large the file is."""
    assert image[:9] == b"\x89HDF\r\n\x1a\n\0", "another version of the superblock than asked for"
    struct.pack_into("<Q", image, _END_OF_FILE, size)
