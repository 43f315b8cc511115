"""How large scores are on disk and what packing them costs.

`python -m tests.programs.volume OUT.h5`.

Each way of `output.compression` packs the chunks of every score of a finished output, in float32
and float16; sizes are shares of the float32 values, speed is per second of CPU time.
"""

from __future__ import annotations

import sys
import time

import h5py
import numpy as np

from yuzu_cli.runs.compression import Codec

WAYS = ("gzip", "gzip:2", "gzip:4", "gzip:9", "lzf", "none")
#: MB that are packed by each way.
SAMPLE = 16.0
#: How often; the best counts.
TIMES = 3


def read(data: h5py.Dataset) -> list[np.ndarray]:
    """Chunks of a score, about a sample of them."""
    blocks: list[np.ndarray] = []
    for place in data.iter_chunks():
        blocks.append(data[place].astype(np.float32))
        if sum(block.nbytes for block in blocks) > SAMPLE * 1e6:
            break
    return blocks


def show(name: str, blocks: list[np.ndarray]) -> None:
    """The table of one score."""
    whole = sum(block.nbytes for block in blocks)
    halves = [block.astype(np.float16) for block in blocks]
    pairs = zip(blocks, halves, strict=True)
    error = max(float(np.nanmax(np.abs(a - b.astype(np.float32)))) for a, b in pairs)
    largest = max(float(np.nanmax(np.abs(block))) for block in blocks)
    print(
        f"{name}: {whole / 1e6:.1f} MB packed in chunks of {blocks[0].nbytes / 1e3:.0f} kB; "
        f"float16 is off by at most {error / largest:.1e} of the largest score"
    )
    for way in WAYS:
        codec, cells = Codec.parse(way), [f"{way:7}"]
        for kind in (blocks, halves):
            seconds = []
            for _ in range(TIMES):
                began = time.thread_time()
                size = sum(len(codec.encode(block)[0]) for block in kind)
                seconds.append(time.thread_time() - began)
            speed = sum(block.nbytes for block in kind) / 1e6 / min(seconds)
            cells.append(f"{kind[0].dtype}: {size / whole:.3f} at {speed:4.0f} MB/s")
        print("   ".join(cells))


def main(paths: list[str]) -> None:
    """A table for each score of each file."""
    for path in paths:
        with h5py.File(path) as file:
            for name, data in file["scores"].items():
                if data.dtype.kind == "f":
                    show(f"{path} {name}", read(data))


if __name__ == "__main__":
    main(sys.argv[1:])
