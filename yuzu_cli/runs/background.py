"""A thread that works off what it is handed, in order, while the next is being made."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

#: Bytes of batches that may wait; one more may be in work.
WAITING = 16 << 20

Item = tuple[int, dict[str, Any]]


class _Waiting(queue.Queue["tuple[Item | None, int]"]):
    """Batches with their sizes; full when those that wait hold `maxsize` bytes, not so many."""

    def _init(self, maxsize: int) -> None:
        self._items: deque[tuple[Item | None, int]] = deque()

    def _qsize(self) -> int:
        return sum(1 + size for _, size in self._items)

    def _put(self, item: tuple[Item | None, int]) -> None:
        self._items.append(item)

    def _get(self) -> tuple[Item | None, int]:
        return self._items.popleft()


class Background:
    """Runs until `stop`; after a failure it takes what comes and drops it, so that nobody waits.

    `work` is called for every item, and with None at the end; its second argument says whether more
    is waiting. `failure` is what it raised first.
    """

    def __init__(self, work: Callable[[Item | None, bool], None]) -> None:
        self.failure: BaseException | None = None
        self._work, self._queue = work, _Waiting(WAITING)
        self._thread = threading.Thread(target=self._loop, name="yuzu-writer", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Whether nothing can be handed over any more."""
        return not self._thread.is_alive()

    def put(self, item: Item, size: int) -> None:
        """Hand over an item of `size` bytes; waits while too much is waiting."""
        self._queue.put((item, size))

    def join(self) -> None:
        """Return when all that was handed over is done."""
        self._queue.join()

    def stop(self) -> None:
        """End when all that was handed over is done."""
        if not self.stopped:
            self._queue.put((None, 0))
            self._thread.join()

    def _loop(self) -> None:
        item: Item | None = (0, {})
        while item is not None:
            item, _ = self._queue.get()
            try:
                if self.failure is None:
                    self._work(item, not self._queue.empty())
            except BaseException as error:
                self.failure = error
            finally:
                self._queue.task_done()
