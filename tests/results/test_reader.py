"""Reading results: rows, names, and a plain word about every file that is not one."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.runs import make_info, make_rows, write_all, write_file
from yuzu_cli.errors import OutputError
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs.info import info
from yuzu_cli.runs.writer import OutputRun

INFO = make_info(save=("delta", "l2", "contribution"), n_targets=3)


@pytest.fixture(scope="module")
def result_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_file(tmp_path_factory.mktemp("result") / "out.h5", INFO)


def test_rows_are_as_written(result_path: Path) -> None:
    rows = make_rows(INFO, 0, 50)
    with open_result(result_path) as result:
        assert len(result) == len(rows["regions/start"]) == 43
        for i, row in enumerate(result):
            assert (row.index, row.chrom, row.name) == (
                i,
                rows["regions/chrom"][i],
                rows["regions/name"][i],
            )
            assert (row.start, row.end) == (rows["regions/start"][i], rows["regions/end"][i])
            assert row.strand == rows["regions/strand"][i].decode()
            assert (row.input_index, row.status) == (
                rows["regions/input_index"][i],
                rows["regions/status"][i],
            )
            np.testing.assert_array_equal(row.codes, rows["sequences"][i])
            np.testing.assert_array_equal(row.reference, rows["reference"][i])
        assert result.row(-1).index == 42


def test_facts_of_the_file(result_path: Path) -> None:
    with open_result(result_path) as result:
        assert result.targets == ["target 0", "target 1", "target 2"]
        assert result.saved == ("delta", "l2", "contribution")
        assert result.sizes == {"N": 43, "T": 3, "A": 4, "L": 30, "M": 20}
        assert (result.mutate_start, result.mutate_end) == (5, 25)
        assert type(result.attributes["mutate_start"]) is int
        assert math.isnan(result.attributes["verify_max_abs_error"])
        assert list(result.attributes)[:2] == ["format", "format_version"]
        assert result.text(np.array([0, 1, 255, 3], np.uint8)) == "ACNT"


@pytest.mark.parametrize(
    ("path", "rows", "targets"),
    [
        pytest.param("scores/delta", 7, 2, id="one"),
        pytest.param("scores/delta", slice(3, 9), slice(1, 3), id="some"),
        pytest.param("scores/contribution", slice(None), 0, id="contribution"),
        pytest.param("reference", slice(2, 4), 1, id="reference"),
    ],
)
def test_only_some_targets(result_path: Path, path: str, rows: Any, targets: Any) -> None:
    wanted = make_rows(INFO, 0, 50)[path]
    with open_result(result_path) as result:
        np.testing.assert_array_equal(
            result.read(path, rows, targets),
            wanted[rows][targets if isinstance(rows, int) else (slice(None), targets)],
        )
        np.testing.assert_array_equal(
            result.scores("l2", 4, 1), make_rows(INFO, 0, 50)["scores/l2"][4]
        )


@pytest.mark.parametrize(
    ("region", "row"),
    [
        pytest.param("peak-10-é", 9, id="name"),
        pytest.param("chr1:100-130", 9, id="place"),
        pytest.param("chr1:1,00-130", 9, id="place-with-commas"),
        pytest.param("chr1:1,07-119", 9, id="place-inside"),
        pytest.param("12", 12, id="number"),
        pytest.param("-1", 42, id="last"),
    ],
)
def test_regions_are_found(result_path: Path, region: str, row: int) -> None:
    with open_result(result_path) as result:
        assert result.find(region) == row


@pytest.mark.parametrize(
    ("region", "error"),
    [
        pytest.param("nothing", "has no region 'nothing'; give a name", id="name"),
        pytest.param("chr9:1-2", "has no region 'chr9:1-2'", id="place"),
        pytest.param("43", "has no row 43; it has 43 rows", id="number"),
        pytest.param("twice", "has 2 regions 'twice'; give a row: 0, 1", id="two"),
    ],
)
def test_regions_that_are_not_one(tmp_path: Path, region: str, error: str) -> None:
    with OutputRun.open(tmp_path / "o.h5", INFO) as run:
        for batch, start, stop in run.pending():
            rows = make_rows(INFO, start, stop)
            if batch == 0:
                rows["regions/name"][:2] = ["twice", "twice"]
            run.write(batch, rows)
        run.finish()
    with open_result(tmp_path / "o.h5") as result, pytest.raises(OutputError, match=error):
        result.find(region)


def test_a_score_that_was_not_saved(result_path: Path) -> None:
    with (
        open_result(result_path) as result,
        pytest.raises(OutputError, match="has no scores/centered; delta, l2, contribution was"),
    ):
        result.read("scores/centered")


def _edit(change: Any) -> Any:
    def make(source: Path, path: Path) -> None:
        path.write_bytes(source.read_bytes())
        with h5py.File(path, "r+") as file:
            change(file)

    return make


def _cut(at: float) -> Any:
    return lambda source, path: path.write_bytes(
        source.read_bytes()[: int(at * source.stat().st_size)]
    )


def _plan(_: Path, path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "yuzu-plan"
        file.attrs["format_version"] = 1
        file.attrs["alpha"] = math.nan


BAD = [
    pytest.param(lambda s, p: None, "there is no such file", id="missing"),
    pytest.param(lambda s, p: p.mkdir(), "is a folder", id="folder"),
    pytest.param(lambda s, p: p.write_text("chr1"), "not an HDF5 file", id="text"),
    pytest.param(lambda s, p: p.write_bytes(b""), "not an HDF5 file", id="empty"),
    pytest.param(_cut(0.5), "is cut short", id="half"),
    pytest.param(_cut(0.999), "is cut short", id="nearly-whole"),
    pytest.param(_cut(0.001), "HDF5 file|cut short", id="stub"),
    pytest.param(_edit(lambda f: f.attrs.pop("format")), "not an output of yuzu", id="foreign"),
    pytest.param(
        _edit(lambda f: f.attrs.modify("format_version", 2)),
        "is of format version 2, this yuzu reads 1; update yuzu",
        id="newer",
    ),
    pytest.param(_edit(lambda f: f.attrs.pop("backend")), "lacks the attribute backend", id="attr"),
    pytest.param(_edit(lambda f: f.pop("reference")), "lacks /reference", id="dataset"),
    pytest.param(
        _edit(lambda f: f.attrs.modify("n_regions", 44)), r"has shape \(43,\), not \(44,\)", id="n"
    ),
]


@pytest.mark.parametrize(("make", "error"), BAD)
def test_what_is_not_a_result(result_path: Path, tmp_path: Path, make: Any, error: str) -> None:
    path = tmp_path / "x.h5"
    make(result_path, path)
    with pytest.raises(OutputError, match=error):
        open_result(path)
    with pytest.raises(OutputError, match=error):
        info(path)


def test_a_plan_is_not_a_result_but_has_info(result_path: Path, tmp_path: Path) -> None:
    _plan(result_path, tmp_path / "plan.h5")
    with pytest.raises(OutputError, match="is a yuzu-plan file, not an output"):
        open_result(tmp_path / "plan.h5")
    facts = info(tmp_path / "plan.h5")
    assert (facts["kind"], facts["alpha"]) == ("plan", None)


def test_damage_inside_is_found_when_read(tmp_path: Path) -> None:
    wide = make_info(length=600, mutate_end=600, n_records=10)
    path = write_file(tmp_path / "out.h5", wide)
    with h5py.File(path) as file:
        place = file["scores/delta"].id.get_chunk_info(4)
    data = bytearray(path.read_bytes())
    data[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    path.write_bytes(data)
    with open_result(path) as result:
        result.scores("delta", 3)
        with pytest.raises(OutputError, match=r"is damaged \(.*\); copy it again"):
            result.scores("delta", 4)


def test_info_of_an_output_is_plain_and_complete(result_path: Path) -> None:
    facts = json.loads(json.dumps(info(result_path), allow_nan=False))
    assert facts["kind"] == "output"
    assert (facts["n_regions"], facts["n_records"], facts["dropped"]) == (43, 50, 7)
    assert facts["verify_max_abs_error"] is None
    assert facts["datasets"]["/scores/delta"]["shape"] == [43, 3, 4, 20]
    assert facts["datasets"]["/scores/delta"]["compression"] == "gzip"
    assert facts["targets"] == ["target 0", "target 1", "target 2"]
    status = make_rows(INFO, 0, 50)["regions/status"]
    assert facts["status"] == {
        "has_unknown": int((status & 1 > 0).sum()),
        "padded": int((status & 2 > 0).sum()),
        "resized": int((status & 4 > 0).sum()),
        "mended_by_naive": int((status & 8 > 0).sum()),
    }


def test_info_of_an_unfinished_run(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    with OutputRun.open(path, INFO) as run:
        write_all(run, 3)
        run.flush()
        facts = info(path)
    assert json.loads(json.dumps(facts, allow_nan=False)) == info(tmp_path / "out.h5.part")
    assert (facts["kind"], facts["batches_done"], facts["batches"]) == ("unfinished", 3, 7)
    assert facts["n_regions"] == 21
    with pytest.raises(OutputError, match="is not finished; run the same command again"):
        open_result(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_file(tmp_path / "out.h5", INFO)
    path.chmod(0)
    with pytest.raises(OutputError, match="may not be read"):
        open_result(path)
