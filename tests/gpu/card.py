"""The card that is measured, and how a program ends where there is none."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

NO_CARD = 77
"""Exit status where torch sees no GPU: nothing was checked, which is neither good nor bad."""


def need_card(device: str) -> None:
    """End the program where `device` is a GPU that is not there.

    Raises
    ------
    SystemExit
        With status `NO_CARD`.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPUs"
        print(f"no GPU is visible to torch {torch.__version__}, {built}: nothing was checked")
        raise SystemExit(NO_CARD)


def facts(device: str, commit: str | None) -> dict[str, Any]:
    """What a figure must be read with: the card, torch, the commit, the day."""
    found: dict[str, Any] = {
        "device": device,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit or _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(device)
        found |= {"card": card.name, "card_bytes": card.total_memory, "cuda": torch.version.cuda}
    return found


def _commit() -> str:
    here = Path(__file__).parent
    asked = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def write(path: str | None, found: dict[str, Any]) -> None:
    """The results as JSON; written again after every part, so that a stop loses little."""
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(found, indent=1) + "\n")


def seconds_since(begin: float) -> float:
    return round(time.perf_counter() - begin, 2)


def rehearsal(device: str) -> bool:
    """Whether the programs only show that they run: on a CPU."""
    if device == "cpu":
        print("a rehearsal on the CPU: says nothing of any GPU", file=sys.stderr, flush=True)
    return device == "cpu"
