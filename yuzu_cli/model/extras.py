"""Further inputs of a model: which there are, and the forms a constant can take in a batch.

May not: call models.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yuzu_cli.errors import ModelError, UsageError
from yuzu_cli.model.files import Given, LoadedFile, sha256_of, short
from yuzu_cli.model.probe import Probe
from yuzu_cli.model.wrap import Extra


def match_inputs(
    file: LoadedFile, where: str, extra_inputs: Mapping[str | int, Any]
) -> tuple[int, dict[str | int, int]]:
    """Which input takes the sequences, and the slot of each extra input."""
    names = [name for name, _, _ in file.inputs]
    slots: dict[str | int, int] = {}
    for key in extra_inputs:
        number = int(key) if str(key).isdigit() else None
        if key not in names and (number is None or number >= len(names)):
            what = f"the model has no input {key!r}"
            raise UsageError("model.extra_inputs", what, "it has " + ", ".join(names))
        slots[key] = names.index(str(key)) if key in names else int(key)
    free = [i for i in range(len(names)) if i not in slots.values()]
    if not free:
        raise UsageError("model.extra_inputs", "leaves no input for the sequences")
    needed = [names[i] for i in free[1:] if not file.inputs[i][2]]
    if needed:
        what = f"wants further inputs: {', '.join(needed)}"
        raise ModelError(where, what, "give each in model.extra_inputs")
    gap = [i for i in range(max([free[0], *slots.values()])) if i not in (free[0], *slots.values())]
    if gap:
        what = f"input {names[gap[0]]} comes before another that is given"
        raise UsageError("model.extra_inputs", what, "give it too")
    return free[0], slots


def sha256_with(path: str | os.PathLike[str] | Given, extra_inputs: Mapping[str | int, Any]) -> str:
    """Hash of a model's file; where inputs come from files, of its hash and of theirs by name."""
    files = {str(k): v for k, v in extra_inputs.items() if isinstance(v, (str, Path))}
    own = sha256_of(path)
    if not files:
        return own
    lines = [own, *(f"{key} {sha256_of(file)}" for key, file in sorted(files.items()))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def forms(value: Any, slot: int, file: LoadedFile, probe: Probe) -> list[Extra]:
    """The ways one extra input may be meant, the likeliest first."""
    if isinstance(value, (str, Path)):
        try:
            value = np.load(value, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UsageError("model.extra_inputs", f"{value}: {short(error)}") from None
    if not file.inputs[slot][1] and isinstance(value, (bool, int, float)):
        return [Extra(slot, value, expand=False)]
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        what = f"{value!r} is not a number or an array"
        raise UsageError("model.extra_inputs", what, "give a number, a list or a .npy") from None
    if tensor.is_floating_point():
        tensor = tensor.to(probe.dtype)
    tensor = tensor.to(probe.device)
    found = []
    if tensor.dim() and tensor.shape[0] == 1:
        found.append(Extra(slot, tensor, expand=True))
    found.append(Extra(slot, tensor.unsqueeze(0), expand=True))
    if tensor.dim() == 0:
        found.append(Extra(slot, tensor.reshape(1, 1), expand=True))
    found.append(Extra(slot, tensor, expand=False))
    return found
