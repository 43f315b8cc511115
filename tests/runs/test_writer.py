"""A run's file: what is in it, how it continues, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.runs import (
    content,
    expect_rows,
    make_info,
    make_rows,
    shard_info,
    small_segments,
    write_all,
    write_file,
)
from yuzu_cli.errors import OutputError
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs.compression import Codec
from yuzu_cli.runs.log import read_log
from yuzu_cli.runs.writer import OutputRun, preflight

ALL = ("delta", "l2", "contribution", "centered", "prediction")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"save": ALL}, id="every-score"),
        pytest.param({"dtype": "float16", "save": ("delta", "l2")}, id="float16"),
        pytest.param({"compression": "lzf", "length": 600, "mutate_end": 600}, id="lzf"),
        pytest.param({"compression": "none", "length": 600, "mutate_end": 600}, id="none"),
        pytest.param({"length": 600, "mutate_end": 600}, id="row-chunks"),
        pytest.param(
            {"n_targets": 41, "length": 3000, "mutate_end": 3000, "n_records": 4}, id="cut-targets"
        ),
        pytest.param({"batch_size": 1}, id="batch-of-one"),
        pytest.param({"batch_size": 500}, id="one-batch"),
        pytest.param({"record_start": 13, "record_stop": 31}, id="ragged-range"),
        pytest.param({"n_records": 1}, id="one-row"),
        pytest.param({"alphabet": "ACDEFGHIKLMNPQRSTVWY"}, id="protein"),
    ],
)
def test_what_goes_in_comes_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    info = make_info(**changes)
    path = write_file(tmp_path / "out.h5", info)
    expect_rows(path, info)
    with h5py.File(path) as file:
        assert list(file["targets"].asstr()[()]) == list(info.targets)
        wanted = info.attributes(len(file["sequences"]))
        assert {k: repr(v) for k, v in wanted.items()} == {
            k: repr(v.item() if isinstance(v, np.generic) else v) for k, v in file.attrs.items()
        }
        if info.compression == "gzip":
            assert file["scores/delta"].compression == "gzip"
    open_result(path).close()
    assert os.listdir(tmp_path) == ["out.h5"]


@pytest.mark.parametrize("n_records", [0, 7])
def test_a_run_without_rows_is_a_whole_file(tmp_path: Path, n_records: int) -> None:
    info = make_info(n_records=n_records)
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        for batch, start, stop in run.pending():
            run.write(batch, make_rows(info, start, stop, drop=1))
        run.finish()
    with open_result(tmp_path / "out.h5") as result:
        assert result.n_regions == 0
        assert result.read("scores/delta").shape == (0, 2, 4, 20)


def test_a_batch_without_rows_may_be_empty(tmp_path: Path) -> None:
    info = make_info(n_records=24)
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        for batch, start, stop in run.pending():
            run.write(batch, {} if batch == 1 else make_rows(info, start, stop))
        run.finish()
    with open_result(tmp_path / "out.h5") as result:
        assert not any(8 <= row.input_index < 16 for row in result)


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


def _config(**lines: str) -> str:
    return "\n".join(f"{key}: {value}" for key, value in lines.items())


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


# --- what stands at the path --------------------------------------------------------------------


def test_a_finished_output_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = write_file(tmp_path / "out.h5", make_info())
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists; use --force to replace it"):
        OutputRun.open(path, make_info())
    assert os.listdir(tmp_path) == ["out.h5"]
    with OutputRun.open(path, make_info(save=("l2",)), force=True) as run:
        write_all(run)
        assert path.read_bytes() == before, "the old file stays until the new one is whole"
        run.finish()
    expect_rows(path, make_info(save=("l2",)))


def _foreign_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = 1


@pytest.mark.parametrize(
    ("make", "what"),
    [
        pytest.param(lambda p: p.write_text(">a\nACGT\n"), "not an output of yuzu", id="fasta"),
        pytest.param(lambda p: p.write_bytes(b""), "not an output of yuzu", id="empty"),
        pytest.param(_foreign_hdf5, "not an output of yuzu", id="other-hdf5"),
        pytest.param(lambda p: p.mkdir(), "not a regular file", id="folder"),
        pytest.param(lambda p: os.mkfifo(p), "not a regular file", id="pipe"),
    ],
)
def test_force_replaces_nothing_but_outputs(tmp_path: Path, make: Any, what: str) -> None:
    path = tmp_path / "out.h5"
    make(path)
    with pytest.raises(OutputError, match=what):
        OutputRun.open(path, make_info(), force=True)
    assert os.listdir(tmp_path) == ["out.h5"]


def test_force_never_replaces_an_input(tmp_path: Path) -> None:
    path = write_file(tmp_path / "out.h5", make_info())
    os.link(path, tmp_path / "plan.h5")
    with pytest.raises(OutputError, match="is an input of this run"):
        OutputRun.open(path, make_info(), force=True, inputs=[tmp_path / "plan.h5"])


def test_a_file_that_came_meanwhile_stays(tmp_path: Path) -> None:
    path, info = tmp_path / "out.h5", make_info()
    with OutputRun.open(path, info) as run:
        write_all(run)
        path.write_text("precious")
        with pytest.raises(OutputError, match="not an output of yuzu"):
            run.finish()
    assert path.read_text() == "precious"
    path.unlink()
    with OutputRun.open(path, info) as run:
        assert list(run.pending()) == []
        run.finish()
    expect_rows(path, info)


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


def test_a_preflight_says_what_opening_would_say(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    preflight(path)
    assert os.listdir(tmp_path) == []
    with pytest.raises(OutputError, match="there is no such folder"):
        preflight(tmp_path / "no" / "out.h5")
    with OutputRun.open(path, make_info()) as run:
        preflight(path)
        write_all(run)
        run.finish()
    with pytest.raises(OutputError, match="exists; use --force"):
        preflight(path)
    preflight(path, force=True)
    with pytest.raises(OutputError, match="is an input"):
        preflight(path, force=True, inputs=[path])


def test_a_shard_s_records_are_as_recorded_whatever_the_batch_size_now(tmp_path: Path) -> None:
    first, now = shard_info(2, 3, batch_size=8), shard_info(2, 3, record_start=20, batch_size=5)
    with OutputRun.open(tmp_path / "out.h5", first) as run:
        write_all(run, 1)
    with OutputRun.open(tmp_path / "out.h5", now) as run:
        assert (run.info.record_start, run.info.batch_size, len(run.done)) == (16, 8, 1)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.h5.part").mkdir()
    (tmp_path / "out.h5.part" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"not yuzu's \(thesis.tex\); move it away"):
        OutputRun.open(tmp_path / "out.h5", make_info(), force=True, resume=False)


def test_what_nfs_keeps_of_an_open_file_is_nobody_s(tmp_path: Path) -> None:
    """A file that is deleted while it is open becomes `.nfs…` there, for some time."""
    part, info = tmp_path / "out.h5.part", make_info()
    part.mkdir()
    (part / ".nfs000000000000b2c100000001").write_bytes(b"")
    write_file(tmp_path / "out.h5", info)
    expect_rows(tmp_path / "out.h5", info)
    assert os.listdir(part) == [".nfs000000000000b2c100000001"]


def test_the_lock_is_deleted_when_nobody_has_it_open(tmp_path: Path, monkeypatch: Any) -> None:
    real, seen = os.unlink, []

    def unlink(path: Any, **options: Any) -> None:
        if os.path.basename(path) == "lock":
            opened = {os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")}
            seen.append(os.path.realpath(path) in opened)
        real(path, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    write_file(tmp_path / "out.h5", make_info())
    assert seen == [False]


def test_a_command_line_need_not_be_text(tmp_path: Path) -> None:
    """Bytes of argv that are no UTF-8 come as halves of surrogate pairs."""
    info = make_info(command="yuzu run -o caf\udce9.h5", config="output: {path: 'caf\udce9.h5'}")
    write_file(tmp_path / "out.h5", info)
    with open_result(tmp_path / "out.h5") as result:
        assert result.attributes["command"] == r"yuzu run -o caf\udce9.h5"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no such folder; create it"):
        OutputRun.open(tmp_path / "no" / "out.h5", make_info())


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out.h5").symlink_to(tmp_path / "scratch" / "real.h5")
    write_file(tmp_path / "out.h5", make_info())
    assert (tmp_path / "out.h5").is_symlink()
    expect_rows(tmp_path / "scratch" / "real.h5", make_info())


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


# --- damage -------------------------------------------------------------------------------------


def _growing(folder: Path, ending: str) -> Path:
    (path,) = (folder / "out.h5.part").glob(f"*{ending}")
    return path


def _flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("ending", [".data", ".log"])
@pytest.mark.parametrize("at", [0.5, 0.77, 0.9, 1.0])
def test_damage_costs_batches_not_the_result(tmp_path: Path, at: float, ending: str) -> None:
    info = make_info(length=600, mutate_end=600)
    whole = write_file(tmp_path / "whole.h5", info)
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        for batch, start, stop in run.pending():
            run.write(batch, make_rows(info, start, stop))
            run.flush()
    _flip(_growing(tmp_path, ending), at)
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        assert len(run.done) < len(info.batches) or at == 1.0
        write_all(run)
        run.finish()
    assert content(tmp_path / "out.h5") == content(whole)


@pytest.mark.parametrize("ending", [".data", ".log"])
def test_a_cut_anywhere_costs_no_more_than_what_it_cuts(tmp_path: Path, ending: str) -> None:
    info = make_info()
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        for batch, start, stop in run.pending():
            run.write(batch, make_rows(info, start, stop))
            run.flush()
    log = _growing(tmp_path, ".log")
    commits = [(facts["end"], end) for facts, end in read_log(log) if "end" in facts]
    assert len(commits) == len(info.batches)
    ends = [commit[ending == ".log"] for commit in commits]
    part, kept = tmp_path / "out.h5.part", tmp_path / "kept"
    shutil.copytree(part, kept)
    for cut in range(0, _growing(tmp_path, ending).stat().st_size, 1009):
        shutil.rmtree(part)
        shutil.copytree(kept, part)
        os.truncate(_growing(tmp_path, ending), cut)
        with OutputRun.open(tmp_path / "out.h5", info) as run:
            assert len(run.done) == sum(end <= cut for end in ends)


def test_a_segment_that_is_damaged_is_found_and_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_segments(monkeypatch, 60_000)
    info = make_info(length=600, mutate_end=600)
    whole = write_file(tmp_path / "whole.h5", info)
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        write_all(run)
        run.flush()
        sealed = sorted((tmp_path / "out.h5.part").glob("*.h5"))
        assert len(sealed) >= 3
        with open_result(sealed[1]) as result:
            place = result.file["scores/delta"].id.get_chunk_info(2)
        data = bytearray(sealed[1].read_bytes())
        data[place.byte_offset + place.size // 2] ^= 0xFF
        sealed[1].write_bytes(data)
        with pytest.raises(OutputError, match=r"is damaged .* run the same command again"):
            run.finish()
    assert not (tmp_path / "out.h5").exists()
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        assert 0 < len(run.done) < len(info.batches)
        write_all(run)
        run.finish()
    assert content(tmp_path / "out.h5") == content(whole)


def test_batches_of_another_run_are_never_taken(tmp_path: Path) -> None:
    """A segment that an earlier run of other settings left in the same folder, as after a crash."""
    path, ours = tmp_path / "out.h5", make_info()
    other = tmp_path / "other.h5"
    with OutputRun.open(other, make_info(model_sha256="n" * 64)) as run:
        write_all(run, 3)
    with OutputRun.open(path, ours) as run:
        write_all(run, 1)
    part = Path(f"{path}.part")
    run_id = json.loads((part / "manifest.json").read_text())["run_id"]
    for ending in (".data", ".log"):
        (foreign,) = Path(f"{other}.part").glob(f"*{ending}")
        shutil.copy(foreign, part / foreign.name)
        shutil.copy(foreign, part / f"{run_id}-000000000000{ending}")
    assert len(list(part.glob("*.log"))) == 3
    with OutputRun.open(path, ours) as run:
        assert run.done == {0}


def test_a_damaged_manifest_is_named_and_no_resume_gets_past_it(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    with OutputRun.open(path, make_info()) as run:
        write_all(run, 1)
    manifest = tmp_path / "out.h5.part" / "manifest.json"
    manifest.write_text(manifest.read_text()[:100])
    with pytest.raises(OutputError, match=r"manifest.json: cannot be read .*--no-resume"):
        OutputRun.open(path, make_info())
    OutputRun.open(path, make_info(), resume=False).close()


def test_a_manifest_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    OutputRun.open(path, make_info()).close()
    manifest = tmp_path / "out.h5.part" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": 3}))
    with pytest.raises(OutputError, match="is of format 3, this yuzu continues 2"):
        OutputRun.open(path, make_info())


# --- mistakes of the caller, failures of the thread ---------------------------------------------


def _broken(change: str) -> dict[str, Any]:
    info = make_info()
    rows = make_rows(info, 0, 8)
    if change == "missing":
        del rows["reference"]
    elif change == "unknown":
        rows["scores/l2"] = rows["scores/delta"]
    elif change == "shape":
        rows["scores/delta"] = rows["scores/delta"][..., 1:]
    elif change == "count":
        rows["regions/chrom"] = rows["regions/chrom"][1:]
    elif change == "records":
        rows["regions/input_index"] = rows["regions/input_index"] + 8
    else:
        rows["regions/input_index"] = rows["regions/input_index"][::-1]
    return rows


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "count", "records", "order"])
def test_wrong_rows_are_a_mistake_of_the_caller(tmp_path: Path, change: str) -> None:
    with OutputRun.open(tmp_path / "out.h5", make_info()) as run:
        with pytest.raises(ValueError):
            run.write(0, _broken(change))
        write_all(run)
        run.finish()


@pytest.mark.parametrize("batch", [-1, 0, 7, 99])
def test_a_batch_is_written_once(tmp_path: Path, batch: int) -> None:
    info = make_info()
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        write_all(run, 1)
        with pytest.raises(ValueError, match="written already or is not of this run"):
            run.write(batch, make_rows(info, 0, 8))
        with pytest.raises(ValueError, match="batch 1 has not been written"):
            run.finish()


def test_a_value_too_large_for_float16_is_an_error(tmp_path: Path) -> None:
    info = make_info(dtype="float16")
    rows = make_rows(info, 0, 8)
    rows["scores/delta"][0, 0, 0, 3] = -7e4
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        with pytest.raises(OutputError, match=r"7e\+04 does not fit float16; set score.dtype"):
            run.write(0, rows)
        rows["scores/delta"][0, 0, 0, 3] = math.inf
        run.write(0, rows)


def test_a_failure_of_the_writer_is_the_run_s(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the thread broke")

    monkeypatch.setattr("yuzu_cli.runs.segment.Segment.append", fail)
    run = OutputRun.open(tmp_path / "out.h5", make_info())
    write_all(run, 1)
    with pytest.raises(RuntimeError, match="the thread broke"):
        run.finish()
    with pytest.raises(RuntimeError, match="the thread broke"):
        run.flush()
    run.close()
    assert not (tmp_path / "out.h5").exists()


def test_a_failure_after_the_last_call_is_raised_on_leaving(
    tmp_path: Path, monkeypatch: Any
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the thread broke")

    monkeypatch.setattr("yuzu_cli.runs.segment.Segment.append", fail)
    with (
        pytest.raises(RuntimeError, match="the thread broke"),
        OutputRun.open(tmp_path / "out.h5", make_info()) as run,
    ):
        write_all(run, 1)


def test_a_batch_is_compressed_while_the_one_before_is_synced(
    tmp_path: Path, monkeypatch: Any
) -> None:
    syncing, packing = threading.Event(), threading.Event()
    sync, encode = os.fsync, Codec.encode

    def slow_sync(fd: int) -> None:
        syncing.set()
        assert packing.wait(30), "the disk was waited for"
        sync(fd)

    def told_encode(self: Codec, block: np.ndarray) -> Any:
        packing.set()
        return encode(self, block)

    info = make_info(length=600, mutate_end=600)
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        write_all(run, 1)
        run.flush()
        monkeypatch.setattr(os, "fsync", slow_sync)
        write_all(run, 1)
        assert syncing.wait(30)
        monkeypatch.setattr(Codec, "encode", told_encode)
        write_all(run)
        run.finish()
    expect_rows(tmp_path / "out.h5", info)


@pytest.mark.parametrize("pack", ["yes", "no"])
def test_a_result_of_many_segments_reads_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: str
) -> None:
    wide = {"length": 600, "mutate_end": 600}
    info = make_info(batch_size=4, n_records=100, save=ALL, **wide)
    whole = write_file(tmp_path / "whole.h5", info)
    small_segments(monkeypatch, 500_000)
    with OutputRun.open(tmp_path / "out.h5", info, pack=pack) as run:
        write_all(run)
        run.flush()
        count = len(list((tmp_path / "out.h5.part").glob("*.h5")))
        assert 4 <= count <= 12, "far fewer than batches"
        run.finish()
    expect_rows(tmp_path / "out.h5", info)
    names = {"out.h5", "whole.h5"} | ({"out.h5.segments"} if pack == "no" else set())
    assert set(os.listdir(tmp_path)) == names
    if pack == "yes":
        assert content(tmp_path / "out.h5") == content(whole)
        return
    parts = sorted((tmp_path / "out.h5.segments").iterdir())
    with open_result(tmp_path / "out.h5") as result:
        assert result.file["scores/delta"].is_virtual
        assert result.attributes == {
            **info.attributes(result.n_regions),
            "created": result.attributes["created"],
        } | {k: v for k, v in result.attributes.items() if v != v}
    for path in parts:
        with open_result(path) as result:
            assert result.n_regions, "each segment is a result by itself"


def test_a_linked_result_is_replaced_with_all_that_belongs_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_segments(monkeypatch, 200_000)
    info = make_info(batch_size=4, n_records=60, length=600, mutate_end=600)
    path = tmp_path / "out.h5"
    write_file(path, info, pack="no")
    old = set(os.listdir(tmp_path / "out.h5.segments"))
    write_file(path, info, pack="no", force=True)
    new = set(os.listdir(tmp_path / "out.h5.segments"))
    assert new
    assert not new & old
    expect_rows(path, info)
    write_file(path, info, pack="yes", force=True)
    assert os.listdir(tmp_path) == ["out.h5"]
    expect_rows(path, info)


def test_packing_frees_what_it_has_copied_and_goes_on_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = make_info(batch_size=4, n_records=200, length=600, mutate_end=600)
    whole = write_file(tmp_path / "whole.h5", info)
    small_segments(monkeypatch, 200_000)
    part = tmp_path / "out.h5.part"

    def on_disk() -> int:
        return sum(path.stat().st_size for path in part.iterdir())

    with OutputRun.open(tmp_path / "out.h5", info) as run:
        write_all(run)
    count, before, peaks = len(list(part.glob("*.h5"))), on_disk(), []
    stops = 0
    while not (tmp_path / "out.h5").exists():
        asked = iter(range(100))

        def stop(asked: Any = asked) -> bool:
            peaks.append(on_disk())
            return next(asked) == 6

        with OutputRun.open(tmp_path / "out.h5", info) as run:
            assert list(run.pending()) == []
            run.finish(stop)
            stops += not run.finished
    assert stops >= 2, f"{count} segments were copied at once"
    assert max(peaks) < 1.25 * before, "the result and one segment, never all of it twice"
    assert content(tmp_path / "out.h5") == content(whole)
    assert sorted(os.listdir(tmp_path)) == ["out.h5", "whole.h5"]
