"""HDF5 around chunks that are on disk already: the index of a dataset's chunks, and heaps of texts.

The HDF5 library makes everything that is small (groups, types, attributes), as an image in memory.
What it could only make by writing the data itself, is made here by the file format's specification
(version 0 of the superblock, version 1 of B-trees and object headers; read since HDF5 1.0). So no
data passes through the library, and none of its own writes can meet a full disk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count

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


def put_index(
    shape: Sequence[int],
    chunk: Sequence[int],
    itemsize: int,
    table: Iterable[np.ndarray],
    put: Callable[[bytes], int],
) -> int:
    """Write the B-tree over a dataset's chunks, from front to back in little memory.

    `table` are its chunks in order, CHUNK (n,), in parts; `put` adds bytes to the end of the file
    and tells where they stand. The address of the root is returned.
    """
    key = [("size", "<u4"), ("mask", "<u4"), ("at", "<u8", (len(shape) + 1,)), ("child", "<u8")]
    kind = np.dtype(key)
    size = 24 + (_FANOUT + 1) * (kind.itemsize - 8) + _FANOUT * 8
    end = np.zeros((), kind)
    end["at"] = [*(-(-s // c) * c for s, c in zip(shape, chunk, strict=True)), itemsize]
    parts = _entries(shape, chunk, table, kind)
    for level in count():
        groups, above = _groups(parts), []
        group, left, at = next(groups, None), UNDEFINED, put(b"")
        while group is not None:
            # A node names both of its neighbours, and the first chunk that comes after it.
            after = next(groups, None)
            right, beyond = (UNDEFINED, end) if after is None else (at + size, after[0])
            head = struct.pack("<4sBBHQQ", b"TREE", 1, level, len(group), left, right)
            body = head + group.tobytes() + beyond.tobytes()[:-8]
            put(body.ljust(size, b"\0"))
            above.append(group[:1].copy())
            above[-1]["child"] = at
            group, left, at = after, at, at + size
        if len(above) == 1:
            break
        parts = iter([np.concatenate(above)])
    return int(above[0]["child"][0])


def _entries(
    shape: Sequence[int], chunk: Sequence[int], table: Iterable[np.ndarray], kind: np.dtype
) -> Iterator[np.ndarray]:
    counts = [-(-s // c) for s, c in zip(shape, chunk, strict=True)]
    done = 0
    for part in table:
        entries = np.zeros(len(part), kind)
        entries["size"], entries["mask"] = part["size"], part["mask"]
        entries["child"] = part["address"]
        where = np.unravel_index(np.arange(done, done + len(part)), counts)
        for axis, step in enumerate(chunk):
            entries["at"][:, axis] = where[axis] * step
        done += len(part)
        yield entries


def _groups(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    for part in parts:
        joined = np.concatenate([*held, part])
        full = len(joined) - len(joined) % _FANOUT
        yield from joined[:full].reshape(-1, _FANOUT)
        held = [joined[full:]]
    if held and len(held[0]):
        yield held[0]


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
    free = struct.pack("<HHIQ", 0, 0, 0, size - 16 - len(joined))
    heap = struct.pack("<4sB3xQ", b"GCOL", 1, size) + joined + free
    return heap.ljust(size, b"\0"), places


def index_place(image: bytearray, dataset: h5py.Dataset) -> int:
    """Where, in the image of a file, the address of a dataset's chunk index stands."""
    address = h5py.h5o.get_info(dataset.id).addr
    for kind, at in _messages(image, address):
        if kind == _LAYOUT:
            version, layout = image[at], image[at + 1]
            if (version, layout) == (3, 2) and image[at + 3 : at + 11] == b"\xff" * 8:
                return at + 3
    raise AssertionError(f"{dataset.name}: no chunk index to fill in; another HDF5 than expected")


def _messages(image: bytearray, address: int) -> Iterator[tuple[int, int]]:
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


def connect(image: bytearray, addresses: Mapping[int, int], size: int) -> None:
    """Fill in addresses, by the places they go to, and the size of the file."""
    assert image[:9] == b"\x89HDF\r\n\x1a\n\0", "another version of the superblock than asked for"
    for place, address in {**addresses, _END_OF_FILE: size}.items():
        struct.pack_into("<Q", image, place, address)
