"""The soak's own judgement: what it must find wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.programs.soak_cluster import Attempt, compare, held_by

ROWS = 30


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "whole.h5"
    with h5py.File(path, "w") as file:
        file["regions/input_index"] = np.arange(ROWS)
        file["regions/name"] = [f"r{i}" for i in range(ROWS)]
        file["scores/delta"] = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
        for name in ("model_sha256", "input_sha256", "n_regions", "batch_size"):
            file.attrs[name] = name
    return path


def _doubled(file: h5py.File) -> None:
    file["regions/input_index"][7] = 6


def _lost(file: h5py.File) -> None:
    for name in ("regions/input_index", "regions/name", "scores/delta"):
        values = file[name][()]
        del file[name]
        file[name] = values[:-1]


def _last_bit(file: h5py.File) -> None:
    file["scores/delta"][29, 2] = np.nextafter(file["scores/delta"][29, 2], np.float32(9))


def _other_model(file: h5py.File) -> None:
    file.attrs["model_sha256"] = "x"


def _gone(file: h5py.File) -> None:
    del file["scores/delta"]


FAULTS = {
    "a row is doubled": _doubled,
    "29 rows, not 30": _lost,
    "scores/delta: other values": _last_bit,
    "attribute model_sha256: another value": _other_model,
    "scores/delta: another shape, or not there": _gone,
}


@pytest.mark.parametrize(("text", "change"), FAULTS.items(), ids=FAULTS.keys())
def test_a_fault_is_found(whole: Path, text: str, change: Callable[[h5py.File], None]) -> None:
    merged = whole.with_name("merged.h5")
    shutil.copy(whole, merged)
    assert compare(whole, merged, ROWS) == []
    with h5py.File(merged, "r+") as file:
        change(file)
    assert text in compare(whole, merged, ROWS)


def test_growth_of_memory() -> None:
    def growth(memory: list[float]) -> float | None:
        return Attempt("1", 1.0, 0, 0, memory).growth

    assert growth([100.0] * 10) is None
    assert growth([100.0] * 80) == 0
    assert growth([100.0 + i for i in range(80)]) == 40
    assert growth([50.0] * 10 + [100.0] * 70) == 0


def test_whose_lock_it_is(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"%020d\n" % 3 + b'{"pid": 12}')
    assert held_by(tmp_path / "lock", 12)
    assert not held_by(tmp_path / "lock", 13)
    assert not held_by(tmp_path / "none", 12)
