"""Kernels by their names on the tape; a name is one kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
KERNELS: dict[str, Callable[..., Any]] = {}


def kernel(name: str) -> Callable[[Function], Function]:
    """Register a kernel under a name."""

    def register(function: Function) -> Function:
        if name in KERNELS:
            raise ValueError(f"there is a kernel {name} already")
        KERNELS[name] = function
        return function

    return register
