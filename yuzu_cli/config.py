"""What a run is asked to do: one frozen `RunConfig` from defaults, a YAML file and options.

The keys themselves are in `config_keys`. Every fault is reported at its
dotted path (or at the option it came from), all faults at once. Nothing here opens a model, a
sequence file or an output, and neither torch nor click is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from yuzu_cli import config_text
from yuzu_cli.config_keys import (
    ComputeConfig,
    InputConfig,
    ModelConfig,
    MutateConfig,
    OutputConfig,
    ProcessConfig,
    ScoreConfig,
    Section,
    SensingConfig,
    TaylorConfig,
)
from yuzu_cli.errors import UsageError
from yuzu_cli.yaml12 import read_yaml, write_yaml


class ConfigError(UsageError):
    """Several faults of one configuration; as text, one line each."""

    def __init__(self, errors: list[UsageError]) -> None:
        self.errors = errors
        super().__init__(errors[0].where, errors[0].what, errors[0].hint)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class RunConfig(Section):
    """Everything a run is asked to do. Build it with `load_config`, or directly in a notebook."""

    model: ModelConfig = ModelConfig()
    input: InputConfig = InputConfig()
    mutate: MutateConfig = MutateConfig()
    score: ScoreConfig = ScoreConfig()
    compute: ComputeConfig = ComputeConfig()
    sensing: SensingConfig = SensingConfig()
    taylor: TaylorConfig = TaylorConfig()
    output: OutputConfig = OutputConfig()
    run: ProcessConfig = ProcessConfig()

    def to_yaml(self) -> str:
        """The resolved configuration as YAML that `load_config` reads back to an equal one."""
        return write_yaml(self.model_dump())

    def shard(self) -> tuple[int, int] | None:
        """(index, count) of the shard, 1-based; None for the whole input.

        Raises
        ------
        UsageError
            The shard is still `auto`; the command line resolves that from the environment.
        """
        if self.run.shard == "auto":
            raise UsageError("run.shard", "auto is resolved on the command line", "give I/N")
        return None if self.run.shard is None else config_text.parse_shard(self.run.shard)

    def require(self) -> None:
        """Check that a model and sequences are named.

        Raises
        ------
        UsageError
            One of them is missing.
        """
        if not self.model.path:
            raise UsageError("model.path", "no model", "give -m MODEL or model.path")
        if self.input.fasta is None and self.input.bed is None:
            raise UsageError("input", "no sequences", "give -f FASTA, or -b BED with -g and -l")


#: Section to its keys.
KEYS: dict[str, list[str]] = {
    section: list(field.default.__class__.model_fields)
    for section, field in RunConfig.model_fields.items()
}

#: Key of the file beside a model, `MODEL.json`, to the key of the config it gives.
BESIDE = {
    "length": "input.length",
    "alphabet": "model.alphabet",
    "layout": "model.layout",
    "output": "model.output",
    "target_names": "model.target_names",
}


# --- reading ------------------------------------------------------------------------------------


def _read(path: str) -> dict[str, Any]:
    try:
        tree = read_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(path, "is not UTF-8 text", "a config is a YAML file") from None
    except ValueError as error:
        raise UsageError(path, f"is not the YAML of a config: {error}") from None
    except RecursionError:
        raise UsageError(path, "is nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(where, f"is not the YAML of a config: {what}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UsageError(path, "is not a mapping of sections", "see configs/default.yaml")
    # A section whose keys are all commented out reads as null.
    return {section: {} if keys is None else keys for section, keys in tree.items()}


def _beside(tree: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """What the files beside the models say of keys that are not given: value and place by key."""
    model, found = tree.get("model"), dict[str, tuple[Any, str]]()
    paths = model.get("path") if isinstance(model, dict) else None
    for path in [paths] if isinstance(paths, str) else paths or []:
        file = Path(f"{path}.json")
        if not isinstance(path, str) or not file.is_file():
            continue
        for name, value in _read(str(file)).items():
            where = f"{file}: {name}"
            if name not in BESIDE:
                raise UsageError(where, "unknown key", f"known here: {', '.join(BESIDE)}")
            dotted = BESIDE[name]
            section, _, key = dotted.partition(".")
            given = {*(tree.get(section) or {}), *(tree.get("score") or {})}
            if key in given or (name == "target_names" and {"output", "reduce"} & given):
                continue  # names are those of the targets without these
            if dotted in found and found[dotted][0] != value:
                what = f"{value!r}, and {found[dotted][1]} says {found[dotted][0]!r}"
                raise UsageError(where, what, f"models of one run agree; or give {dotted}")
            found[dotted] = value, where
    return found


def load_config(
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    options: Mapping[str, str] | None = None,
    beside: bool = True,
) -> RunConfig:
    """Defaults, then what stands beside the model, then the file, then the overrides.

    Beside `model.pt` that is `model.pt.json`, as `yuzu init-model` writes it (`BESIDE`).

    Parameters
    ----------
    path : str or Path, optional
        A YAML file.
    overrides : mapping, optional
        Dotted key to value, e.g. ``{"compute.backend": "naive"}``. None is a value: null.
    options : mapping, optional
        Dotted key to the name of the option that set it, for messages about overrides.
    beside : bool
        Read what stands beside the model.

    Raises
    ------
    UsageError
        The file cannot be read; or `ConfigError`, one line per unknown key and wrong value.
    """
    overrides, options = overrides or {}, dict(options or {})
    tree = _read(str(path)) if path is not None else {}
    for dotted, value in overrides.items():
        section, _, key = dotted.partition(".")
        keys = tree.setdefault(section, {})
        if isinstance(keys, dict):
            keys[key] = value
    found_beside = _beside(tree) if beside else {}
    for dotted, (value, where) in found_beside.items():
        section, _, key = dotted.partition(".")
        tree.setdefault(section, {})[key] = value
        options[dotted] = where
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        found = []
        for detail in error.errors():
            dotted = ".".join(config_text.location(detail)[:2])
            option = options.get(dotted) if dotted in {*overrides, *found_beside} else None
            found.append(config_text.translate(detail, option, KEYS))
    raise ConfigError(found)
