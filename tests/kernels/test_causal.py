"""What windows change of all that follows them, beside its definition."""

from __future__ import annotations

import pytest
import torch

from yuzu_cli.kernels import causal

SKIPS = (-60, -7, 0, 5, 19, 45)


def rows_of(seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(20, 2, 3, 1, 4, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("skip", SKIPS)
def test_sums_so_far(skip: int) -> None:
    rows, out = rows_of(0), torch.full((50, 2, 3, 1, 4), torch.nan, dtype=torch.float64)
    causal.deltas_so_far(out, rows, skip)
    for i, row in enumerate(out):
        torch.testing.assert_close(row, rows[: max(0, i + skip + 1)].sum(0))


@pytest.mark.parametrize("most", [1, causal.MOST_TAPS])
@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("skip", SKIPS)
def test_long_taps(skip: int, spectral: bool, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal, "spectral", lambda _rows, _made: spectral)
    monkeypatch.setattr(causal, "MOST_TAPS", most)
    rows, taps = rows_of(1), rows_of(2).reshape(4, -1)[:, :31]
    out = torch.full((50, 2, 3, 1, 4), torch.nan, dtype=torch.float64)
    causal.long_taps(out, rows, taps, skip)
    expected = torch.zeros_like(out)
    for i in range(len(out)):
        for j in range(len(rows)):
            if 0 <= i + skip - j < taps.shape[1]:
                expected[i] += rows[j] * taps[:, i + skip - j]
    torch.testing.assert_close(out, expected)
