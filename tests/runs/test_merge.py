"""Shards to one file: equal to the unsharded one, or a refusal that names the shard at fault."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

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
from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs import pack as pack_module
from yuzu_cli.runs import segments as segments_module
from yuzu_cli.runs.info import info
from yuzu_cli.runs.merge import merge
from yuzu_cli.runs.segment import Segment
from yuzu_cli.runs.writer import OutputRun


def write_shards(folder: Path, count: int, **changes: Any) -> list[Path]:
    return [
        write_file(folder / f"shard{i}.h5", shard_info(i, count, **changes))
        for i in range(1, count + 1)
    ]


CASES = [
    pytest.param(3, {}, id="small-rows"),
    pytest.param(3, {"length": 600, "mutate_end": 600}, id="row-chunks"),
    pytest.param(4, {"save": ("delta", "l2", "prediction"), "dtype": "float16"}, id="float16"),
    pytest.param(2, {"compression": "lzf", "length": 600, "mutate_end": 600}, id="lzf"),
    pytest.param(2, {"compression": "none", "length": 600, "mutate_end": 600}, id="none"),
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
    wide = {"length": 600, "mutate_end": 600}
    small_segments(monkeypatch, 100_000)
    shards = [write_file(tmp_path / f"{i}.h5", shard_info(i, 2, **wide), pack="no") for i in (1, 2)]
    assert (tmp_path / "1.h5.segments").is_dir()
    out = merge(shards, tmp_path / "out.h5", link=link)
    expect_rows(out, make_info(**wide))
    again = merge(shards, tmp_path / "again.h5")
    expect_rows(again, make_info(**wide))


def test_a_merge_that_was_broken_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {"length": 600, "mutate_end": 600}
    shards = write_shards(tmp_path, 3, **wide)
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
    shards = _hole(tmp_path, write_shards(tmp_path, 3, length=600, mutate_end=600))
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
    wide = {"length": 600, "mutate_end": 600}
    first = write_file(tmp_path / "1.h5", shard_info(1, 2, **wide))
    second = write_file(tmp_path / "2.h5", shard_info(2, 2, compression="none", **wide))
    out = merge([first, second], tmp_path / "out.h5")
    expect_rows(out, make_info(**wide))
    with h5py.File(out) as file:
        assert file["scores/delta"].compression == "gzip"


# --- refusals -----------------------------------------------------------------------------------

Change = Callable[[Path, list[Path]], Sequence[Path]]


def _foreign(**changes: Any) -> Change:
    def change(folder: Path, shards: list[Path]) -> Sequence[Path]:
        shards[1].unlink()
        write_file(shards[1], shard_info(2, 3, **changes))
        return shards

    return change


def _edited(edit: Callable[[h5py.File], Any]) -> Change:
    def change(folder: Path, shards: list[Path]) -> Sequence[Path]:
        with h5py.File(shards[1], "r+") as file:
            edit(file)
        return shards

    return change


def _doubled(folder: Path, shards: list[Path]) -> Sequence[Path]:
    shutil.copy(shards[1], folder / "copy.h5")
    return [*shards, folder / "copy.h5"]


def _cut(folder: Path, shards: list[Path]) -> Sequence[Path]:
    shards[1].write_bytes(shards[1].read_bytes()[:-1000])
    return shards


def _hole(folder: Path, shards: list[Path]) -> Sequence[Path]:
    with h5py.File(shards[1]) as file:
        place = file["scores/delta"].id.get_chunk_info(3)
    data = bytearray(shards[1].read_bytes())
    data[place.byte_offset + 9 : place.byte_offset + place.size] = bytes(place.size - 9)
    shards[1].write_bytes(data)
    return shards


def _unfinished(folder: Path, shards: list[Path]) -> Sequence[Path]:
    shards[1].unlink()
    with OutputRun.open(shards[1], shard_info(2, 3)) as run:
        write_all(run, 1)
    return shards


def _swap(file: h5py.File) -> None:
    index = file["regions/input_index"]
    index[2], index[3] = index[3], index[2]


def _repeat(file: h5py.File) -> None:
    file["regions/input_index"][3] = file["regions/input_index"][2]


REFUSALS = [
    pytest.param(lambda f, s: [s[0], s[2]], "merge: shard 2 of 3 missing", id="missing"),
    pytest.param(lambda f, s: s[:1], "shards 2, 3 of 3 missing", id="two-missing"),
    pytest.param(_doubled, r"copy\.h5: is shard 2 of 3, and so is .*shard2\.h5", id="doubled"),
    pytest.param(lambda f, s: [*s, s[0]], r"shard1\.h5: is shard 1 of 3, and so is", id="twice"),
    pytest.param(_cut, r"shard2\.h5: is cut short", id="truncated"),
    pytest.param(_hole, r"shard2\.h5: /scores/delta is damaged between rows 0 and", id="hole"),
    pytest.param(_unfinished, r"shard2\.h5: is not finished", id="unfinished"),
    pytest.param(
        _foreign(model_sha256="x"),
        r"shard2\.h5: is of another run than .*shard1\.h5: model is x here and there mmm",
        id="model",
    ),
    pytest.param(_foreign(input_sha256="x"), r"shard2\.h5: .*input is x here", id="input"),
    pytest.param(_foreign(backend="taylor"), r"shard2\.h5: .*backend is taylor", id="backend"),
    pytest.param(_foreign(n_records=51), r"shard2\.h5: .*number of records is 51", id="records"),
    pytest.param(
        _foreign(config="score: {reduce: sum}"), r"shard2\.h5: .*score.reduce is sum", id="config"
    ),
    pytest.param(_foreign(dtype="float16"), r"shard2\.h5: .*score.dtype is", id="dtype"),
    pytest.param(_foreign(save=("l2",)), r"shard2\.h5: .*score.save is", id="scores"),
    pytest.param(
        _foreign(record_start=18), r"shard2\.h5: begins at record 18, not at 16", id="gap"
    ),
    pytest.param(
        _foreign(record_stop=32), r"shard3\.h5: begins at record 33, not at 32", id="gap-after"
    ),
    pytest.param(
        _edited(_swap), r"shard2\.h5: has rows that are doubled, out of order", id="order"
    ),
    pytest.param(_edited(_repeat), r"shard2\.h5: has rows that are doubled", id="double-row"),
    pytest.param(
        lambda f, s: [*s[:2], write_file(f / "whole.h5", make_info())],
        r"whole\.h5: is not a shard: it is a whole run",
        id="whole",
    ),
    pytest.param(lambda f, s: [*s[:2], f / "no.h5"], r"no\.h5: there is no such file", id="absent"),
]


@pytest.mark.parametrize(("change", "error"), REFUSALS)
def test_refusals_name_the_shard(tmp_path: Path, change: Change, error: str) -> None:
    wide = {"length": 600, "mutate_end": 600} if change is _hole else {}
    shards = change(tmp_path, write_shards(tmp_path, 3, **wide))
    with pytest.raises(OutputError, match=error):
        merge(shards, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
    assert not (tmp_path / "out.h5.part").exists()


def test_a_linked_merge_is_refused_as_well(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="shard 3 of 3 missing"):
        merge(write_shards(tmp_path, 3)[:2], tmp_path / "out.h5", link=True)


def test_the_odd_one_out_is_named_though_it_comes_first(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, 3)
    shards[0].unlink()
    write_file(shards[0], shard_info(1, 3, model_sha256="x"))
    with pytest.raises(OutputError, match=r"shard1\.h5: is of another run than .*shard2\.h5"):
        merge(shards, tmp_path / "out.h5")


def test_no_shards_is_a_mistake() -> None:
    with pytest.raises(UsageError):
        merge([], "out.h5")


def test_the_last_records_missing(tmp_path: Path) -> None:
    for i, stop in ((1, 25), (2, 40)):
        write_file(tmp_path / f"{i}.h5", shard_info(i, 2, record_stop=stop))
    with pytest.raises(OutputError, match=r"2\.h5: the shards end at record 40 of 50"):
        merge([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "out.h5")


def test_an_output_is_replaced_only_by_force_and_a_shard_never(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, 2)
    out = write_file(tmp_path / "out.h5", make_info(save=("l2",)))
    with pytest.raises(OutputError, match="exists; use --force"):
        merge(shards, out)
    assert not (tmp_path / "out.h5.part").exists()
    merge(shards, out, force=True)
    expect_rows(out, make_info())
    with pytest.raises(OutputError, match="is an input of this run"):
        merge(shards, shards[0], force=True)


def test_an_unfinished_run_at_the_path_is_left_alone(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, 2)
    with OutputRun.open(tmp_path / "out.h5", make_info()) as run:
        write_all(run, 2)
    with pytest.raises(OutputError, match="an unfinished run is there"):
        merge(shards, tmp_path / "out.h5", force=True)
    with OutputRun.open(tmp_path / "out.h5", make_info()) as run:
        assert len(run.done) == 2


@pytest.mark.parametrize("nth", [0, 2, 4, 6])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: Any, nth: int) -> None:
    shards = write_shards(tmp_path, 2, length=600, mutate_end=600)
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
