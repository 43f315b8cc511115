"""Results that several files of tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.results import Made, make_result, odd_result, random_sequences

SIZES = "chr2\t105\nchr10\t40\nchr1\t250\n"


@pytest.fixture
def mixed(tmp_path: Path) -> Made:
    """Five windows of 12 on two chromosomes: overlapping, minus strand, an N, one padded."""
    sequences = random_sequences(5, 12)
    sequences[2] = sequences[2][:4] + "N" + sequences[2][5:]
    sequences[4] = "NNN" + sequences[4][3:]
    rows = [
        ("chr2", 100, 112, "a", "+"),
        ("chr1", 50, 62, "b", "-"),
        ("chr1", 56, 68, "c", "+"),
        ("chr1", 200, 212, "d", "."),
        ("chr2", -3, 9, "e", "+"),
    ]
    path = tmp_path / "in.h5"
    return make_result(path, rows, sequences, mutate=(2, 11), status=[0, 0, 0, 0, 2])


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    path = tmp_path / "sizes.tsv"
    path.write_text(SIZES)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Made:
    """Three windows of 30; the second is on the minus strand and has an N."""
    sequences = random_sequences(3, 30)
    sequences[1] = "ACN" + sequences[1][3:]
    rows = [("chr1", 100, 130, "a", "+"), ("chr1", 200, 230, "b/c", "-"), ("r", 0, 30, "", ".")]
    return make_result(tmp_path / "in.h5", rows, sequences, targets=("one", "$two"), mutate=(0, 28))


@pytest.fixture
def odd(tmp_path: Path) -> Made:
    return odd_result(tmp_path / "in.h5")
