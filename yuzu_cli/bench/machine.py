"""What the numbers were measured on: processor, device, versions, rate of matrix products.

May not: time methods.
"""

from __future__ import annotations

import datetime
import os
import platform
import sys
from importlib import metadata
from typing import Any

import numpy as np
import torch

import yuzu_cli
from yuzu_cli.bench.clock import said_by, timed

PACKAGES = ("yuzu-ism", "tangermeme", "captum", "fastism")


def describe(devices: tuple[torch.device, ...] = ()) -> dict[str, Any]:
    """The machine and the software, as plain values for JSON."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else (float("nan"),) * 3
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "processors": len(affinity(0)) if affinity else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "load_average_at_start": round(load[0], 2),
        "devices": {str(d): _device(d) for d in devices},
        "yuzu": yuzu_cli.__version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "peers": {name: version for name in PACKAGES if (version := version_of(name))},
    }


def version_of(package: str) -> str | None:
    """Installed version of a distribution; None when it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    named = said_by("/proc/cpuinfo", "model name")
    return named or platform.processor() or platform.machine()


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def matrix_rate(device: torch.device, dtype: torch.dtype, *, tries: int = 5) -> float:
    """Multiply-adds a second of large square matrix products, the best of some tries.

    It is the bound that useful work is held against, so flags (TF32, threads) must be those of the
    run.
    """
    size = 8192 if device.type == "cuda" else 1024
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(size, size, generator=draw).to(device, dtype)
    out = torch.empty_like(a)
    torch.mm(a, a, out=out)
    seconds = min(timed(lambda: torch.mm(a, a, out=out), device).wall for _ in range(tries))
    return float(size) ** 3 / seconds
