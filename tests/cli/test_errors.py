"""Bad inputs, from the command line to the exit code: one table."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.cli import World, contents, invoke, make_world
from yuzu_cli import engine
from yuzu_cli.cli import _console


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), records=2)


RUN = "run -m {model} -o {out}"
BED = "-b {peaks} -g {genome}"

#: Name -> command line, exit code, text on stderr.
CASES = {
    "no such command": ("rum", 2, "error: rum: no such command; did you mean run?"),
    "no such option": (
        "run --bacth-size 3",
        2,
        "error: --bacth-size: no such option; did you mean --b",
    ),
    "no such file to show": ("info {folder}/none.h5", 1, "none.h5: there is no such file"),
    "nothing to show": ("info", 2, "error: OUT.h5: missing; see yuzu info --help"),
    "not an output": ("info {seqs}", 1, "seqs.fa: is not an HDF5 file"),
    "option without value": ("run -m", 2, "error: -m: requires an argument"),
    "value of a flag": ("run --force=1", 2, "error: --force: does not take a value"),
    "not a number": ("run -l abc", 2, "error: -l/--length: 'abc' is not a valid integer"),
    "a word too many": ("run extra", 2, "error: Got unexpected extra argument (extra)"),
    "no config": (
        RUN + " -f {seqs} -c {folder}/no.yaml",
        2,
        "no.yaml: cannot be read: No such file",
    ),
    "typo in the config": (
        RUN + " -f {seqs} -c {typo}",
        2,
        "error: compute.precison: unknown key; did you mean precision?",
    ),
    "no model": ("run -f {seqs}", 2, "error: model.path: no model; give -m MODEL or model.path"),
    "no sequences": (RUN, 2, "error: input: no sequences; give -f FASTA, or -b BED with -g and -l"),
    "FASTA and BED": (
        RUN + " -f {seqs} -l 40 " + BED,
        2,
        "error: --fasta: both a FASTA and a BED are given; give one of them",
    ),
    "BED without genome": (
        RUN + " -b {peaks} -l 40",
        2,
        "a BED needs the genome it refers to; give -g",
    ),
    "BED without length": (RUN + " " + BED, 2, "a BED needs the window length; give -l LENGTH"),
    "genome with FASTA": (
        RUN + " -f {seqs} -g {genome}",
        2,
        "--genome: a genome is read only with a",
    ),
    "no such backend": (
        RUN + " -f {seqs} --backend windoed",
        2,
        "error: --backend: 'windoed' is not one of auto, naive, windowed, yuzu, taylor; "
        "did you mean windowed?",
    ),
    "no such score": (
        RUN + " -f {seqs} --scores delta,l3",
        2,
        "error: --scores: 'l3' is not one of",
    ),
    "no such device": (RUN + " -f {seqs} --device gpu", 2, "error: --device: 'gpu' is not one of"),
    "batch of none": (
        RUN + " -f {seqs} --batch-size 0",
        2,
        "error: --batch-size: expected auto or a",
    ),
    "shard past the last": (
        RUN + " -f {seqs} --shard 5/4",
        2,
        "error: --shard: '5/4' is not a shard",
    ),
    "shard 0": (RUN + " -f {seqs} --shard 0/4", 2, "error: --shard: '0/4' is not a shard"),
    "shard of nobody": (RUN + " -f {seqs} --shard auto", 2, "error: --shard auto: neither a SLURM"),
    "targets": (RUN + " -f {seqs} --targets 0,x", 2, "error: score.targets: no target x"),
    "no such target": (RUN + " -f {seqs} --targets 7", 2, "7"),
    "set": (RUN + " -f {seqs} --set seed=3", 2, "error: --set: 'seed=3' is not SECTION.KEY=VALUE"),
    "set alone": (RUN + " -f {seqs} --set compute.seed", 2, "is not SECTION.KEY=VALUE"),
    "set twice": (
        RUN + " -f {seqs} --set compute.seed=1 --set compute.seed=1",
        2,
        "error: --set: compute.seed is given twice",
    ),
    "set and option": (
        RUN + " -f {seqs} --verify 3 --set compute.verify=2",
        2,
        "error: --verify: sets compute.verify, which --set gives too; give one of them",
    ),
    "set unknown": (
        RUN + " -f {seqs} --set compute.sede=1",
        2,
        "error: --set compute.sede: unknown key; did you mean seed?",
    ),
    "set wrong": (
        RUN + " -f {seqs} --set compute.seed=no",
        2,
        "error: --set compute.seed: expected a whole number, found 'no'",
    ),
    "set no YAML": (RUN + " -f {seqs} --set model.output=[a", 2, "error: --set model.output: '[a'"),
    "range": (RUN + " -f {seqs} --mutate 9", 2, "error: --mutate: '9' is not START:END; 0-based"),
    "range backwards": (RUN + " -f {seqs} --mutate 9:3", 2, "3 is not after start 9; half-open"),
    "range past the end": (
        RUN + " -f {seqs} --mutate 9:99",
        2,
        "9:99 is not within the window of 40",
    ),
    "two ranges": (
        RUN + " -f {seqs} --mutate 1:9 --mutate-center 3",
        2,
        "error: --mutate-center: given",
    ),
    "index without position": (
        RUN + " -f {seqs} --reduce index",
        2,
        "score.index: goes with `reduce",
    ),
    "index of letters": (
        RUN + " -f {seqs} --reduce index:x",
        2,
        "--reduce: 'index:x' has no position",
    ),
    "missing model": ("run -m {folder}/none.pt -f {seqs} -o {out}", 1, "none.pt: "),
    "weights only": ("run -m {weights} -f {seqs} -o {out}", 1, "weights.pth: "),
    "not a model": ("run -m {seqs} -f {seqs} -o {out}", 1, "seqs.fa: "),
    "missing FASTA": (RUN + " -f {folder}/none.fa", 1, "none.fa: no such file"),
    "empty FASTA": (RUN + " -f {empty}", 1, "empty.fa: "),
    "lengths differ": (RUN + " -f {lengths}", 1, "lengths.fa:3: "),
    "unknown letters": (RUN + " -f {unknown} -c {folder}/strict.yaml", 1, "unknown.fa:3: "),
    "another length": (RUN + " -f {seqs} -l 30", 1, "seqs.fa:1: "),
    "missing BED": (RUN + " -b {folder}/none.bed -g {genome} -l 40", 1, "none.bed: no such file"),
    "missing genome": (RUN + " -b {peaks} -g {folder}/none.fa -l 40", 1, "none.fa: no such file"),
    "backwards BED": (
        RUN + " -b {backwards} -g {genome} -l 40",
        1,
        "backwards.bed:2: end 80 is not after start 90; BED is 0-based, half-open",
    ),
    "BED past the end": (RUN + " -b {edge} -g {genome} -l 40", 1, "edge.bed:2: "),
    "unknown chromosome": (RUN + " -b {elsewhere} -g {genome} -l 40", 1, "elsewhere.bed:1: "),
    "output is the input": ("run -m {model} -f {seqs} -o {seqs} --force", 1, "seqs.fa"),
    "output is the model": ("run -m {model} -f {seqs} -o {model} --force", 1, "model.pt"),
    "output in no folder": ("run -m {model} -f {seqs} -o {folder}/no/where/out.h5", 1, "no/where"),
    "merge nothing": ("merge -o {out}", 2, "error: SHARD...: missing"),
    "merge what is not there": ("merge {folder}/a.h5 -o {out}", 1, "a.h5: there is no such file"),
    "merge without output": (
        "merge {folder}/a.h5",
        2,
        "error: -o/--output: missing; see yuzu merge",
    ),
}


@pytest.mark.parametrize(("line", "code", "text"), CASES.values(), ids=CASES.keys())
def test_bad_input(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    code: int,
    text: str,
) -> None:
    for name in list(os.environ):
        if name.startswith("SLURM_") or name in {"RANK", "WORLD_SIZE"}:
            monkeypatch.delenv(name)
    folder = tmp_path / "work"
    shutil.copytree(world.folder, folder)
    (folder / "strict.yaml").write_text("input: {unknown: error}\n")
    here = World(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    names = {name.split(".")[0]: str(folder / name) for name in before}
    argv = line.format(folder=here.folder, out=folder / "out.h5", **names).split()
    found, out, err = invoke(argv, capsys)
    errors = [part for part in err.splitlines() if part.startswith("error: ")]
    assert (found, out) == (code, "")
    assert any(text in part for part in errors), err
    assert "Traceback" not in err
    assert "internal" not in err
    # Nothing is left where a result would be, and every input is as it was.
    assert not (folder / "out.h5").exists()
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_every_fault_of_a_config_is_a_line(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two.yaml").write_text("compute: {verify: x, precison: tf32}\n")
    code, _, err = invoke(["run", "-c", str(tmp_path / "two.yaml")], capsys)
    assert code == 2
    assert err.splitlines() == [
        "error: compute.verify: expected a whole number, found 'x'",
        "error: compute.precison: unknown key; did you mean precision?",
    ]


def test_finished_output_is_kept_without_force(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["run", "-m", world.model, "-f", world.seqs, "-o", str(tmp_path / "out.h5"), "-q"]
    assert invoke([*argv, "--backend", "naive"], capsys)[0] == 0
    before = (tmp_path / "out.h5").read_bytes()
    code, _, err = invoke([*argv, "--backend", "naive", "--scores", "l2"], capsys)
    assert code == 1
    assert "out.h5: " in err
    assert "--force" in err
    assert (tmp_path / "out.h5").read_bytes() == before
    assert invoke([*argv, "--backend", "naive", "--scores", "l2", "--force"], capsys)[0] == 0
    assert "scores/l2" in contents(tmp_path / "out.h5")


class UnforeseenError(Exception):
    """Nobody catches it by name."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            UnforeseenError("what\nnow"),
            "error: internal: UnforeseenError: what now; run again with --debug and report it",
        ),
        (MemoryError(), "error: memory: there is not enough of it; give a smaller --batch-size"),
        (OSError(28, "No space left on device", "x.h5"), "error: x.h5: No space left on device"),
    ],
    ids=["internal", "memory", "system"],
)
def test_what_nobody_foresaw_is_one_line(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    line: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(engine, "run", fail)
    argv = ["run", "-m", world.model, "-f", world.seqs, "-o", str(tmp_path / "out.h5")]
    code, _, err = invoke(argv, capsys)
    assert (code, err.splitlines()) == (1, [line])
    code, _, err = invoke([*argv, "--debug"], capsys)
    assert code == 1
    assert "Traceback" in err
    assert err.splitlines()[-1] == line


def test_debug_of_the_config_counts(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "debug.yaml").write_text("run: {debug: true}\n")
    argv = ["run", "-c", str(tmp_path / "debug.yaml"), "-m", "none.pt", "-f", world.seqs]
    assert "Traceback" in invoke(argv, capsys)[2]
    monkeypatch.setattr(_console, "debug", False)
    assert "Traceback" not in invoke(["run", *argv[3:]], capsys)[2]


def test_closed_stderr_ends_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yuzu_cli.cli import main

    monkeypatch.setattr(sys, "stderr", None)
    out = tmp_path / "out.h5"
    with pytest.raises(SystemExit) as caught:
        main(["run", "-m", world.model, "-f", world.seqs, "-o", str(out), "--backend", "naive"])
    assert caught.value.code == 0
    assert out.exists()
