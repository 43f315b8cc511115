"""The pieces of the engine: verification, choice of backend, limits, memory, device."""

from __future__ import annotations

import itertools
import logging
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.engine import config, done, fasta, sequences
from tests.support.engine_nets import L, codes, conv, script, seeded
from yuzu_cli import engine
from yuzu_cli.backends import naive as naive_module
from yuzu_cli.backends.base import Block, Settings
from yuzu_cli.backends.naive import Naive, NaiveRunner
from yuzu_cli.engine import choose, limits
from yuzu_cli.engine.device import computing, keep_pages, resolve_device
from yuzu_cli.engine.members import Member, Views
from yuzu_cli.engine.scoring import Scorer, Stopped
from yuzu_cli.engine.summary import duration
from yuzu_cli.errors import ModelError, UsageError
from yuzu_cli.files import size_text
from yuzu_cli.model import Model, load_model

CPU = torch.device("cpu")
POSITIONS = np.arange(L)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_model(script(seeded(conv), tmp_path / "m.pt"), length=L)


class Wrong(NaiveRunner):
    """Naive, but for one mutant in so many."""

    every = 5
    by = 0.01

    def blocks(self, codes: Tensor, positions: np.ndarray) -> Iterator[Block]:
        for block in super().blocks(codes, positions):
            delta = block.delta.clone()
            delta[:: self.every] += self.by
            yield Block(block.index, delta)


class WrongBackend(Naive):
    name = "wrong"

    def prepare(self, model: Model, settings: Settings) -> NaiveRunner:
        return Wrong(model, settings)

    def cost(self, model: Model, settings: Settings, positions: int) -> float:
        return 1.0


class Elsewhere(Naive):
    name = "elsewhere"

    def unsupported(self, model: Model, settings: Settings) -> str | None:
        return "it has a door"

    def cost(self, model: Model, settings: Settings, positions: int) -> float:
        return 0.0


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """naive, one that is wrong and one that takes no model, in place of the real table."""
    monkeypatch.setattr(naive_module, "WrongBackend", WrongBackend, raising=False)
    monkeypatch.setattr(naive_module, "Elsewhere", Elsewhere, raising=False)
    home = "yuzu_cli.backends.naive"
    table = {
        "naive": f"{home}:Naive",
        "wrong": f"{home}:WrongBackend",
        "elsewhere": f"{home}:Elsewhere",
    }
    monkeypatch.setattr("yuzu_cli.backends.BACKENDS", table)
    monkeypatch.setattr("yuzu_cli.engine.choose.BACKENDS", table)


# --- choice of the backend ----------------------------------------------------------------------


@pytest.mark.usefixtures("backends")
def test_auto_takes_the_cheapest_that_takes_the_model(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        choice = choose.choose("auto", [model], Settings(L, CPU), L)
    assert choice.name == "wrong"
    assert "elsewhere is out: it has a door" in caplog.text


@pytest.mark.usefixtures("backends")
def test_a_backend_that_cannot_take_the_model_is_an_error_when_asked_for(model: Model) -> None:
    with pytest.raises(ModelError, match="elsewhere backend cannot take this model: it has a door"):
        choose.choose("elsewhere", [model], Settings(L, CPU), L)


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "batch", "count"),
    [(11, 2, 3), (100, 10, 8), (7, 10, 3), (0, 4, 2), (5, 1, 8), (1000, 32, 1)],
)
def test_shards_share_out_all_records(n: int, batch: int, count: int) -> None:
    ranges = [limits.shard_range(n, batch, (i, count)) for i in range(1, count + 1)]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == n
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
    if n >= batch * count:
        assert all(start % batch == 0 for start, _ in ranges)
    widths = [stop - start for start, stop in ranges]
    assert max(widths) - min(widths) <= 2 * batch


BATCHES: list[tuple[str, dict[str, Any], int]] = [
    ("asked for", {"asked": 7}, 7),
    ("memory", {"host_bytes": limits.HOST_BATCH_BYTES // 5}, 5),
    ("time", {"work": limits.RATE["cpu"] * limits.BATCH_SECONDS / 3}, 3),
    ("at least one", {"host_bytes": 1 << 40, "work": 1e30}, 1),
    ("at most", {}, limits.MAX_BATCH),
    ("shards", {"n_records": 80, "shards": 5}, 4),
]


@pytest.mark.parametrize(
    ("keys", "expected"), [b[1:] for b in BATCHES], ids=[b[0] for b in BATCHES]
)
def test_batch_size(keys: dict[str, Any], expected: int) -> None:
    given = {"asked": "auto", "host_bytes": 1, "work": 1.0, "n_records": 10**6, "shards": 1}
    assert limits.batch_size(**{**given, "device": CPU, **keys}) == expected


def scorer(model: Model, **keys: Any) -> Scorer:
    runner = NaiveRunner(model, Settings(L, CPU), rows=16)
    members = keys.pop("members", [Member(runner)])
    views = Views(L, 0, 4, np.array([3, 2, 1, 0] + [255] * 252, np.uint8))
    return Scorer(members, views, POSITIONS, 3, keys.pop("save", ["delta"]), CPU, **keys)


@pytest.mark.parametrize("save", [["delta"], ["l2"]], ids="+".join)
@pytest.mark.parametrize("budget", [1, 700, 5000])
@pytest.mark.parametrize("members", [1, 2])
def test_little_memory_gives_the_same_scores(
    model: Model, budget: int, save: list[str], members: int
) -> None:
    runner = NaiveRunner(model, Settings(L, CPU), rows=16)
    both = [Member(runner), Member(runner, reverse=True)][:members]
    expected = scorer(model, save=save, members=both).score(codes(4).numpy())
    found = scorer(model, save=save, members=both, budget=budget).score(codes(4).numpy())
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6)


def test_fewer_sequences_at_a_time_when_memory_runs_out(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    class Tight(NaiveRunner):
        def reference(self, codes: Tensor) -> Tensor:
            if len(codes) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().reference(codes)

    expected = scorer(model).score(codes(4).numpy())
    tight = scorer(model, members=[Member(Tight(model, Settings(L, CPU), rows=16))])
    found = tight.score(codes(4).numpy())
    np.testing.assert_allclose(found["delta"], expected["delta"], rtol=1e-4, atol=1e-6)
    assert "at most 1 sequences" in caplog.text


def test_a_batch_is_dropped_between_blocks(model: Model) -> None:
    answers = iter([False, False, True])
    with pytest.raises(Stopped):
        scorer(model, should_stop=lambda: next(answers)).score(codes(4).numpy())


# --- device, precision, text --------------------------------------------------------------------


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    with pytest.raises(UsageError, match="no GPU is visible"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    ("name", "environ", "count", "index"),
    [
        ("auto", {}, 4, 0),
        ("cuda", {}, 4, 0),
        ("cuda", {"LOCAL_RANK": "2"}, 4, 2),
        ("auto", {"LOCAL_RANK": "2"}, 4, 2),
        ("cuda", {"SLURM_LOCALID": "3"}, 4, 3),
        ("cuda", {"SLURM_LOCALID": "5"}, 4, 1),
        # torchrun inside of srun: the launcher that is nearer tells.
        ("cuda", {"LOCAL_RANK": "1", "SLURM_LOCALID": "0"}, 4, 1),
        # One device left by CUDA_VISIBLE_DEVICES, as --gpus-per-task=1 sets it: its number is 0.
        ("cuda", {"SLURM_LOCALID": "3"}, 1, 0),
        ("cuda", {"SLURM_LOCALID": ""}, 4, 0),
        ("cuda:3", {"LOCAL_RANK": "2"}, 4, 3),
        ("cuda:0", {"SLURM_LOCALID": "2"}, 4, 0),
    ],
)
def test_each_task_takes_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, name: str, environ: dict[str, str], count: int, index: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert resolve_device(name, environ) == torch.device("cuda", index)
    with pytest.raises(UsageError, match=f"there are {count}"):
        resolve_device("cuda:4", environ)
    assert resolve_device("cpu", environ) == CPU


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
def test_flags_are_put_back(precision: str) -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic)
    with computing(precision, torch.device("cuda")):
        assert cudnn.allow_tf32 == matmul.allow_tf32 == (precision == "tf32")
        assert cudnn.deterministic
        with cudnn.flags(enabled=False):  # as the first-order backend does for recurrent layers
            pass
    assert (cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic) == before


def test_freed_memory_is_kept_where_the_library_can() -> None:
    assert keep_pages() == (platform.libc_ver()[0] == "glibc")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_runs(tmp_path: Path, precision: str) -> None:
    import h5py

    fasta(tmp_path, sequences(3))
    path = script(seeded(conv), tmp_path / "m.pt")
    for name in ("float32", precision):
        keys = {"output__path": str(tmp_path / f"{name}.h5"), "compute__precision": name}
        done(engine.run(config(tmp_path, [path], compute__backend="naive", **keys)))
    with h5py.File(tmp_path / "float32.h5") as a, h5py.File(tmp_path / f"{precision}.h5") as b:
        assert b["scores/delta"].dtype == np.float32
        np.testing.assert_allclose(b["reference"], a["reference"], atol=0.02)
        assert not np.array_equal(b["reference"], a["reference"])


def test_figures_as_text() -> None:
    assert [duration(s) for s in (3.21, 245, 7384)] == ["3.2 s", "4:05", "2:03:04"]
    assert [size_text(n) for n in (12, 5000, 3.2e9, 2e15)] == [
        "12 bytes",
        "5 kB",
        "3.2 GB",
        "2000 TB",
    ]
