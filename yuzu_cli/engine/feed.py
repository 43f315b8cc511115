"""Reads windows ahead of the computation, in a thread, a few batches at a time.

May not: touch torch. What goes wrong while reading is raised where the batch is taken.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from yuzu_cli.inputs.stream import Window, WindowStream

AHEAD = 2
"""Batches read before they are asked for; more would only hold memory."""

Batch = tuple[int, "list[Window]"]


class Feed:
    """Iterate over it for (batch number, windows); a context manager that ends the thread.

    Parameters
    ----------
    stream : WindowStream
        Used by this thread alone from here on.
    batches : iterable of (batch, first record, one past the last)
    """

    def __init__(self, stream: WindowStream, batches: Iterable[tuple[int, int, int]]) -> None:
        self._stream, self._batches = stream, batches
        self._queue: queue.Queue[Batch | BaseException | None] = queue.Queue(AHEAD)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="yuzu-reader", daemon=True)

    def _read(self) -> None:
        try:
            for batch, start, stop in self._batches:
                windows = list(self._stream.iterate(start, stop))
                if not self._put((batch, windows)):
                    return
            self._put(None)
        except BaseException as error:  # handed to the thread that computes
            self._put(error)

    def _put(self, item: Batch | BaseException | None) -> bool:
        while not self._over.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __iter__(self) -> Iterator[Batch]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()


def region_rows(windows: Sequence[Window], length: int, flank: int) -> dict[str, Any]:
    """What the output states of windows themselves, by dataset path."""
    regions = [window.region for window in windows]
    codes = np.stack([window.codes[flank : flank + length] for window in windows])
    return {
        "regions/chrom": [region.chrom for region in regions],
        "regions/name": [region.name for region in regions],
        "regions/start": np.array([region.start for region in regions], np.int64),
        "regions/end": np.array([region.end for region in regions], np.int64),
        "regions/strand": np.array([region.strand for region in regions], "S1"),
        "regions/input_index": np.array([region.input_index for region in regions], np.int64),
        "regions/status": np.array([window.status for window in windows], np.uint8),
        "sequences": codes,
    }
