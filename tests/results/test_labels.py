"""Any reader of HDF5 opens a result; xarray finds the labels of its axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray

from tests.support.runs import make_info, make_rows, small_segments, write_file


@pytest.mark.parametrize("pack", ["yes", "no"])
def test_xarray_opens_a_result_with_labels(
    tmp_path: Path, pack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {"length": 600, "mutate_start": 50, "mutate_end": 550}
    info = make_info(save=("delta", "l2", "contribution"), **wide)
    small_segments(monkeypatch, 200_000)
    path = write_file(tmp_path / "out.h5", info, pack=pack)
    assert (tmp_path / "out.h5.segments").exists() == (pack == "no")
    rows = make_rows(info, 0, info.n_records)
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        delta = tree["scores/delta"]
        assert delta.dims == ("region", "targets", "letter", "position")
        assert tree["scores/l2"].dims == ("region", "letter", "position")
        assert tree["sequences"].dims == ("region", "window")
        assert np.asarray(tree["regions/name"]).tolist() == rows["regions/name"]
        record = int(rows["regions/input_index"][20])
        one = delta.sel(region=record, targets="target 1", letter="G", position=slice(60, 69))
        np.testing.assert_array_equal(one.values, rows["scores/delta"][20, 1, 2, 10:20])
        assert np.asarray(tree["letter"]).tolist() == list("ACGT")
        assert tree.attrs["alphabet"] == "ACGT"
