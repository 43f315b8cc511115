"""Damage in unfinished work: it costs batches, never the result."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.runs import (
    WIDE,
    content,
    make_info,
    make_rows,
    small_segments,
    write_all,
    write_file,
)
from yuzu_cli.errors import OutputError
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs.log import read_log
from yuzu_cli.runs.writer import OutputRun


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
    info = make_info(**WIDE)
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
    info = make_info(**WIDE)
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
