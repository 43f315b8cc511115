"""What all exports share: what they refuse, replace, and leave when they fail."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.results import Made, make_result, random_sequences
from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.results.export import FORMATS, ExportOptions, export
from yuzu_cli.results.streaming import Source


@pytest.mark.parametrize("have", ["contribution", "l2"])
def test_nothing_is_made_up_from_a_score_that_lost_too_much(tmp_path: Path, have: str) -> None:
    made = make_result(tmp_path / "in.h5", [("c", 0, 8, "x", "+")], ["ACGTACGT"], save=(have,))
    with pytest.raises(OutputError, match=f"centered is needed here, and {have} was saved"):
        export(made.path, "modisco", tmp_path / "m", ExportOptions(targets=("0",)))
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("wanted", [("none",), ("7",), ("-1",), ("0-2",), ("0,x",), ()])
def test_a_target_that_is_not_there_or_not_clear(mixed: Made, wanted: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="first, second"):
        export(mixed.path, "modisco", mixed.path.parent / "m", ExportOptions(targets=wanted))


def out_of(to: str, folder: Path) -> Path:
    return folder / ("m" if to == "modisco" else f"out.{'h5' if to != 'npz' else 'npz'}")


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_replaces_only_when_told(
    to: str, mixed: Made, tmp_path: Path, sizes: Path
) -> None:
    out = out_of(to, tmp_path / "o")
    options = ExportOptions(targets=("first",), chrom_sizes=sizes)
    first = export(mixed.path, to, out, options)
    before = {path: path.read_bytes() for path in first.paths}
    with pytest.raises(OutputError, match="exists already; --force replaces it"):
        export(mixed.path, to, out, options)
    again = ExportOptions(targets=("first",), chrom_sizes=sizes, force=True)
    export(mixed.path, to, out, again)
    assert {path: path.read_bytes() for path in first.paths} == before
    left = [path for path in (tmp_path / "o").rglob("*") if path.is_file()]
    assert sorted(left) == sorted(first.paths)


@pytest.mark.parametrize("to", FORMATS)
def test_a_failed_export_leaves_nothing(
    to: str, mixed: Made, tmp_path: Path, sizes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> np.ndarray:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Source, "values", fail)
    options = ExportOptions(targets=("first",), chrom_sizes=sizes)
    with pytest.raises(OutputError, match="the disk is full"):
        export(mixed.path, to, out_of(to, tmp_path / "o"), options)
    assert [path for path in (tmp_path / "o").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("to", ["chrombpnet", "basenji"])
def test_a_disk_that_fills_up_under_hdf5_is_an_error(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 left to itself crashes the process here."""
    rows = [("c", i * 400, i * 400 + 400, f"r{i}", "+") for i in range(30)]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(30, 400), targets=("first",))
    room = 20_000
    write = os.pwrite

    def limited(fd: int, data: bytes, offset: int) -> int:
        if offset + len(data) > room:
            raise OSError(28, "No space left on device")
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", limited)
    with pytest.raises(OutputError, match="the disk is full"):
        export(made.path, to, tmp_path / "o.h5")
    assert list(tmp_path.iterdir()) == [made.path]


@pytest.mark.parametrize("to", FORMATS)
def test_a_result_without_rows_is_exported(to: str, tmp_path: Path, sizes: Path) -> None:
    path = tmp_path / "in.h5"
    make_result(path, [], [], targets=("first",))
    done = export(path, to, out_of(to, tmp_path / "o"), ExportOptions(chrom_sizes=sizes))
    assert done.rows == 0
    assert all(out.exists() for out in done.paths)


def test_what_cannot_be_exported(tmp_path: Path, mixed: Made) -> None:
    with pytest.raises(UsageError, match="unknown format 'bed'"):
        export(mixed.path, "bed", tmp_path / "o")
    with pytest.raises(UsageError, match="is the result itself"):
        export(mixed.path, "npz", mixed.path, ExportOptions(force=True))
    with pytest.raises(OutputError, match="no such file"):
        export(tmp_path / "none.h5", "npz", tmp_path / "o")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(OutputError, match="not an HDF5 file"):
        export(tmp_path / "text.h5", "npz", tmp_path / "o")


@pytest.mark.parametrize("to", ["modisco", "bedgraph", "npz"])
def test_memory_does_not_grow_with_rows(to: str, tmp_path: Path) -> None:
    """The largest array held is that of a batch: batches of one row here, and never all of them."""
    made = make_result(
        tmp_path / "in.h5",
        [("c", i * 10, i * 10 + 8, "x", "+") for i in range(40)],
        random_sequences(40, 8),
        targets=("t",),
    )
    asked: list[int] = []
    original = Source.values

    def spy(self: Source, statistic: str, rows: slice, targets: list[int]) -> np.ndarray:
        asked.append(rows.stop - rows.start)
        return original(self, statistic, rows, targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "values", spy)
        patch.setattr("yuzu_cli.results.streaming._BATCH_BYTES", 4 * 4 * 8 * 3)
        export(made.path, to, tmp_path / "o.npz")
    assert asked == [3] * 13 + [1]
