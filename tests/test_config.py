"""Configuration: defaults, precedence, and the wording of every kind of fault."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from yuzu_cli.cli._shard import shard_from
from yuzu_cli.config import ConfigError, RunConfig, load_config
from yuzu_cli.errors import UsageError

CONFIGS = Path(__file__).parent.parent / "configs"


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


FAULTS = {
    "unknown key": (
        "compute: {precison: tf32}",
        "compute.precison: unknown key; did you mean precision?",
    ),
    "unknown section": ("scores: {}", "scores: unknown key; did you mean score?"),
    "key of another section": (
        "score: {backend: naive}",
        "score.backend: unknown key; did you mean compute.backend?",
    ),
    "key outside a section": (
        "backend: naive",
        "backend: unknown key; did you mean compute.backend?",
    ),
    "nothing like it": (
        "sensing: {zzz: 1}",
        "sensing.zzz: unknown key; known here: matrix, alpha",
    ),
    "near value": (
        "compute: {backend: naiv}",
        "compute.backend: 'naiv' is not one of auto, naive, windowed, yuzu, taylor; "
        "did you mean naive?",
    ),
    "not an int": ("input: {length: abc}", "input.length: expected a whole number, found 'abc'"),
    "int as text": ("compute: {verify: '3'}", "compute.verify: expected a whole number, found '3'"),
    "bool for int": (
        "compute: {verify: true}",
        "compute.verify: expected a whole number, found True",
    ),
    "float for int": ("input: {length: 1.5}", "input.length: expected a whole number, found 1.5"),
    "share above one": ("taylor: {exact_top: 3}", "taylor.exact_top: 3 is above 1"),
    "zero length": ("input: {length: 0}", "input.length: 0 is below 1"),
    "not a bool": ("run: {force: 1}", "run.force: expected true or false, found 1"),
    "section is a number": ("score: 3", "score: expected a mapping of keys, found 3"),
    "score unknown": (
        "score: {save: [delta, centred]}",
        "score.save.1: 'centred' is not one of delta, l2, jsd, contribution, centered, prediction; "
        "did you mean centered?",
    ),
    "score twice": ("score: {save: [l2, l2]}", "score.save: a score is given twice"),
    "targets empty": (
        "score: {targets: 'CTCF,,3'}",
        "score.targets: 'CTCF,,3' has an empty part; write it like 0,3,7-9 or CTCF,GATA*",
    ),
    "targets by half": (
        "score: {targets: [0.5]}",
        "score.targets: expected a whole number from 0, found 0.5",
    ),
    "targets backwards": (
        "score: {targets: 9-7}",
        "score.targets: the range 9-7 has no sensible length",
    ),
    "target twice": ("score: {targets: '1,0-3'}", "score.targets: 1 is given twice"),
    "target negative": (
        "score: {targets: [-1]}",
        "score.targets: expected a whole number from 0, found -1",
    ),
    "index alone": (
        "score: {index: 3}",
        "score.index: goes with `reduce: index`; give both or neither",
    ),
    "shifts": ("compute: {shifts: [0, 0]}", "compute.shifts: 0 is given twice"),
    "batch size": (
        "compute: {batch_size: 0}",
        "compute.batch_size: expected auto or a whole number from 1, found 0",
    ),
    "device": (
        "compute: {device: gpu}",
        "compute.device: 'gpu' is not one of auto, cpu, cuda, cuda:N",
    ),
    "alpha": ("sensing: {alpha: 0}", "sensing.alpha: expected auto or a number above 0, found 0"),
    "both inputs": (
        "input: {fasta: a.fa, bed: b.bed, genome: g.fa, length: 9}",
        "input.fasta: both a FASTA and a BED are given; give one of them",
    ),
    "bed alone": (
        "input: {bed: b.bed, length: 9}",
        "input.genome: a BED needs the genome it refers to; give -g GENOME",
    ),
    "bed without length": (
        "input: {bed: b.bed, genome: g.fa}",
        "input.length: a BED needs the window length; give -l LENGTH",
    ),
    "genome by a pipe": (
        "input: {bed: b.bed, genome: '-', length: 9}",
        "input.genome: is read in any order, not from standard input; give a file",
    ),
    "genome alone": (
        "input: {fasta: b.fa, genome: g.fa}",
        "input.genome: a genome is read only with a BED; leave it out, or give a BED",
    ),
    "range and centre": (
        "mutate: {start: 1, center: 5}",
        "mutate.center: given beside a range; give start and end, or center",
    ),
    "range backwards": (
        "mutate: {start: 9, end: 9}",
        "mutate.end: 9 is not after start 9; half-open",
    ),
    "endless alpha": (
        "sensing: {alpha: .inf}",
        "sensing.alpha: expected auto or a number above 0, found inf",
    ),
    "compression": (
        "output: {compression: gzip:0}",
        "output.compression: 'gzip:0' is not one of gzip, gzip:1 to gzip:9, lzf, none",
    ),
    "shard": (
        "run: {shard: 5/4}",
        "run.shard: '5/4' is not a shard; write I/N with 1 <= I <= N, or auto",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_fault_is_named_with_its_path(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(write(tmp_path, text))
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


UNREADABLE = {
    "syntax": ("model: {path: [", "run.yaml:1: is not the YAML of a config: "),
    "tab": ("model:\n\tpath: a.pt\n", "run.yaml:2: is not the YAML of a config: "),
    "twice": (
        "score: {dtype: float32}\nscore: {}",
        "run.yaml:2: is not the YAML of a config: the key",
    ),
    "code": (
        "model: !!python/object/apply:os.getcwd []",
        "run.yaml:1: is not the YAML of a config",
    ),
    "list": ("- a", "run.yaml: is not a mapping of sections"),
}


@pytest.mark.parametrize(("text", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_file_that_is_no_config_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        load_config(write(tmp_path, text))


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml")
    (tmp_path / "model.yaml").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        load_config(tmp_path / "model.yaml")


def test_every_fault_has_its_own_line(tmp_path: Path) -> None:
    path = write(tmp_path, "compute: {precison: 1, verify: x}\nscore: {dtype: int8}")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == [
        "compute.precison",
        "compute.verify",
        "score.dtype",
    ]


def test_override_over_file_over_default(tmp_path: Path) -> None:
    path = write(tmp_path, "model: {path: a.pt}\ncompute: {backend: naive, verify: 5}\ninput:\n")
    config = load_config(path, {"compute.backend": "taylor", "input.fasta": "x.fa"})
    assert config.model.path == ["a.pt"]
    assert (config.compute.backend, config.compute.verify) == ("taylor", 5)
    assert (config.input.fasta, config.compute.precision) == ("x.fa", "float32")


def test_fault_of_an_override_is_named_by_its_option() -> None:
    with pytest.raises(UsageError, match=r"^--backend: .* did you mean naive"):
        load_config(None, {"compute.backend": "nave"}, options={"compute.backend": "--backend"})


def test_spellings_of_the_command_line() -> None:
    config = load_config(
        None,
        {
            "score.targets": "0,3,7-9",
            "score.save": "delta, l2",
            "compute.shifts": "0,1,-1",
            "model.path": "a.pt",
        },
    )
    assert config.score.targets == [0, 3, 7, 8, 9]
    assert config.score.save == ["delta", "l2"]
    assert config.compute.shifts == [0, 1, -1]
    assert config.model.path == ["a.pt"]


@pytest.mark.parametrize("name", ["gzip", "gzip:4", "lzf", "none"])
def test_compressions_that_are_documented_are_taken(tmp_path: Path, name: str) -> None:
    config = load_config(write(tmp_path, f"output: {{compression: {name}}}"))
    assert config.output.compression == name


def test_resolved_yaml_reads_back_equal(tmp_path: Path) -> None:
    config = load_config(
        None,
        {
            "model.path": ["a.pt", "naïve.pt"],
            "model.extra_inputs": {"scale": 2.0, 1: "x.npy"},
            "model.output": "counts",
            "score.targets": "1-3",
            "sensing.alpha": 1.05,
            "run.shard": "2/4",
        },
    )
    assert load_config(write(tmp_path, config.to_yaml())) == config
    assert config.shard() == (2, 4)
    assert RunConfig().shard() is None


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().compute.verify = 3


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_preset_is_valid(path: Path) -> None:
    assert (load_config(path) == RunConfig()) == (path.name == "default.yaml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({}, "model.path: no model; give -m"),
        ({"model.path": "a.pt"}, "input: no sequences; give -f FASTA"),
    ],
)
def test_model_and_sequences_have_no_default(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_config(None, overrides).require()
    load_config(None, {"model.path": "a.pt", "input.fasta": "a.fa"}).require()


SHARDS = {
    "array": ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}, "4/8"),
    "array from 1": (
        {
            "SLURM_ARRAY_TASK_ID": "3",
            "SLURM_ARRAY_TASK_COUNT": "8",
            "SLURM_ARRAY_TASK_MIN": "1",
        },
        "3/8",
    ),
    "array by steps": (
        {
            "SLURM_ARRAY_TASK_ID": "6",
            "SLURM_ARRAY_TASK_COUNT": "4",
            "SLURM_ARRAY_TASK_MIN": "2",
            "SLURM_ARRAY_TASK_STEP": "2",
        },
        "3/4",
    ),
    "srun": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, "1/3"),
    "torchrun": ({"RANK": "1", "WORLD_SIZE": "2"}, "2/2"),
    "torchrun under srun": (
        {"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
        "2/2",
    ),
    "array of tasks": (
        {
            "SLURM_ARRAY_TASK_ID": "1",
            "SLURM_ARRAY_TASK_COUNT": "2",
            "SLURM_PROCID": "2",
            "SLURM_NTASKS": "3",
            "SLURM_JOB_ID": "7",
            "SLURM_STEP_ID": "0",
        },
        "6/6",
    ),
    "batch script of one task": (
        {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_JOB_ID": "7"},
        "1/2",
    ),
}


@pytest.mark.parametrize(("environ", "shard"), SHARDS.values(), ids=SHARDS.keys())
def test_shard_from_the_scheduler(environ: dict[str, str], shard: str) -> None:
    assert shard_from(environ) == shard


NO_SHARD = {
    "nothing": ({}, "neither a SLURM array"),
    "half": ({"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_COUNT is not set"),
    "gap": (
        {
            "SLURM_ARRAY_TASK_ID": "7",
            "SLURM_ARRAY_TASK_COUNT": "2",
            "SLURM_ARRAY_TASK_MIN": "3",
        },
        "has no place in a row",
    ),
    "before a gap": (
        {
            "SLURM_ARRAY_TASK_ID": "3",
            "SLURM_ARRAY_TASK_COUNT": "2",
            "SLURM_ARRAY_TASK_MIN": "3",
            "SLURM_ARRAY_TASK_MAX": "7",
        },
        "has no place in a row",
    ),
    "batch script, not srun": (
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"},
        "not started by srun",
    ),
    "rank too high": ({"RANK": "2", "WORLD_SIZE": "2"}, "process 2 of 2 does not exist"),
    "not a number": ({"RANK": "a", "WORLD_SIZE": "2"}, "RANK is a"),
}


@pytest.mark.parametrize(("environ", "message"), NO_SHARD.values(), ids=NO_SHARD.keys())
def test_no_shard_from_the_scheduler(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        shard_from(environ)
    assert caught.value.exit_code == 2


def test_config_needs_neither_torch_nor_h5py_nor_click() -> None:
    code = (
        "import sys, yuzu_cli.config;"
        "print([name for name in ('torch', 'h5py', 'numpy', 'click') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_a_path_that_no_text_can_hold() -> None:
    with pytest.raises(UsageError, match=r"output\.path: expected text in UTF-8, found"):
        load_config(None, {"output.path": "\udcfc.h5"})
