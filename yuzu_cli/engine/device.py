"""Where and how exactly the model computes: device, precision, and the global flags they need.

Flags are set for the time of a run and put back. May not: load models.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import platform
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from yuzu_cli.errors import UsageError

logger = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>

DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def resolve_device(name: str, environ: Mapping[str, str] = os.environ) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` to a device that is there.

    Of several GPUs, `cuda` and `auto` take the one that torchrun (LOCAL_RANK) or srun
    (SLURM_LOCALID) means for this process.

    Raises
    ------
    UsageError
        There is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return torch.device("cpu")
    if not count:
        hint = "use --device cpu, or a torch built for CUDA and a driver"
        raise UsageError("compute.device", f"{name}: no GPU is visible to torch", hint)
    if name in ("auto", "cuda"):
        local = environ.get("LOCAL_RANK") or environ.get("SLURM_LOCALID") or "0"
        return torch.device("cuda", int(local) % count if local.isdigit() else 0)
    device = torch.device(name)
    if device.index is not None and device.index >= count:
        raise UsageError("compute.device", f"no {name}", f"there are {count}, counted from 0")
    return device


def describe_device(device: torch.device) -> str:
    """`cpu`, or `cuda:0 (name of the card)`."""
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"


@contextlib.contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """The same numbers every time, in the precision asked for, while within it.

    TorchScript's optimiser is off: it recompiles after the first calls, so that the first batch of
    a resumed run could differ in its last bits from that of an uninterrupted one.
    """
    if device.type == "cpu":
        keep_pages()
    if precision == "tf32" and device.type != "cuda":
        logger.warning("tf32 is a format of GPUs; on %s this is float32", device.type)
    flags: list[tuple[Any, str, Any]] = [
        (torch.backends.cudnn, "deterministic", True),
        (torch.backends.cudnn, "benchmark", False),
        # Setting these by their newer names leaves torch unable to read them by these, as it does.
        (torch.backends.cudnn, "allow_tf32", precision == "tf32"),
        (torch.backends.cuda.matmul, "allow_tf32", precision == "tf32"),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in flags]
    with torch.jit.optimized_execution(False):
        try:
            for owner, name, value in flags:
                setattr(owner, name, value)
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)


@functools.cache
def keep_pages() -> bool:
    """Let the C library keep freed memory, for the rest of the process; whether it does.

    By default it hands large blocks back to the system, and every layer of every pass then pays for
    fresh pages: the same passes took 2.4 times as long above 32 MB a tensor, and 5 % below.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30) and libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    )
