"""Figures of a whole result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.results import Made, make_result
from yuzu_cli.results.streaming import Source
from yuzu_cli.results.summary import EDGES, summarise


def test_summary_is_what_numpy_says(odd: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yuzu_cli.results.streaming._BATCH_BYTES", 4 * 4 * 36 * 3 * 2)
    with Source(odd.path) as source:
        summary = summarise(source, top=2)
    inside = odd.codes[:, 2:38]
    other = inside[:, None] != np.arange(4)[None, :, None]
    real = (other & (inside != 255)[:, None])[:, None] & np.ones((1, 2, 1, 1), bool)
    effects = [odd.delta[:, t][real[:, t]] for t in range(2)]
    for t, values in enumerate(effects):
        assert summary.count == len(values)
        assert summary.lowest[t] == values.min()
        assert summary.highest[t] == values.max()
        np.testing.assert_array_equal(
            summary.sizes[0, t], np.histogram(-values[values < 0].clip(None, -EDGES[0]), EDGES)[0]
        )
        assert summary.sizes[1, t].sum() == (values > 0).sum()
        exact = np.quantile(np.abs(values), 0.9)
        assert exact / 1.1 <= summary.quantile(t, 0.9) <= exact * 1.1
        profile = np.nanmean(np.where(real[:, t], np.abs(odd.delta[:, t]), np.nan), axis=(0, 1))
        np.testing.assert_allclose(summary.profile[t], profile, rtol=1e-6)
    np.testing.assert_allclose(summary.reference_mean, odd.reference.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(summary.reference_sd, odd.reference.std(axis=0), rtol=1e-5)
    size = np.nan_to_num(np.abs(odd.delta))
    for target, top in enumerate(summary.top):
        strength = size[:, target].max(axis=(1, 2))
        assert [found.row for found in top] == np.argsort(-strength)[:2].tolist()
        for found in top:
            assert abs(found.effect) == strength[found.row]
            place = (found.row, target, found.letter, found.position)
            assert (found.target, odd.delta[place]) == (target, found.effect)


def test_overlapping_windows_of_one_site_count_once(tmp_path: Path) -> None:
    delta = np.zeros((3, 1, 4, 8), np.float32)
    delta[0, 0, 0, 5], delta[1, 0, 0, 3], delta[2, 0, 0, 0] = -3, -2, -1
    rows = [("c", 10, 18, "a", "+"), ("c", 11, 19, "b", "-"), ("c", 15, 23, "c", "+")]
    made = make_result(tmp_path / "in.h5", rows, ["CCCCCCCC"] * 3, targets=("t",), delta=delta)
    with Source(made.path) as source:
        # a and b are strongest at base 15, on either strand; c is too.
        assert [found.row for found in summarise(source, top=3).top[0]] == [0]
