"""What is in a run's file, and what is wrong to be given to it."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.runs import (
    ALL,
    WIDE,
    expect_rows,
    make_info,
    make_rows,
    write_all,
    write_file,
)
from yuzu_cli.errors import OutputError
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs.compression import Codec
from yuzu_cli.runs.writer import OutputRun


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"save": ALL}, id="every-score"),
        pytest.param({"dtype": "float16", "save": ("delta", "l2")}, id="float16"),
        pytest.param({"compression": "lzf", **WIDE}, id="lzf"),
        pytest.param({"compression": "none", **WIDE}, id="none"),
        pytest.param(WIDE, id="row-chunks"),
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


def test_a_command_line_need_not_be_text(tmp_path: Path) -> None:
    """Bytes of argv that are no UTF-8 come as halves of surrogate pairs."""
    info = make_info(command="yuzu run -o caf\udce9.h5", config="output: {path: 'caf\udce9.h5'}")
    write_file(tmp_path / "out.h5", info)
    with open_result(tmp_path / "out.h5") as result:
        assert result.attributes["command"] == r"yuzu run -o caf\udce9.h5"


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

    broken = pytest.raises(RuntimeError, match="the thread broke")
    monkeypatch.setattr("yuzu_cli.runs.segment.Segment.append", fail)
    run = OutputRun.open(tmp_path / "out.h5", make_info())
    write_all(run, 1)
    with broken:
        run.finish()
    with broken:
        run.flush()
    run.close()
    assert not (tmp_path / "out.h5").exists()
    with broken, OutputRun.open(tmp_path / "out.h5", make_info()) as run:
        write_all(run, 1)  # and raised on leaving, where no call comes after it


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

    info = make_info(**WIDE)
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
