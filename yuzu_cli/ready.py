"""What can be known to go wrong before torch is loaded: files that are missing or in the way.

Loading torch takes a second; a mistyped path should not. May not: import torch, read what is in a
model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from yuzu_cli.errors import InputError, ModelError, UsageError

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig

MODEL_HINT = "give a TorchScript .pt or an exported .pt2"


def input_files(config: RunConfig) -> list[str]:
    """Every file that the run reads, and so must never replace."""
    source = config.input
    paths = [*config.model.path, source.fasta, source.bed, source.genome]
    paths += [value for value in config.model.extra_inputs.values() if isinstance(value, str)]
    names = config.model.target_names
    paths.append(names if isinstance(names, str) else None)
    return [path for path in paths if path]


def may_be_done(config: RunConfig, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a finished output of the same settings is success rather than a mistake.

    So it is for shards, whose array is submitted again as a whole, and for jobs that SLURM has
    started again: then an earlier start can have finished.
    """
    return config.run.shard is not None or environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def check_output(config: RunConfig) -> None:
    """Refuse an output that could not be written, before anything is loaded.

    Raises
    ------
    OutputError
        The folder is missing or not to be written to, or the path is taken.
    """
    from yuzu_cli.runs.target import preflight

    process = config.run
    accept = config.to_yaml() if process.resume and may_be_done(config) else None
    preflight(config.output.path, force=process.force, inputs=input_files(config), accept=accept)


def check_inputs(config: RunConfig) -> None:
    """Refuse a run that names a file which is not there.

    Raises
    ------
    YuzuError
        Of the kind that reading the file would raise, with the same words.
    """
    for path in config.model.path:
        check_model(path)
    source = config.input
    for named in (source.fasta, source.bed, source.genome):
        if named not in (None, "-") and not os.path.exists(str(named)):
            raise InputError(str(named), "no such file")
    for value in config.model.extra_inputs.values():
        if isinstance(value, str) and not os.path.exists(value):
            raise UsageError("model.extra_inputs", f"{value}: No such file or directory")
    names = config.model.target_names
    if isinstance(names, str) and not os.path.exists(names):
        raise UsageError("model.target_names", f"{names}: No such file or directory")


def check_model(path: str) -> None:
    """Refuse a model that is no file.

    Raises
    ------
    ModelError
        There is nothing at the path, or a folder.
    """
    if not os.path.exists(path):
        raise ModelError(path, "no such file", MODEL_HINT)
    if os.path.isdir(path):
        raise ModelError(path, "is not a file", MODEL_HINT)
