"""Kernels by their names on the tape; a name is one kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])
KERNELS: dict[str, Callable[..., Any]] = {}
DOUBT: ContextVar[torch.Tensor | None] = ContextVar("DOUBT", default=None)
"""Where the host is not to look at numbers, for which it would wait for a GPU: a flag, bool (1,),
on the device. A kernel that would have to look raises it, which is seen when the scores come.
"""


def kernel(name: str) -> Callable[[Function], Function]:
    """Register a kernel under a name."""

    def register(function: Function) -> Function:
        if name in KERNELS:
            raise ValueError(f"there is a kernel {name} already")
        KERNELS[name] = function
        return function

    return register
