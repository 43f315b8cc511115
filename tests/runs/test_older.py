"""Outputs of yuzu 0.1 stay readable, and their shards are merged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.runs import expect_rows, make_info, write_all
from yuzu_cli.errors import OutputError
from yuzu_cli.results.export import ExportOptions, export
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs.info import info
from yuzu_cli.runs.merge import merge
from yuzu_cli.runs.writer import OutputRun

DATA = Path(__file__).parents[1] / "data"
OLD = {"length": 300, "mutate_start": 0, "mutate_end": 280, "created": "2026-01-01"}


def test_an_old_output_reads_as_it_did(tmp_path: Path) -> None:
    path, run = DATA / "version-0.1.h5", make_info(n_records=12, save=("delta", "l2"), **OLD)
    expect_rows(path, run)
    facts = info(path)
    assert (facts["kind"], facts["n_regions"], facts["targets"]) == (
        *("output", 11),
        list(run.targets),
    )
    with open_result(path) as result:
        assert "region" not in result.file, "this file is of before there were labels"
        assert result.row(3).name == "peak-3-é"
    done = export(path, "tsv", tmp_path / "old.tsv", ExportOptions())
    assert done.rows == 11


@pytest.mark.parametrize("link", [False, True])
def test_old_shards_are_merged(tmp_path: Path, link: bool) -> None:
    shards = [
        Path(shutil.copy(DATA / f"version-0.1-shard{i}.h5", tmp_path / f"{i}.h5")) for i in (1, 2)
    ]
    out = merge(shards, tmp_path / "out.h5", link=link)
    expect_rows(out, make_info(n_records=6, **OLD))
    with open_result(out) as result:
        assert list(result.read("region")) == list(result.read("regions/input_index"))


def test_an_old_shard_with_a_hole_is_found(tmp_path: Path) -> None:
    first, second = (
        Path(shutil.copy(DATA / f"version-0.1-shard{i}.h5", tmp_path / f"{i}.h5")) for i in (1, 2)
    )
    with open_result(second) as result:
        place = result.file["scores/delta"].id.get_chunk_info(1)
    data = bytearray(second.read_bytes())
    data[place.byte_offset + 9 : place.byte_offset + place.size] = bytes(place.size - 9)
    second.write_bytes(data)
    with pytest.raises(OutputError, match=r"2\.h5: /scores/delta is damaged at row 1"):
        merge([first, second], tmp_path / "out.h5")


@pytest.mark.parametrize("version", [1, 3])
def test_unfinished_work_of_another_version_is_told(tmp_path: Path, version: int) -> None:
    path = tmp_path / "out.h5"
    part = tmp_path / "out.h5.part"
    part.mkdir()
    manifest = {"format": "yuzu-part", "format_version": version}
    (part / "manifest.json").write_text(json.dumps(manifest))
    (part / "batches-0.log").write_bytes(b"YUZUBAT1")
    told = f"is of format {version}, this yuzu continues 2; use --no-resume"
    with pytest.raises(OutputError, match=told):
        OutputRun.open(path, make_info())
    with OutputRun.open(path, make_info(), resume=False) as run:
        write_all(run)
        run.finish()
    expect_rows(path, make_info())
    assert not part.exists()
