"""Every key of the config: its type, its default, and the one text that people read about it.

A table in the form of pydantic models. Help of the options, the comments in configs/default.yaml,
the table in docs/config.md and the JSON Schema that ships are made from it by `config_pages`. Which
values go together is said here too; how they are spelt is `config_text`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from yuzu_cli import config_text


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _key(default: Any, text: str, option: str = "", **limits: Any) -> Any:
    """One key: its default, and the only text about it.

    Help of the option, the comment in configs/default.yaml, the table in docs/config.md and the
    JSON Schema that ships are all made from it (`make settings`).
    """
    extra: Any = {"x-option": option} if option else None
    return Field(default=default, description=text, json_schema_extra=extra, **limits)


def _read_by(function: Callable[[Any], Any], spellings: Any) -> BeforeValidator:
    """Reads a value that may be spelt in several ways; `spellings` is their type."""
    return BeforeValidator(function, json_schema_input_type=spellings)


def _spelt(pattern: str, known: str) -> BeforeValidator:
    """Reads text of one of several spellings; `known` names them."""
    schema = Annotated[str, Field(pattern=f"^({pattern})$")]
    return _read_by(lambda value: config_text.spelt(value, pattern, known), schema)


def _fault(key: str, what: str) -> PydanticCustomError:
    return PydanticCustomError("at", "{what}", {"what": what, "at": key})


_Natural = Annotated[int, Field(ge=0)]
_Positive = Annotated[int, Field(ge=1)]
_Paths = Annotated[list[str], _read_by(config_text.paths, str | list[str])]
_Output = Annotated[int | str, _read_by(config_text.model_output, _Natural | str)]
_Extras = Annotated[dict[int | str, Any], _read_by(config_text.extra_inputs, dict[str, Any])]
_Names = Annotated[str | list[str], _read_by(config_text.names, str | list[str | int])]
_Targets = Annotated[
    Literal["all"] | list[int | str], _read_by(config_text.targets, str | int | list[int | str])
]
Score = Literal["delta", "l2", "jsd", "contribution", "centered", "prediction"]
_Scores = Annotated[
    list[Score], _read_by(config_text.words, str | list[Score]), Field(min_length=1)
]
_Device = Annotated[str, _spelt(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda, cuda:N")]
_BatchSize = Annotated[
    Literal["auto"] | int, _read_by(config_text.batch_size, Literal["auto"] | _Positive)
]
_Shifts = Annotated[list[int], _read_by(config_text.shifts, str | int | list[int])]
_Alpha = Annotated[
    Literal["auto"] | float,
    _read_by(config_text.alpha, Literal["auto"] | Annotated[float, Field(gt=0)]),
]
_Compression = Annotated[
    str, _spelt(r"gzip(:[1-9])?|lzf|none", "gzip, gzip:1 to gzip:9, lzf, none")
]
_Shard = Annotated[
    str | None,
    _read_by(config_text.shard, Annotated[str, Field(pattern=r"^(auto|\d+/\d+)$")] | None),
]


class ModelConfig(Section):
    """Which model, and how to call it."""

    path: _Paths = _key(
        [],
        "TorchScript (.pt) or exported program (.pt2); several are an ensemble, averaged after"
        " reduce and transform",
        "-m",
    )
    layout: Literal["auto", "NCL", "NLC", "NCL1", "NC1L", "N1LC", "N1CL"] = _key(
        "auto",
        "axes the model wants: NCL, NLC, NCL1, NC1L, N1LC or N1CL; auto takes the first that runs"
        " and says which",
        "--layout",
    )
    alphabet: str = _key(
        "ACGT",
        "the letters in the model's order: DNA, RNA, 20 amino acids, or any distinct letters",
        "--alphabet",
        min_length=2,
    )
    output: _Output = _key(
        0,
        "of a model that returns several outputs: number or name, or all, each flattened"
        " row-major, one after the other",
        "--model-output",
    )
    extra_inputs: _Extras = _key(
        {},
        "further inputs, the same for all mutants: name, or position among all inputs, to a value"
        " or a .npy file",
    )
    target_names: _Names = _key(
        [],
        "what the targets are called, one name for each that the model has after reduce: a list,"
        " or a text file with one name a line; without any, targets are numbered",
        "--target-names",
    )


class InputConfig(Section):
    """Which sequences, and what to do with the awkward ones."""

    length: int | None = _key(
        None,
        "letters per window; needed with a BED, while a FASTA's records have their own length",
        "-l",
        ge=1,
    )
    center: Literal["midpoint", "summit"] = _key(
        "midpoint",
        "where a BED window is centred: midpoint, or summit (narrowPeak, column 10)",
        "--center",
    )
    edge: Literal["error", "pad", "drop"] = _key(
        "error",
        "a window past a chromosome's end: error, pad with unknown letters, drop",
        "--edge",
    )
    wrong_length: Literal["error", "crop", "pad", "drop"] = _key(
        "error", "a FASTA record of another length: error, crop or pad about its centre, drop"
    )
    unknown: Literal["zero", "uniform", "drop", "error"] = _key(
        "zero",
        "N and other letters: a zero column, a uniform column (1/A each), drop the record, error",
    )
    fasta: str | None = _key(
        None, "sequences as FASTA, plain, gzip or bgzip; - is standard input", "-f"
    )
    bed: str | None = _key(
        None,
        "regions of the genome as BED3 to BED12 or narrowPeak, plain or gzip; column 6 - is"
        " reverse-complemented",
        "-b",
    )
    genome: str | None = _key(None, "FASTA of the genome the BED refers to", "-g")

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
        if self.genome == "-":
            raise _fault("genome", "is read in any order, not from standard input; give a file")
        return self


class MutateConfig(Section):
    """Which positions of the window are mutated: all, a range, or a centred width."""

    start: int | None = _key(
        None,
        "first mutated position, 0-based in the window (if not given, 0)",
        "--mutate START:END",
        ge=0,
    )
    end: int | None = _key(
        None,
        "one past the last mutated position (if not given, the window's end)",
        "--mutate START:END",
        ge=1,
    )
    center: int | None = _key(
        None,
        "mutate this many central positions, instead of start and end",
        "--mutate-center",
        ge=1,
    )

    @model_validator(mode="after")
    def _one_way(self) -> MutateConfig:
        if self.center is not None and (self.start is not None or self.end is not None):
            raise _fault("center", "given beside a range; give start and end, or center")
        if self.end is not None and self.end <= (self.start or 0):
            raise _fault("end", f"{self.end} is not after start {self.start or 0}; half-open")
        return self


class ScoreConfig(Section):
    """What is computed from the model's outputs, and what of it is kept."""

    targets: _Targets = _key(
        "all",
        "which targets, counted or named after reduce: all, or a list such as 0,3,7-9 of"
        " numbers, ranges, names and patterns (CTCF*)",
        "--targets",
    )
    reduce: Literal["none", "sum", "mean", "max", "center", "index", "profile"] = _key(
        "none",
        "each output over its position axis: none (each position is a target), sum, mean, max,"
        " center, index, or profile: a BPNet's logits less their mean, weighted by their softmax,"
        " over all axes; its counts stay as they are",
        "--reduce",
    )
    index: int | None = _key(
        None, "the position that index takes, from 0", "--reduce index:I", ge=0
    )
    transform: Literal["none", "log", "log1p", "logit", "softmax"] = _key(
        "none", "of the outputs, before the difference: none, log, log1p, logit, softmax"
    )
    save: _Scores = _key(
        ["delta"],
        "what is kept: delta, l2, contribution, centered, prediction, or jsd, how far a mutant's "
        "profile, the softmax over the targets, is from the reference's",
        "--scores",
    )
    dtype: Literal["float32", "float16"] = _key(
        "float32", "of the scores on disk: float32 or float16"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ScoreConfig:
        if (self.reduce == "index") != (self.index is not None):
            raise _fault("index", "goes with `reduce: index`; give both or neither")
        if len(set(self.save)) != len(self.save):
            raise _fault("save", "a score is given twice")
        return self


class ComputeConfig(Section):
    """How it is computed."""

    backend: Literal["auto", "naive", "windowed", "yuzu", "taylor"] = _key(
        "auto",
        "the method: auto takes the cheapest exact one of naive, windowed and yuzu; taylor is an"
        " approximation and never taken by itself",
        "--backend",
    )
    device: _Device = _key(
        "auto", "where the model computes: auto, cpu, cuda or cuda:N", "--device"
    )
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = _key(
        "float32",
        "the model computes in float32, tf32 (on GPUs), bfloat16 or float16; scores are float32"
        " whatever this is",
        "--precision",
    )
    batch_size: _BatchSize = _key(
        "auto",
        "regions per batch: auto or a number; a kill loses at most one batch",
        "--batch-size",
    )
    verify: int = _key(
        32,
        "mutants of your own sequences that are compared with naive before the run; 0 for none",
        "--verify",
        ge=0,
    )
    reverse_complement: bool = _key(
        False, "average over both strands", "--reverse-complement/--no-reverse-complement"
    )
    shifts: _Shifts = _key([0], "average over the window moved by these: 0,1,-1", "--shifts")
    seed: int = _key(0, "of what is drawn at random: mutants to verify, sensing matrices", ge=0)


class SensingConfig(Section):
    """The code matrices of the yuzu backend."""

    matrix: Literal["interleaved", "orthogonal", "gaussian", "bernoulli"] = _key(
        "interleaved", "the matrices: interleaved, orthogonal, gaussian or bernoulli"
    )
    alpha: _Alpha = _key(
        "auto", "probes per overlapping mutant, for the published matrices; auto searches"
    )


class TaylorConfig(Section):
    """The first-order estimate of the taylor backend."""

    start: str = _key(
        "input",
        "where the estimate starts: input (TISM), frontier (where windows end), or a node that"
        " `yuzu explain` lists; up to there effects are exact",
        "--taylor-from",
        min_length=1,
    )
    exact_top: float = _key(
        0.0,
        "share of the mutants, those of the largest estimated effects, that are computed exactly"
        " after all, with a random sample that says how far the estimate is off; 0 for none",
        "--exact-top",
        ge=0,
        le=1,
    )


class OutputConfig(Section):
    """Where the result goes."""

    path: str = _key(
        "out.h5",
        "the result, HDF5; {shard} and {shards} in it become the numbers of --shard",
        "-o",
        min_length=1,
    )
    compression: _Compression = _key(
        "gzip", "how scores are packed: gzip, gzip:1 to gzip:9, lzf or none"
    )
    pack: Literal["auto", "yes", "no"] = _key(
        "auto",
        "a result in one file (yes), or one linked to its segments beside it (no); auto: one below "
        "8 GB",
    )


class ProcessConfig(Section):
    """How this one invocation behaves; no number in the result depends on it."""

    plan: str | None = _key(
        None, "a plan of `yuzu precompute`; auto then takes the yuzu backend", "--plan"
    )
    shard: _Shard = _key(
        None,
        "only part I of N, from 1, as I/N; auto asks SLURM, or RANK and WORLD_SIZE",
        "--shard",
    )
    resume: bool = _key(
        True, "continue an unfinished output, or start over", "--resume/--no-resume"
    )
    force: bool = _key(False, "replace an existing output; never an input", "--force")
    dry_run: bool = _key(
        False, "only say what would be done: regions, mutants, time, memory, disk", "--dry-run"
    )
    progress: bool | None = _key(
        None,
        "a progress bar; without either, one on a terminal and else a line every 30 seconds",
        "--progress/--no-progress",
    )
    verbosity: int = _key(
        0,
        "how much is said: -1 (-q) only warnings, 0, 1 (-v) more, 2 (-vv) everything",
        "-v, -q",
        ge=-1,
        le=2,
    )
    debug: bool = _key(False, "tracebacks, and every detail", "--debug")
