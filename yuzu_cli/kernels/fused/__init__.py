"""`yuzu_cli.kernels.between` as one kernel of a GPU, where there is a compiler.

`compute_on(device)` gives the function to call: Triton's on a GPU, the definition elsewhere. Where
a kernel cannot be compiled that is said in one line, and the definition goes on. Triton is imported
when it is used and never else; under ``TRITON_INTERPRET=1`` its kernels run on CPUs, for tests.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from yuzu_cli.kernels import between

logger = logging.getLogger(__name__)


@cache
def compute_on(device: torch.device) -> Callable[..., None]:
    """What computes programs on this device, with the signature of `between.compute`."""
    return Guarded() if can_fuse(device) else between.compute


def can_fuse(device: torch.device) -> bool:
    """Whether there is a compiler for the device, or the interpreter is asked for."""
    if importlib.util.find_spec("triton") is None:
        return False
    return device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


class Guarded:
    """The fused kernels, and the definition where they cannot be compiled."""

    def __init__(self) -> None:
        self.broken = False

    def __call__(self, out: Tensor, *reads: Tensor, **options: Any) -> None:
        if not self.broken and out.numel():
            try:
                importlib.import_module(f"{__name__}.writing").compute(out, *reads, **options)
                return
            except torch.OutOfMemoryError:
                raise
            except compiling_errors() as error:
                self.broken = True
                reason = (str(error).strip().splitlines() or [""])[-1][:200]
                logger.warning(
                    "fused kernels cannot be compiled here (%s: %s); torch's own are used",
                    *(type(error).__name__, reason),
                )
        between.compute(out, *reads, **options)


def compiling_errors() -> tuple[type[Exception], ...]:
    """What a compiler that is broken or lacking raises."""
    triton = importlib.import_module("triton")
    # A RuntimeError is how Triton says that there is no C compiler for its launchers.
    return (triton.TritonError, RuntimeError, OSError, ImportError)
