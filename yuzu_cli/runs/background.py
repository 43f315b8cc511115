"""A thread that works off what it is handed, in order, while the next is being made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

#: Bytes of batches that may wait; one more may be in work.
WAITING = 16 << 20

Item = tuple[int, dict[str, Any]]


class Background:
    """Runs until `stop`; after a failure it takes what comes and drops it, so that nobody waits.

    `work` is called for every item, and with None at the end; its second argument says whether more
    is waiting. `failure` is what it raised first. To be used from one thread.
    """

    def __init__(self, work: Callable[[Item | None, bool], None]) -> None:
        self.failure: BaseException | None = None
        #: Whether nothing can be handed over any more.
        self.stopped = False
        self._work, self._pool = work, ThreadPoolExecutor(1, thread_name_prefix="yuzu-writer")
        self._handed: deque[tuple[Future[None], int]] = deque()
        self._put = self._begun = 0

    def put(self, item: Item | None, size: int) -> None:
        """Hand over an item of `size` bytes; waits while too much is waiting."""
        handed = self._handed
        while handed and (
            handed[0][0].done() or sum(each for _, each in handed) - handed[0][1] >= WAITING
        ):
            wait([handed[0][0]])
            handed.popleft()
        self._put += 1
        handed.append((self._pool.submit(self._do, item), size))

    def _do(self, item: Item | None) -> None:
        self._begun += 1
        try:
            if self.failure is None:
                self._work(item, self._put > self._begun)
        except BaseException as error:
            self.failure = error

    def join(self) -> None:
        """Return when all that was handed over is done."""
        wait([future for future, _ in self._handed])

    def stop(self) -> None:
        """End when all that was handed over is done."""
        if not self.stopped:
            self.stopped = True
            self.put(None, 0)
            self._pool.shutdown()
