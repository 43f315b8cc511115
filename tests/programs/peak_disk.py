"""Writes a large result in segments, packs it, and tells the most disk that was in use meanwhile.

``python -m tests.programs.peak_disk FOLDER --scores EXAMPLE.h5 --gb 20 --stops 3`` leaves FOLDER
empty. While packing, the run is stopped some times and gone on with. The scores are those of a
finished output, over and over; the size is theirs before they are packed.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from pathlib import Path

import h5py
import numpy as np

from tests.support.runs import make_info, make_rows
from yuzu_cli.files import size_text
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs import segments
from yuzu_cli.runs.writer import OutputRun

BATCH = 64


class Watch:
    """The most bytes in use in a folder, looked at ten times a second."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.peak, self._over = folder, 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.peak = max(self.peak, used(self.folder))

    def stop(self) -> int:
        """End it; the most there was."""
        self._over.set()
        self._thread.join()
        return self.peak


def used(folder: Path) -> int:
    """Bytes on disk."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def main() -> None:
    """Write, pack with stops, read some rows, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scores", required=True)
    parser.add_argument("--gb", type=float, default=20)
    parser.add_argument("--stops", type=int, default=3)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(options.scores) as file:
        scores = np.ascontiguousarray(file["scores/delta"][:80].reshape(10, 32, 4, -1))
    info = make_info(
        length=500,
        mutate_start=0,
        mutate_end=500,
        n_targets=32,
        batch_size=BATCH,
        n_records=int(options.gb * 1e9 / scores[0].nbytes),
    )
    path = options.folder / "out.h5"
    # As if every segment had to be copied: none grows beyond its size.
    segments.FIRST = segments.SEGMENT_BYTES
    rows = make_rows(info, 0, BATCH, drop=BATCH + 1)
    began = time.perf_counter()
    with OutputRun.open(path, info, pack="yes") as run:
        for batch, start, stop in run.pending():
            block = {name: values[: stop - start] for name, values in rows.items()}
            block["regions/input_index"] = np.arange(start, stop)
            block["scores/delta"] = scores[np.arange(start, stop) % 10]
            run.write(batch, block)
    wrote = time.perf_counter() - began
    before, count = used(options.folder), len(list(Path(f"{path}.part").glob("*.h5")))
    print(f"{info.n_records} regions, {size_text(options.gb * 1e9)} in {wrote:.0f} s:", end=" ")
    print(f"{size_text(before)} in {count} segments", flush=True)
    watch, began = Watch(options.folder), time.perf_counter()
    for stops in range(options.stops, -1, -1):
        if path.exists():
            break
        after = max(4, 3 * count // (options.stops + 1)) if stops else 1 << 30
        asked = map(after.__le__, range(1 << 30))
        with OutputRun.open(path, info, pack="yes") as run:
            assert not list(run.pending())
            run.finish(asked.__next__)
    packed, peak = time.perf_counter() - began, watch.stop()
    after = path.stat().st_size
    print(f"packed in {packed:.0f} s with {options.stops} stops: {size_text(after)};", end=" ")
    print(f"the most in use was {size_text(peak)}, {size_text(max(0, peak - after))} more")
    with open_result(path) as result:
        assert result.n_regions == info.n_records
        for row in range(0, info.n_records, max(1, info.n_records // 50)):
            assert result.scores("delta", row).tobytes() == scores[row % 10].tobytes()
    shutil.rmtree(options.folder)


if __name__ == "__main__":
    main()
