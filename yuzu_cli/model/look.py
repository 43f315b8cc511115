"""A first look at a model of which nothing is known but its file: lengths, axes, outputs.

May not: ask anybody, or write.
"""

from __future__ import annotations

import torch

from yuzu_cli.errors import ModelError, UsageError
from yuzu_cli.model.calls import lengths_taken
from yuzu_cli.model.layouts import LAYOUTS
from yuzu_cli.model.load import load_model
from yuzu_cli.model.probe import Probe
from yuzu_cli.model.wrap import Model

_ABOUT = 1003
"""Lengths are tried from here outwards; itself it is no length that a model would have."""


def look(path: str, length: int | None, size: int, layout: str, output: int | str) -> Model:
    """The model, at the length that is given or at the only one it takes.

    Raises
    ------
    ModelError
        It cannot be used, or not at that length.
    UsageError
        No length is given, and it takes several or none was found; the message names them.
    """
    if length is None:
        probe = Probe(path, size, _ABOUT, torch.device("cpu"), torch.float32)
        found = lengths_taken(path, probe, list(LAYOUTS) if layout == "auto" else [layout], output)
        if not found:
            raise ModelError(path, "no length was found that it takes", "give --length")
        if len(found) > 1:
            *most, last = map(str, found)
            what = f"{path} takes several, such as {', '.join(most)} and {last}"
            raise UsageError("--length", what, "give the one it was trained for")
        length = found[0]
    return load_model(path, length=length, alphabet_size=size, layout=layout, output=output)
