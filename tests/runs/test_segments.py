"""A result of many segments: linked to them, or packed into one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import (
    ALL,
    WIDE,
    content,
    expect_rows,
    make_info,
    make_rows,
    small_segments,
    write_all,
    write_file,
)
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs.writer import OutputRun


@pytest.mark.parametrize("pack", ["yes", "no"])
def test_a_result_of_many_segments_reads_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: str
) -> None:
    info = make_info(batch_size=4, n_records=100, save=ALL, **WIDE)
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
    info = make_info(batch_size=4, n_records=60, **WIDE)
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
    info = make_info(batch_size=4, n_records=200, **WIDE)
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


@pytest.mark.parametrize("pack", ["yes", "no"])
def test_segments_that_overlap_give_each_row_once(tmp_path: Path, pack: str) -> None:
    """As when a run that was thought dead has written beside the one that took over."""
    info = make_info(batch_size=4, n_records=60, **WIDE)
    path, part, aside = tmp_path / "out.h5", tmp_path / "out.h5.part", tmp_path / "aside"
    with OutputRun.open(path, info) as run:
        write_all(run, 6)
    aside.mkdir()
    for growing in (*part.glob("*.data"), *part.glob("*.log")):
        growing.rename(aside / growing.name)
    with OutputRun.open(path, info) as run:
        for batch in (*range(5, 15), 0):
            run.write(batch, make_rows(info, *info.batch_records(batch)))
    for growing in (*part.glob("*.data"), *part.glob("*.log")):
        growing.unlink()
    for growing in aside.iterdir():
        growing.rename(part / growing.name)
    with OutputRun.open(path, info, pack=pack) as run:
        assert list(run.pending()) == []
        run.finish()
    expect_rows(path, info)
