"""The most memory that was taken: by a program of its own, by the tensors of a piece of code."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

PRINT_PEAK = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
"""Ends a program with its peak in KiB. Not ru_maxrss: a new program inherits that of the one that
started it, here pytest's, which hides what is looked for."""


class Living(TorchDispatchMode):
    """Bytes of the tensors that are made within it: those that live, and the most that did.

    What an operator takes and gives back on its way is not seen, nor are packed weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._holders: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in pytree.tree_leaves(out):
            if isinstance(x, torch.Tensor) and not x.is_mkldnn and not hasattr(x, "_is_counted"):
                setattr(x, "_is_counted", True)  # noqa: B010 - tensors declare no such attribute
                self._count(x)
        return out

    def _count(self, x: torch.Tensor) -> None:
        storage = x.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not self._holders[key]:
            self.live += size
            self.peak = max(self.peak, self.live)
        self._holders[key] += 1
        weakref.finalize(x, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self.live -= size
