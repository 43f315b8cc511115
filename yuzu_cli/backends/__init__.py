"""The table of backends, imported on use. May not: compute."""

from __future__ import annotations

import importlib
from typing import cast

from yuzu_cli.backends.base import Backend
from yuzu_cli.errors import UsageError

BACKENDS: dict[str, str] = {
    "naive": "yuzu_cli.backends.naive:Naive",
    "windowed": "yuzu_cli.backends.windowed:Windowed",
    "yuzu": "yuzu_cli.backends.sensing.yuzu:Yuzu",
    "taylor": "yuzu_cli.backends.taylor:Taylor",
}
"""Name -> "module:class"."""


def get_backend(name: str) -> Backend:
    """The backend of that name.

    Raises
    ------
    UsageError
        There is none.
    """
    if name not in BACKENDS:
        known = ", ".join(BACKENDS)
        raise UsageError("compute.backend", f"no backend {name!r}", f"one of auto, {known}")
    module, _, attribute = BACKENDS[name].partition(":")
    return cast(Backend, getattr(importlib.import_module(module), attribute)())
