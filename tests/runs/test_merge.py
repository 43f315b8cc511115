"""Shards to one file: equal to the unsharded one."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from tests.support.runs import (
    WIDE,
    content,
    expect_rows,
    make_hole,
    make_info,
    make_rows,
    shard_info,
    small_segments,
    write_file,
    write_shards,
)
from yuzu_cli.errors import OutputError
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs import pack as pack_module
from yuzu_cli.runs import segments as segments_module
from yuzu_cli.runs.info import info
from yuzu_cli.runs.merge import merge
from yuzu_cli.runs.segment import Segment
from yuzu_cli.runs.writer import OutputRun

CASES = [
    pytest.param(3, {}, id="small-rows"),
    pytest.param(3, WIDE, id="row-chunks"),
    pytest.param(4, {"save": ("delta", "l2", "prediction"), "dtype": "float16"}, id="float16"),
    pytest.param(2, {"compression": "lzf", **WIDE}, id="lzf"),
    pytest.param(2, {"compression": "none", **WIDE}, id="none"),
    pytest.param(1, {}, id="one-shard"),
    pytest.param(8, {"n_records": 5}, id="more-shards-than-records"),
    pytest.param(
        2, {"n_targets": 41, "length": 3000, "mutate_end": 3000, "n_records": 6}, id="cut-targets"
    ),
]


#: Of a merge, and of the unsharded run, another time and another command.
ASIDE = ("created", "command", "config")


@pytest.mark.parametrize(("count", "changes"), CASES)
def test_a_merge_is_the_unsharded_run(tmp_path: Path, count: int, changes: dict[str, Any]) -> None:
    shards = write_shards(tmp_path, count, **changes)
    whole = write_file(tmp_path / "whole.h5", make_info(**changes))
    out = merge(shards[::-1], tmp_path / "out.h5", command="yuzu merge")
    assert content(out, ASIDE) == content(whole, ASIDE)
    with open_result(out) as result:
        assert result.attributes["command"] == "yuzu merge"
        config = yaml.safe_load(result.attributes["config"])
        assert config["run"]["shard"] is None
        assert config["output"]["path"] == str(out)
    assert not (tmp_path / "out.h5.part").exists()


@pytest.mark.parametrize(("count", "changes"), CASES)
def test_a_linked_merge_reads_the_same(
    tmp_path: Path, count: int, changes: dict[str, Any], monkeypatch: Any
) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "elsewhere").mkdir()
    shards = write_shards(tmp_path / "parts", count, **changes)
    out = merge(shards, tmp_path / "linked.h5", link=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    expect_rows(out, make_info(**changes))
    if make_info(**changes).n_records > 5:
        facts = info(out)
        assert facts["datasets"]["/scores/" + facts["scores"][0]]["linked"]
        moved = shutil.copytree(tmp_path, tmp_path.with_name(tmp_path.name + "-moved"))
        for shard in shards:
            shard.unlink()
        expect_rows(moved / "linked.h5", make_info(**changes))
        (moved / "elsewhere" / "name.h5").symlink_to("../linked.h5")
        expect_rows(moved / "elsewhere" / "name.h5", make_info(**changes))
        with pytest.raises(OutputError, match=r"is linked to parts/shard1.h5, which is gone"):
            open_result(out)


@pytest.mark.parametrize("names", [("50%.h5", "%b.h5"), ("%d%%.h5", "%0b%b.h5")])
def test_a_linked_merge_takes_names_as_they_are(tmp_path: Path, names: tuple[str, str]) -> None:
    """To HDF5 `%` in the name of a source begins a pattern."""
    folder = tmp_path / "100%b"
    folder.mkdir()
    shards = [write_file(folder / n, shard_info(i, 2)) for i, n in enumerate(names, 1)]
    out = merge(shards, tmp_path / "out.h5", link=True)
    expect_rows(out, make_info())
    linked = tmp_path / "elsewhere"
    linked.mkdir()
    (linked / "link.h5").symlink_to(out)
    with open_result(linked / "link.h5") as result:
        assert result.n_regions == len(make_rows(make_info(), 0, 50)["regions/chrom"])
    shards[1].unlink()
    with pytest.raises(OutputError, match=r"is linked to 100%b/.*, which is gone"):
        open_result(linked / "link.h5")


@pytest.mark.parametrize("link", [False, True])
def test_shards_that_are_linked_themselves_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: bool
) -> None:
    small_segments(monkeypatch, 100_000)
    shards = [write_file(tmp_path / f"{i}.h5", shard_info(i, 2, **WIDE), pack="no") for i in (1, 2)]
    assert (tmp_path / "1.h5.segments").is_dir()
    out = merge(shards, tmp_path / "out.h5", link=link)
    expect_rows(out, make_info(**WIDE))
    again = merge(shards, tmp_path / "again.h5")
    expect_rows(again, make_info(**WIDE))


def test_a_merge_that_was_broken_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = write_shards(tmp_path, 3, **WIDE)
    monkeypatch.setattr(segments_module, "STEP", 1)
    monkeypatch.setattr(pack_module, "READ", 100_000)
    whole = content(merge(shards, tmp_path / "out.h5", command="yuzu merge"))
    (tmp_path / "out.h5").unlink()
    real, commits = Segment.commit, []

    def commit(self: Segment) -> None:
        real(self)
        commits.append(self.stop)
        if len(commits) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Segment, "commit", commit)
    with pytest.raises(KeyboardInterrupt):
        merge(shards, tmp_path / "out.h5", command="yuzu merge")
    assert not (tmp_path / "out.h5").exists()
    before = len(commits)
    merge(shards, tmp_path / "out.h5", command="yuzu merge")
    assert commits[before] > commits[before - 1], "what was copied is not copied again"
    assert content(tmp_path / "out.h5") == whole


def test_damage_in_what_was_copied_before_a_break_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = make_hole(write_shards(tmp_path, 3, **WIDE))
    monkeypatch.setattr(segments_module, "STEP", 1)
    monkeypatch.setattr(pack_module, "READ", 1)
    real = Segment.commit

    def commit(self: Segment) -> None:
        real(self)
        if self.stop > 24:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "commit", commit)
        with pytest.raises(KeyboardInterrupt):
            merge(shards, tmp_path / "out.h5")
    with pytest.raises(OutputError, match=r"shard2\.h5: /scores/delta is damaged between"):
        merge(shards, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5.part").exists()


def test_errors_are_the_largest_and_devices_all(tmp_path: Path) -> None:
    errors = [math.nan, 3e-6, 1e-6]
    for i, error in enumerate(errors, 1):
        device = "cpu" if i == 2 else "cuda:0"
        shard = shard_info(
            i, 3, verify_max_abs_error=error, verify_max_rel_error=math.nan, device=device
        )
        write_file(tmp_path / f"{i}.h5", shard)
    out = merge([tmp_path / f"{i}.h5" for i in (1, 2, 3)], tmp_path / "out.h5")
    with open_result(out) as result:
        assert result.attributes["verify_max_abs_error"] == 3e-6
        assert math.isnan(result.attributes["verify_max_rel_error"])
        assert result.attributes["device"] == "cpu, cuda:0"
        assert "shard_index" not in result.attributes


def test_shards_of_other_chunks_are_packed_anew(tmp_path: Path) -> None:
    first = write_file(tmp_path / "1.h5", shard_info(1, 2, **WIDE))
    second = write_file(tmp_path / "2.h5", shard_info(2, 2, compression="none", **WIDE))
    out = merge([first, second], tmp_path / "out.h5")
    expect_rows(out, make_info(**WIDE))
    with h5py.File(out) as file:
        assert file["scores/delta"].compression == "gzip"


@pytest.mark.parametrize("nth", [0, 2, 4, 6])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: Any, nth: int) -> None:
    shards = write_shards(tmp_path, 2, **WIDE)
    real, calls = os.pwrite, [0]

    def fail(fd: int, data: bytes, offset: int) -> int:
        calls[0] += 1
        if calls[0] > nth:
            raise OSError(28, "full")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OutputError, match=r"out\.h5\.part(/lock)?: the disk is full"):
        merge(shards, tmp_path / "out.h5")
    assert sorted(os.listdir(tmp_path)) == ["shard1.h5", "shard2.h5"]


def test_what_a_killed_merge_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, 2)
    (tmp_path / "out.h5.part").mkdir()
    (tmp_path / "out.h5.part" / "final-x.tmp").write_bytes(bytes(1000))
    merge(shards, tmp_path / "out.h5")
    assert sorted(os.listdir(tmp_path)) == ["out.h5", "shard1.h5", "shard2.h5"]


def test_rows_dropped_everywhere(tmp_path: Path) -> None:
    paths = []
    for i in (1, 2):
        info_ = shard_info(i, 2)
        with OutputRun.open(tmp_path / f"{i}.h5", info_) as run:
            for batch, start, stop in run.pending():
                run.write(batch, make_rows(info_, start, stop, drop=1 if i == 1 else 7))
            paths.append(run.finish())
    with open_result(merge(paths, tmp_path / "out.h5")) as result:
        index = result.read("regions/input_index")
        assert np.array_equal(index, [i for i in range(25, 50) if i % 7 != 6])
