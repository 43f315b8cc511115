"""What a run is asked to do: one frozen `RunConfig` from defaults, a YAML file and options.

The only place where settings are named, typed and given a default. Every fault is reported at its
dotted path (or at the option it came from), all faults at once. Nothing here opens a model, a
sequence file or an output, and neither torch nor click is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from yuzu_cli import config_text
from yuzu_cli.errors import UsageError
from yuzu_cli.yaml12 import read_yaml, write_yaml


class ConfigError(UsageError):
    """Several faults of one configuration; as text, one line each."""

    def __init__(self, errors: list[UsageError]) -> None:
        self.errors = errors
        super().__init__(errors[0].where, errors[0].what, errors[0].hint)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


# --- the sections -------------------------------------------------------------------------------


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _fault(key: str, what: str) -> PydanticCustomError:
    return PydanticCustomError("at", "{what}", {"what": what, "at": key})


class ModelConfig(_Section):
    """Which model, and how to call it."""

    path: Annotated[list[str], BeforeValidator(config_text.paths)] = []
    layout: Literal["auto", "NCL", "NLC", "NCL1", "NC1L", "N1LC", "N1CL"] = "auto"
    alphabet: str = Field(default="ACGT", min_length=2)
    output: Annotated[int | str, BeforeValidator(config_text.model_output)] = 0
    extra_inputs: Annotated[dict[int | str, Any], BeforeValidator(config_text.extra_inputs)] = {}
    target_names: Annotated[str | list[str], BeforeValidator(config_text.names)] = []


class InputConfig(_Section):
    """Which sequences, and what to do with the awkward ones."""

    length: int | None = Field(default=None, ge=1)
    center: Literal["midpoint", "summit"] = "midpoint"
    edge: Literal["error", "pad", "drop"] = "error"
    wrong_length: Literal["error", "crop", "pad", "drop"] = "error"
    unknown: Literal["zero", "uniform", "drop", "error"] = "zero"
    fasta: str | None = None
    bed: str | None = None
    genome: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> InputConfig:
        if self.fasta is not None and self.bed is not None:
            raise _fault("fasta", "both a FASTA and a BED are given; give one of them")
        if self.fasta is not None and self.genome is not None:
            raise _fault("genome", "a genome is read only with a BED; leave it out, or give a BED")
        if self.bed is not None and self.genome is None:
            raise _fault("genome", "a BED needs the genome it refers to; give -g GENOME")
        if self.bed is not None and self.length is None:
            raise _fault("length", "a BED needs the window length; give -l LENGTH")
        return self


class MutateConfig(_Section):
    """Which positions of the window are mutated: all, a range, or a centred width."""

    start: int | None = Field(default=None, ge=0)
    end: int | None = Field(default=None, ge=1)
    center: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_way(self) -> MutateConfig:
        if self.center is not None and (self.start is not None or self.end is not None):
            raise _fault("center", "given beside a range; give start and end, or center")
        if self.end is not None and self.end <= (self.start or 0):
            raise _fault("end", f"{self.end} is not after start {self.start or 0}; half-open")
        return self


Score = Literal["delta", "l2", "contribution", "centered", "prediction"]


class ScoreConfig(_Section):
    """What is computed from the model's outputs, and what of it is kept."""

    targets: Annotated[Literal["all"] | list[int], BeforeValidator(config_text.targets)] = "all"
    reduce: Literal["none", "sum", "mean", "max", "center", "index"] = "none"
    index: int | None = Field(default=None, ge=0)
    transform: Literal["none", "log", "log1p", "logit", "softmax"] = "none"
    save: Annotated[list[Score], BeforeValidator(config_text.words), Field(min_length=1)] = [
        "delta"
    ]
    dtype: Literal["float32", "float16"] = "float32"

    @model_validator(mode="after")
    def _consistent(self) -> ScoreConfig:
        if (self.reduce == "index") != (self.index is not None):
            raise _fault("index", "goes with `reduce: index`; give both or neither")
        if len(set(self.save)) != len(self.save):
            raise _fault("save", "a score is given twice")
        return self


class ComputeConfig(_Section):
    """How it is computed."""

    backend: Literal["auto", "naive", "windowed", "yuzu", "taylor"] = "auto"
    device: Annotated[str, BeforeValidator(config_text.device)] = "auto"
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    batch_size: Annotated[Literal["auto"] | int, BeforeValidator(config_text.batch_size)] = "auto"
    verify: int = Field(default=32, ge=0)
    reverse_complement: bool = False
    shifts: Annotated[list[int], BeforeValidator(config_text.shifts)] = [0]
    seed: int = Field(default=0, ge=0)


class SensingConfig(_Section):
    """The code matrices of the yuzu backend."""

    matrix: Literal["interleaved", "orthogonal", "gaussian", "bernoulli"] = "interleaved"
    alpha: Annotated[Literal["auto"] | float, BeforeValidator(config_text.alpha)] = "auto"


class OutputConfig(_Section):
    """Where the result goes."""

    path: str = Field(default="out.h5", min_length=1)
    compression: Annotated[str, BeforeValidator(config_text.compression)] = "gzip"


class ProcessConfig(_Section):
    """How this one invocation behaves; no number in the result depends on it."""

    plan: str | None = None
    shard: Annotated[str | None, BeforeValidator(config_text.shard)] = None
    resume: bool = True
    force: bool = False
    dry_run: bool = False
    progress: bool | None = None
    verbosity: int = Field(default=0, ge=-1, le=2)
    debug: bool = False


class RunConfig(_Section):
    """Everything a run is asked to do. Build it with `load_config`, or directly in a notebook."""

    model: ModelConfig = ModelConfig()
    input: InputConfig = InputConfig()
    mutate: MutateConfig = MutateConfig()
    score: ScoreConfig = ScoreConfig()
    compute: ComputeConfig = ComputeConfig()
    sensing: SensingConfig = SensingConfig()
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


def load_config(
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    options: Mapping[str, str] | None = None,
) -> RunConfig:
    """Defaults, then the file, then the overrides.

    Parameters
    ----------
    path : str or Path, optional
        A YAML file.
    overrides : mapping, optional
        Dotted key to value, e.g. ``{"compute.backend": "naive"}``. None is a value: null.
    options : mapping, optional
        Dotted key to the name of the option that set it, for messages about overrides.

    Raises
    ------
    UsageError
        The file cannot be read; or `ConfigError`, one line per unknown key and wrong value.
    """
    overrides, options = overrides or {}, options or {}
    tree = _read(str(path)) if path is not None else {}
    for dotted, value in overrides.items():
        section, _, key = dotted.partition(".")
        keys = tree.setdefault(section, {})
        if isinstance(keys, dict):
            keys[key] = value
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        found = []
        for detail in error.errors():
            dotted = ".".join(config_text.location(detail)[:2])
            option = options.get(dotted) if dotted in overrides else None
            found.append(config_text.translate(detail, option, KEYS))
    raise ConfigError(found)
