"""Shards that are not one run, or not all of it: a refusal that names the shard at fault."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import pytest

from tests.support.runs import (
    WIDE,
    expect_rows,
    make_hole,
    make_info,
    shard_info,
    write_all,
    write_file,
    write_shards,
)
from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.runs.merge import merge
from yuzu_cli.runs.writer import OutputRun

Change = Callable[[Path, list[Path]], Sequence[Path]]


def _foreign(index: int = 2, **changes: Any) -> Change:
    def change(folder: Path, shards: list[Path]) -> Sequence[Path]:
        write_file(shards[index - 1], shard_info(index, 3, **changes), force=True)
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
    return make_hole(shards)


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
    pytest.param(
        _foreign(1, model_sha256="x"),
        r"shard1\.h5: is of another run than .*shard2\.h5",
        id="model-of-the-first",
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
        _foreign(3, record_stop=40), r"shard3\.h5: the shards end at record 40 of 50", id="end"
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
    wide = WIDE if change is _hole else {}
    shards = change(tmp_path, write_shards(tmp_path, 3, **wide))
    with pytest.raises(OutputError, match=error):
        merge(shards, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
    assert not (tmp_path / "out.h5.part").exists()


def test_a_linked_merge_is_refused_as_well(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="shard 3 of 3 missing"):
        merge(write_shards(tmp_path, 3)[:2], tmp_path / "out.h5", link=True)


def test_no_shards_is_a_mistake() -> None:
    with pytest.raises(UsageError):
        merge([], "out.h5")


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
