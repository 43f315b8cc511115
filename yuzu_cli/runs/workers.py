"""Some threads that work ahead in order, with a bounded number of results waiting."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

#: Arrays are handed over in groups of this size: a task of its own for each would cost more.
GROUP = 1 << 20

_T = TypeVar("_T")
_R = TypeVar("_R")


def cores() -> int:
    """How many this process may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(8, found or 1))


class Workers:
    """Threads for compressing, reading and checking, none of which holds Python's lock for long."""

    def __init__(self, count: int | None = None) -> None:
        count = count or cores()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="yuzu-worker")
        self._depth = count + 2

    def ahead(self, function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[tuple[_T, _R]]:
        """Each item with its outcome, in order; only a few are under way or waiting."""
        waiting: deque[tuple[_T, Any]] = deque()
        for item in items:
            waiting.append((item, self._pool.submit(function, item)))
            if len(waiting) >= self._depth:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()

    def map(
        self, function: Callable[[np.ndarray], _R], blocks: Iterable[np.ndarray]
    ) -> Iterator[_R]:
        """The outcome for each array, in order."""

        def every(group: list[np.ndarray]) -> list[_R]:
            return [function(block) for block in group]

        for _, results in self.ahead(every, _groups(blocks)):
            yield from results

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _groups(blocks: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    group: list[np.ndarray] = []
    size = 0
    for block in blocks:
        group.append(block)
        size += block.nbytes
        if size >= GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group
