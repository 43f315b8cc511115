"""Everything about a model and a length that no sequence changes, measured and written to a file.

May not: read sequences.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yuzu_cli.alphabet import parse_alphabet
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.sensing.kept import precompute as make_plan
from yuzu_cli.backends.sensing.yuzu import Yuzu
from yuzu_cli.engine.device import DTYPES, computing, resolve_device
from yuzu_cli.engine.limits import working_memory
from yuzu_cli.engine.setup import load_models
from yuzu_cli.errors import ModelError, OutputError, UsageError
from yuzu_cli.files import check_place, disk_errors
from yuzu_cli.plan.store import save_plan

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig


def precompute(
    config: RunConfig,
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write the plan of the yuzu backend for the model and length of a config.

    Parameters
    ----------
    path : path
        Where the plan goes.
    force : bool
        Replace a file that is there.
    progress : callable, optional
        Called with the decoders built and all there may be to build.

    Returns
    -------
    dict
        The facts of the plan, as `yuzu info` shows them.

    Raises
    ------
    UsageError
        No model or no length, or several models.
    ModelError
        The model cannot be captured, or no code of the kind asked for is accurate.
    OutputError
        The plan cannot be written.
    """
    path = Path(path)
    _check(config, path, force)
    alphabet = parse_alphabet(config.model.alphabet)
    device = resolve_device(config.compute.device)
    assert config.input.length is not None
    settings = Settings(
        length=config.input.length,
        device=device,
        dtype=DTYPES[config.compute.precision],
        memory=working_memory(device),
        seed=config.compute.seed,
        matrix=config.sensing.matrix,
        alpha=None if config.sensing.alpha == "auto" else config.sensing.alpha,
    )
    with computing(config.compute.precision, device):
        (model,) = load_models(config, alphabet.size, settings)
        if reason := Yuzu().unsupported(model, settings):
            raise ModelError(model.path, f"the yuzu backend cannot take this model: {reason}")
        plan = make_plan(model, settings, progress)
    with disk_errors(path, ""):
        save_plan(path, plan)
    return plan.facts


def _check(config: RunConfig, path: Path, force: bool) -> None:
    """What can be known before any work."""
    if len(config.model.path) != 1:
        what = "no model" if not config.model.path else "several models"
        raise UsageError("model.path", what, "a plan is of one model: give one -m MODEL")
    if config.input.length is None:
        raise UsageError("input.length", "no length", "give -l LENGTH")
    if path.exists() and os.path.samefile(path, config.model.path[0]):
        raise OutputError(os.fspath(path), "is the model", "choose another name")
    check_place(path, force)
    if not path.parent.is_dir():
        raise OutputError(os.fspath(path), f"there is no folder {path.parent}", "make it first")
