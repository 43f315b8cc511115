"""Scores that were not saved, and targets by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.results import make_result
from yuzu_cli.results.derived import STATISTICS, derive, source_of
from yuzu_cli.results.streaming import Source


@pytest.mark.parametrize("want", STATISTICS)
@pytest.mark.parametrize("have", ["delta", "centered", "prediction"])
def test_a_score_is_derived_from_any_full_one(tmp_path: Path, want: str, have: str) -> None:
    rows = [("chr1", 0, 20, "x", "+")]
    sequences = ["ACGTNACGTACGTACGTNGA"]
    every = make_result(tmp_path / "all.h5", rows, sequences, save=STATISTICS)
    make_result(tmp_path / "one.h5", rows, sequences, save=(have,))
    with Source(every.path) as full, Source(tmp_path / "one.h5") as one:
        expected = full.values(want, slice(0, 1), [0, 1])
        np.testing.assert_allclose(one.values(want, slice(0, 1), [0, 1]), expected, atol=2e-6)
        assert np.isnan(expected).any()


def test_derive_prefers_what_was_saved() -> None:
    assert source_of("contribution", ("delta", "contribution")) == "contribution"
    assert source_of("l2", ("centered", "contribution")) == "centered"
    values = np.ones((1, 1, 4, 3), np.float16)
    out = derive("delta", "delta", values, np.zeros((1, 3), np.uint8), np.zeros((1, 1)))
    assert out.dtype == np.float32


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ((), [0, 1, 2]),
        (("2", "0"), [2, 0]),
        (("open", "open"), [1]),
        (("1",), [0]),
        (("2,0",), [2, 0]),
        (("1-2", "0"), [1, 2, 0]),
    ],
    ids=["all", "order kept", "name, once", "a name that is a number wins", "list", "range"],
)
def test_targets_by_index_or_name(
    tmp_path: Path, wanted: tuple[str, ...], indices: list[int]
) -> None:
    rows = [("c", 0, 8, "x", "+")]
    made = make_result(tmp_path / "in.h5", rows, ["ACGTACGT"], targets=("1", "open", "deep"))
    with Source(made.path) as source:
        assert source.choose(wanted) == indices
        got = source.values("delta", slice(0, 1), indices)
        np.testing.assert_array_equal(got, made.delta[:, indices])
