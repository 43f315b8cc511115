"""Whole runs from the command line: options, shards, standard input, what is said on the way."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cli import LENGTH, World, contents, invoke, make_world
from yuzu_cli.cli._console import Progress, messages, tell
from yuzu_cli.cli.run import prepare
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs.info import info

RECORDS = 6


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), RECORDS)


@pytest.fixture
def base(world: World) -> list[str]:
    return ["run", "-m", world.model, "-f", world.seqs, "--backend", "naive", "--batch-size", "2"]


@pytest.fixture(scope="module")
def whole(world: World) -> Path:
    """The result of all records."""
    from yuzu_cli.cli import main

    out = world.folder / "whole.h5"
    argv = ["run", "-m", world.model, "-f", world.seqs, "--backend", "naive", "--batch-size", "2"]
    with pytest.raises(SystemExit) as caught:
        main([*argv, "-q", "-o", str(out)])
    assert caught.value.code == 0
    return out


def test_quiet_run_says_nothing(
    base: list[str], tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.h5"
    assert invoke([*base, "-q", "-o", str(out)], capsys) == (0, "", "")
    assert contents(out) == contents(whole)


def test_result_is_reported_on_stderr(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = invoke([*base, "-o", str(tmp_path / "out.h5")], capsys)
    assert (code, out) == (0, "")
    assert f"out.h5: {RECORDS} regions, {RECORDS * LENGTH * 3} mutants" in err


def test_any_key_can_be_set_and_targets_are_chosen_by_name(
    base: list[str], tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.h5"
    names = "--set=model.target_names=[CTCF, GATA1, GATA2]"
    more = [names, "--set", "score.dtype=float16", "--targets", "GATA*", "-q", "-o", str(out)]
    assert invoke([*base, *more], capsys) == (0, "", "")
    with open_result(out) as some, open_result(whole) as every:
        assert some.targets == ["GATA1", "GATA2"]
        got, want = some.read("scores/delta"), every.read("scores/delta")[:, 1:]
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, want, atol=1e-3)


def test_options_win_over_the_config(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(
        f"model: {{path: {world.model}}}\n"
        f"input: {{bed: {world.peaks}, genome: {world.genome}, length: 30}}\n"
        "mutate: {center: 7}\n"
        "score: {save: [delta], targets: [0], reduce: none}\n"
        "compute: {backend: taylor, verify: 0}\n"
    )
    argv = [
        "run",
        "-c",
        str(tmp_path / "run.yaml"),
        "-o",
        str(tmp_path / "out.h5"),
        "-f",
        world.seqs,
    ]
    argv += [
        "-l",
        str(LENGTH),
        "--backend",
        "naive",
        "--scores",
        "l2,prediction",
        "--targets",
        "1-2",
    ]
    assert invoke([*argv, "--mutate", "3:9"], capsys)[0] == 0
    facts = info(tmp_path / "out.h5")
    assert facts["n_regions"] == RECORDS
    assert (facts["mutate_start"], facts["mutate_end"]) == (3, 9)
    assert facts["backend"] == "naive"
    assert facts["scores"] == ["l2", "prediction"]
    assert facts["targets"] == ["1", "2"]


PREPARED = {
    "fasta over bed": ({"fasta": "x.fa"}, "input", {"fasta": "x.fa", "bed": None, "genome": None}),
    "bed over fasta": (
        {"bed": "y.bed", "genome": "h.fa"},
        "input",
        {"fasta": None, "bed": "y.bed", "genome": "h.fa"},
    ),
    "open range": ({"mutate": "5:"}, "mutate", {"start": 5, "end": None, "center": None}),
    "centre": ({"mutate_center": 3}, "mutate", {"start": None, "end": None, "center": 3}),
    "index": ({"reduce": "index:4"}, "score", {"reduce": "index", "index": 4}),
    "no index": ({"reduce": "sum"}, "score", {"reduce": "sum", "index": None}),
    "models": ({"model": ("a.pt", "b.pt")}, "model", {"path": ["a.pt", "b.pt"]}),
    "batch": ({"batch_size": "7"}, "compute", {"batch_size": 7}),
    "one strand": ({"reverse_complement": False}, "compute", {"reverse_complement": False}),
    "shifts": ({"shifts": "0,-2"}, "compute", {"shifts": [0, -2]}),
    "quiet": ({"quiet": True, "verbose": 0}, "run", {"verbosity": -1}),
    "verbose": ({"quiet": False, "verbose": 5}, "run", {"verbosity": 2}),
    "shard in the name": (
        {"shard": "2/3", "output": "s.{shard}-of-{shards}.h5"},
        "output",
        {"path": "s.2-of-3.h5"},
    ),
    "name as it is": ({"output": "s.{shard}.h5"}, "output", {"path": "s.{shard}.h5"}),
}


@pytest.mark.parametrize(("params", "section", "values"), PREPARED.values(), ids=PREPARED.keys())
def test_options_become_settings(
    tmp_path: Path, params: dict[str, object], section: str, values: dict[str, object]
) -> None:
    (tmp_path / "run.yaml").write_text(
        "model: {path: m.pt}\n"
        "input: {bed: x.bed, genome: g.fa, length: 9}\n"
        "mutate: {start: 1, end: 2}\n"
        "score: {reduce: index, index: 1}\n"
        "compute: {reverse_complement: true}\n"
    )
    config = prepare({"config": str(tmp_path / "run.yaml"), **params}).model_dump()
    assert {key: config[section][key] for key in values} == values


def test_shards_from_the_environment_merge_to_the_whole(
    base: list[str],
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in ("0", "1", "2"):
        monkeypatch.setenv("RANK", rank)
        argv = [*base, "-q", "--shard", "auto", "-o", "part.{shard}.h5"]
        assert invoke(argv, capsys) == (0, "", "")
    parts = ["part.3.h5", "part.1.h5", "part.2.h5"]
    facts = info("part.2.h5")
    assert (facts["shard_index"], facts["shard_count"], facts["n_regions"]) == (2, 3, 2)
    code, _, err = invoke(["merge", *parts[:2], "-o", "merged.h5"], capsys)
    assert code == 1
    assert err.startswith("error: ")
    code, _, err = invoke(["merge", *parts, "-o", "merged.h5"], capsys)
    assert code == 0
    assert "3 shards joined" in err
    assert contents("merged.h5") == contents(whole)


def test_sequences_from_standard_input(world: World, whole: Path, tmp_path: Path) -> None:
    argv = ["run", "-m", world.model, "-f", "-", "--backend", "naive", "--batch-size", "2", "-q"]
    subprocess.run(
        [sys.executable, "-m", "yuzu_cli", *argv, "-o", str(tmp_path / "out.h5")],
        input=Path(world.seqs).read_text(),
        text=True,
        check=True,
    )
    ours, theirs = contents(tmp_path / "out.h5"), contents(whole)
    assert ours["scores/delta"] == theirs["scores/delta"]
    assert ours["@input_sha256"] == theirs["@input_sha256"]


def test_dry_run_prints_a_table_and_writes_nothing(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = invoke([*base, "--dry-run", "-q", "-o", str(tmp_path / "out.h5")], capsys)
    assert code == 0
    assert f"mutants {RECORDS * LENGTH * 3}" in " ".join(out.split())
    assert list(tmp_path.iterdir()) == []


def test_info_as_text_and_json(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = invoke(["info", str(whole)], capsys)
    assert (code, err) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert facts["regions"] == str(RECORDS)
    assert facts["targets"] == "3: 0, 1, 2"
    assert facts["verified"] == "not compared with naive"
    assert facts["/scores/delta"].startswith(f"N x T x A x M = {RECORDS} x 3 x 4 x {LENGTH}, ")
    code, out, err = invoke(["info", str(whole), "--json"], capsys)
    assert (code, err) == (0, "")
    assert json.loads(out) == info(whole)


def test_info_of_unfinished_work(
    base: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from yuzu_cli.engine.scoring import Scorer, Stopped

    calls: list[int] = []
    score = Scorer.score

    def stop_at_third(self: Scorer, *args: Any) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise Stopped
        return score(self, *args)

    monkeypatch.setattr(Scorer, "score", stop_at_third)
    out = tmp_path / "out.h5"
    _, _, err = invoke([*base, "-o", str(out)], capsys)
    assert "the same command continues" in err
    code, text, _ = invoke(["info", str(out)], capsys)
    assert code == 0
    assert "4 so far, 2 of 3 batches done; the same command continues" in text


def test_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with messages(0), Progress(show=False) as progress:
        for done in range(0, 101, 10):
            progress(done, 100)
            clock[0] += 10
    lines = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "30 of 100 regions, 1/s, 1:10 left",
        "60 of 100 regions, 1/s, 0:40 left",
        "90 of 100 regions, 1/s, 0:10 left",
    ]


class Terminal(io.StringIO):
    """A stderr that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("show", [None, False], ids=["bar", "no bar"])
def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, show: bool | None) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with messages(0), Progress(show) as progress:
        progress(2, 8)
        logging.getLogger("yuzu_cli.engine").warning("half a batch")
        progress(8, 8)
    assert ("8/8" in screen.getvalue()) == (show is None)
    assert "warning: half a batch\n" in screen.getvalue()
    assert Progress.bar is None


LEVELS = {-1: ["warning"], 0: ["warning", "info"], 1: ["warning", "info", "debug"]}


@pytest.mark.parametrize("verbosity", LEVELS)
def test_verbosity(verbosity: int, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("yuzu_cli.test")
    with messages(verbosity):
        logger.warning("warning")
        logger.info("info")
        logger.debug("debug")
    logger.info("afterwards")
    said = [line.split()[-1] for line in capsys.readouterr().err.splitlines()]
    assert said == LEVELS[verbosity]


def test_a_full_stderr_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        with messages(0), Progress(show=True) as progress:
            progress(1, 2)
            tell("text")
            logging.getLogger("yuzu_cli.test").warning("text")
        monkeypatch.undo()
        # What Python could not write it would complain of when the file is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
