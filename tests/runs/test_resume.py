"""A run that continues: what it keeps, and with which settings it may."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import (
    ALL,
    content,
    expect_rows,
    make_info,
    make_rows,
    shard_info,
    write_all,
    write_file,
)
from yuzu_cli.errors import OutputError
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs.writer import OutputRun


@pytest.mark.parametrize("order", ["rising", "falling"])
@pytest.mark.parametrize("stop_after", [0, 1, 3, 6])
def test_a_continued_run_is_the_uninterrupted_one(
    tmp_path: Path, stop_after: int, order: str
) -> None:
    info = make_info(save=ALL)
    whole = write_file(tmp_path / "whole.h5", info)
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        pending = list(run.pending())
        for batch, start, stop in (pending if order == "rising" else pending[::-1])[:stop_after]:
            run.write(batch, make_rows(info, start, stop))
    assert not (tmp_path / "out.h5").exists()
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        assert len(run.done) == stop_after
        write_all(run)
        run.finish()
    assert content(tmp_path / "out.h5") == content(whole)


def test_a_continued_run_keeps_what_was_recorded(tmp_path: Path) -> None:
    errors: dict[str, Any] = {"verify_max_abs_error": 1e-6, "verify_max_rel_error": 2e-6}
    path, first = tmp_path / "out.h5", make_info(command="first", batch_size=8, **errors)
    with OutputRun.open(path, first) as run:
        write_all(run, 2)
    now: dict[str, Any] = {"command": "second", "batch_size": 16, "device": "cpu:0"}
    second = dataclasses.replace(first, verify_max_rel_error=math.nan, **now)
    with OutputRun.open(path, second) as run:
        assert run.info.batch_size == 8
        assert repr(run.info) == repr(first)  # NaN is not itself
        write_all(run)
        run.finish()
    with open_result(path) as result:
        assert result.attributes["verify_max_rel_error"] == 2e-6
        assert result.attributes["command"] == "first"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"model_sha256": "x" * 64}, "model is xxx", id="model"),
        pytest.param({"input_sha256": "x"}, "input is x", id="input"),
        pytest.param({"backend": "taylor"}, "backend is taylor, was naive", id="backend"),
        pytest.param({"precision": "tf32"}, "precision is tf32, was float32", id="precision"),
        pytest.param({"device": "cuda:0"}, "kind of device is cuda, was cpu", id="device"),
        pytest.param({"mutate_end": 20}, "mutated positions is 5:20, was 5:25", id="mutated"),
        pytest.param({"save": ("l2",)}, "score.save is ['l2'], was ['delta']", id="save"),
        pytest.param({"dtype": "float16"}, "score.dtype is float16", id="dtype"),
        pytest.param({"compression": "none"}, "output.compression is none", id="compression"),
        pytest.param({"record_stop": 40}, "shard is records 0:40, was none", id="records"),
        pytest.param({"shard_index": 1, "shard_count": 2}, "shard is 1/2, was none", id="shard"),
        pytest.param({"torch_version": "3"}, "version of torch is 3, was 2.0", id="torch"),
        pytest.param(
            {"config": "score: {reduce: sum}\ncompute: {seed: 0}"},
            "score.reduce is sum, was none",
            id="config",
        ),
        pytest.param(
            {"config": "score: {reduce: none}\ncompute: {seed: 0}\nnew: {key: 1}"},
            "new.key is 1, was not set",
            id="config-key",
        ),
    ],
)
def test_other_settings_are_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    path = tmp_path / "out.h5"
    with OutputRun.open(path, make_info()) as run:
        write_all(run, 1)
    with pytest.raises(OutputError) as caught:
        OutputRun.open(path, make_info(**changes))
    assert named in str(caught.value)
    assert "--no-resume" in str(caught.value)
    with OutputRun.open(path, make_info()) as run:
        assert len(run.done) == 1, "a refusal must leave the work alone"


@pytest.mark.parametrize(
    "config",
    [
        pytest.param("output: {path: elsewhere.h5}", id="output-path"),
        pytest.param("model: {path: [copy.pt]}\ninput: {bed: b, genome: g}", id="input-paths"),
        pytest.param("compute: {batch_size: 3, verify: 0, device: cpu}", id="compute"),
        pytest.param("run: {force: true, progress: true, dry_run: false}", id="run"),
    ],
)
def test_settings_that_change_no_number_may_change(tmp_path: Path, config: str) -> None:
    with OutputRun.open(tmp_path / "out.h5", make_info(config="score: {reduce: none}")) as run:
        write_all(run, 2)
    changed = make_info(config=f"score: {{reduce: none}}\n{config}")
    with OutputRun.open(tmp_path / "out.h5", changed) as run:
        assert len(run.done) == 2


@pytest.mark.parametrize(("resume", "force"), [(False, False), (True, True), (False, True)])
def test_work_of_other_settings_is_dropped_when_told(
    tmp_path: Path, resume: bool, force: bool
) -> None:
    path, info = tmp_path / "out.h5", make_info(save=("l2",))
    with OutputRun.open(path, make_info()) as run:
        write_all(run, 3)
    with OutputRun.open(path, info, resume=resume, force=force) as run:
        assert len(run.done) == 0
        write_all(run)
        run.finish()
    expect_rows(path, info)


def test_no_resume_starts_again_and_force_alone_continues(tmp_path: Path) -> None:
    path, info = tmp_path / "out.h5", make_info()
    with OutputRun.open(path, info) as run:
        write_all(run, 3)
    with OutputRun.open(path, info, force=True) as run:
        assert len(run.done) == 3
    with OutputRun.open(path, info, resume=False) as run:
        assert len(run.done) == 0


def test_finishing_can_be_stopped_and_gone_on_with(tmp_path: Path) -> None:
    path, info = tmp_path / "out.h5", make_info()
    asked = iter([True])
    with OutputRun.open(path, info) as run:
        write_all(run)
        run.finish(lambda: next(asked))
        assert not run.finished
    assert os.listdir(tmp_path) == ["out.h5.part"]
    with OutputRun.open(path, info) as run:
        assert len(run.done) == len(info.batches)
        run.finish(lambda: False)
        assert run.finished
    expect_rows(path, info)


def test_a_shard_s_records_are_as_recorded_whatever_the_batch_size_now(tmp_path: Path) -> None:
    first, now = shard_info(2, 3, batch_size=8), shard_info(2, 3, record_start=20, batch_size=5)
    with OutputRun.open(tmp_path / "out.h5", first) as run:
        write_all(run, 1)
    with OutputRun.open(tmp_path / "out.h5", now) as run:
        assert (run.info.record_start, run.info.batch_size, len(run.done)) == (16, 8, 1)


def test_a_kill_after_the_rename_is_a_finished_run(tmp_path: Path, monkeypatch: Any) -> None:
    path, info = tmp_path / "out.h5", make_info()
    with OutputRun.open(path, info) as run:
        write_all(run)
        monkeypatch.setattr(run._part, "clear", lambda: None)
        run.finish()
    before = path.read_bytes()
    assert (tmp_path / "out.h5.part" / "manifest.json").exists()
    with OutputRun.open(path, info) as run:
        assert run.finished
        assert list(run.pending()) == []
        assert run.finish() == path
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["out.h5"]
