"""Memory that the C library keeps though nothing uses it any more, given back to the system.

Tensors are aligned blocks, and glibc (before 2.38 at least) seldom puts one into the hole that
another has left: a heap grows by what was freed. It is looked at after every block of mutants, and
trimmed when it has grown; that takes milliseconds.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

GROWTH = 96 << 20
"""Bytes by which the process may grow before its heap is trimmed."""


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say as Linux does."""
    with suppress(OSError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


class Heap:
    """The heap of this process, from a moment on when it is as small as it can be."""

    def __init__(self) -> None:
        self.give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._least = 0
        self.trim()

    def trim(self) -> None:
        """Give back what is free, if the process has grown."""
        if self.give_back is not None and resident() > self._least + GROWTH:
            self.give_back(0)
            self._least = resident()
