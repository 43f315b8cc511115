"""The calls of `yuzu_cli.kernels.between`, each as one kernel of a GPU where there is a compiler.

`between(device)` gives the functions to call: Triton's on a GPU, torch's own elsewhere. Where a
kernel cannot be compiled that is said in one line, and torch's own go on. Triton is imported when
it is used and never else; under ``TRITON_INTERPRET=1`` its kernels run on CPUs, for tests.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from yuzu_cli.kernels import between as plain

logger = logging.getLogger(__name__)

MOST_LETTERS = 64
"""Letters at a position, one aside, that a program takes together."""


@dataclass(frozen=True, slots=True)
class Between:
    """The functions to call on a device, with the signatures of `yuzu_cli.kernels.between`.

    Attributes
    ----------
    pool, dilated : callable
    fused : bool
        Whether they are kernels of their own.
    """

    pool: Callable[..., None]
    dilated: Callable[..., None]
    fused: bool


@cache
def between(device: torch.device) -> Between:
    """What lies between two products, on this device."""
    if not can_fuse(device):
        return Between(plain.pool, plain.dilated, fused=False)
    return Between(Guarded("pool", "pooling"), Guarded("dilated", "dilation"), fused=True)


def can_fuse(device: torch.device) -> bool:
    """Whether there is a compiler for the device, or the interpreter is asked for."""
    if importlib.util.find_spec("triton") is None:
        return False
    return device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


class Guarded:
    """A fused function, and the plain one for what it cannot do.

    Parameters
    ----------
    name : str
        Of the function, in both modules.
    module : str
        Of this package, with the fused one.
    """

    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, f"{__name__}.{module}"
        self.plain: Callable[..., None] = getattr(plain, name)
        self.broken = False

    def __call__(self, out: Tensor, rows: Tensor, *rest: Any, **options: Any) -> None:
        if self.broken or not suited(out, rows, *rest, *options.values()):
            self.plain(out, rows, *rest, **options)
            return
        try:
            fused = getattr(importlib.import_module(self.module), self.name)
            fused(out, rows, *rest, **options)
            return
        except torch.OutOfMemoryError:
            raise
        except compiling_errors() as error:
            self.broken = True
            reason = (str(error).strip().splitlines() or [""])[-1][:200]
            logger.warning(
                "the fused kernel %s cannot be compiled here (%s: %s); torch's own are used",
                *(self.name, type(error).__name__, reason),
            )
        self.plain(out, rows, *rest, **options)


def suited(out: Tensor, *rest: Any) -> bool:
    """Whether the kernels take these: float32, contiguous, not too many letters."""
    tensors = [out, *(x for x in rest if isinstance(x, Tensor))]
    values = [x for x in tensors if x.is_floating_point()]
    return (
        all(x.dtype == torch.float32 for x in values)
        and all(x.is_contiguous() for x in tensors)
        and out.shape[2] <= MOST_LETTERS
        and out.numel() > 0
    )


def compiling_errors() -> tuple[type[Exception], ...]:
    """What a compiler that is broken or lacking raises."""
    triton = importlib.import_module("triton")
    # A RuntimeError is how Triton says that there is no C compiler for its launchers.
    return (triton.TritonError, RuntimeError, OSError, ImportError)
