"""A backend that raises, or gives no number, costs time and not the run: naive computes those."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.card_runs import computing_on_card
from tests.support.engine import config, done, fasta, sequences
from tests.support.engine_nets import L, conv, script, seeded
from yuzu_cli import engine
from yuzu_cli.backends import naive as naive_module
from yuzu_cli.backends.base import Block, Settings
from yuzu_cli.backends.naive import Naive, NaiveRunner
from yuzu_cli.model import Model

CPU = torch.device("cpu")
FAULTS = (
    "unsupported",
    "cost",
    "prepare",
    "reference",
    "first block",
    "later block",
    "delta",
    "squares",
    "nan output",
    "nan deltas",
)


class Faulty(NaiveRunner):
    """Naive by another name, but for its fault, from some call on."""

    fault = ""
    calls = 0
    healthy = 0

    def due(self, fault: str) -> bool:
        return self.fault == fault and self.calls > self.healthy

    def reference(self, codes: Tensor) -> Tensor:
        self.calls += 1
        outputs = super().reference(codes)
        if self.due("reference"):
            raise KeyError("select")
        if self.due("nan output"):
            self.outputs = outputs * torch.nan
            return self.outputs
        return outputs

    def blocks(self, codes: Tensor, positions: np.ndarray) -> Iterator[Block]:
        if self.due("first block"):
            raise IndexError("no step for upsample")
        for number, block in enumerate(super().blocks(codes, positions)):
            if number and self.due("later block"):
                raise RuntimeError("")
            yield Block(block.index, *self.lazy(block))

    def lazy(self, block: Block) -> tuple[Any, None, Any]:
        def delta() -> Tensor:
            if self.due("delta"):
                raise ValueError("of an odd shape")
            values = block.delta.clone()
            if self.due("nan deltas"):
                values[::7] = torch.nan
            return values

        def squares() -> Tensor:
            if self.due("squares"):
                raise ValueError("of an odd shape")
            return delta().square().sum(1)

        return delta, None, squares


class FaultyBackend(Naive):
    name = "windowed"
    fault, healthy = "", 0

    def unsupported(self, model: Model, settings: Settings) -> str | None:
        if self.fault == "unsupported":
            raise KeyError("select")
        return None

    def cost(self, model: Model, settings: Settings, positions: int) -> float:
        if self.fault == "cost":
            raise ZeroDivisionError("division by zero")
        return 1.0

    def prepare(self, model: Model, settings: Settings) -> NaiveRunner:
        if self.fault == "prepare":
            raise TypeError("a layer of no kind")
        runner = Faulty(model, settings, rows=16)
        runner.fault, runner.healthy = self.fault, self.healthy
        return runner


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> type[FaultyBackend]:
    """naive and one with a fault, in place of the real table."""
    monkeypatch.setattr(naive_module, "FaultyBackend", FaultyBackend, raising=False)
    monkeypatch.setattr(FaultyBackend, "fault", "")
    monkeypatch.setattr(FaultyBackend, "healthy", 0)
    home = "yuzu_cli.backends.naive"
    table = {"naive": f"{home}:Naive", "windowed": f"{home}:FaultyBackend"}
    monkeypatch.setattr("yuzu_cli.backends.BACKENDS", table)
    monkeypatch.setattr("yuzu_cli.engine.choose.BACKENDS", table)
    return FaultyBackend


def both(
    folder: Path, card: bool = False, **keys: Any
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Summary and content of a run of the backend asked for, and the content of naive's."""
    fasta(folder, sequences(5))
    path = script(seeded(conv), folder / "m.pt")
    asked = {"compute__backend": "auto"} | keys

    def found(**where: Any) -> tuple[Any, dict[str, Any]]:
        out = folder / f"{where['compute__backend']}.h5"
        summary = done(engine.run(config(folder, [path], **where, output__path=str(out))))
        with h5py.File(out) as file:
            content = {f"scores/{key}": file[f"scores/{key}"][()] for key in file["scores"]}
            content |= {key: file[key][()] for key in ("reference", "regions/status")}
            return summary, content | {"mended": file.attrs["n_mended"]}

    plain = asked | {"compute__backend": "naive", "compute__device": "cpu"}
    if (key := repr(sorted(plain.items()))) not in TRUE:
        TRUE[key] = found(**plain)[1]
    with computing_on_card() if card else contextlib.nullcontext():
        return *found(**asked, compute__device="cuda:0" if card else "cpu"), TRUE[key]


TRUE: dict[str, dict[str, Any]] = {}
"""What naive finds, by settings: it is the same beside every fault."""


def same(found: dict[str, Any], true: dict[str, Any]) -> None:
    for name in true:
        if name not in ("mended", "regions/status"):
            np.testing.assert_allclose(found[name], true[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found["regions/status"] & 7, true["regions/status"])


@pytest.mark.falls_back
@pytest.mark.parametrize("backend", ["auto", "windowed"])
@pytest.mark.parametrize("fault", FAULTS)
def test_naive_takes_over_before_the_run(
    fault: str,
    backend: str,
    tmp_path: Path,
    faulty: type[FaultyBackend],
    caplog: pytest.LogCaptureFixture,
) -> None:
    faulty.fault = fault
    save = ["l2"] if fault == "squares" else ["delta", "l2"]
    summary, found, true = both(tmp_path, compute__backend=backend, score__save=save)
    assert summary.backend == ("naive")
    assert (summary.mended, found["mended"]) == (0, 0)
    same(found, true)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "the windowed backend" in warning
    assert warning.endswith("naive is used instead")


RUNNING = ("reference", "first block", "later block", "nan output", "nan deltas")
WITHIN = [
    # What is asked for of a block: norms where nothing else is saved, else its deltas.
    (fault, save, averaged, card)
    for averaged, card in ((False, False), (True, False), (False, True), (True, True))
    for save in (["delta"], ["l2"], ["delta", "l2"])
    if not card or (averaged, save) in [(False, ["l2"]), (False, ["delta"]), (True, ["delta"])]
    for fault in (*RUNNING, "squares" if save == ["l2"] and not averaged else "delta")
]


@pytest.mark.falls_back
@pytest.mark.parametrize(
    ("fault", "save", "averaged", "card"),
    WITHIN,
    ids=lambda x: "+".join(x) if isinstance(x, list) else None,
)
def test_naive_takes_over_within_the_run(
    fault: str,
    save: list[str],
    averaged: bool,
    card: bool,
    tmp_path: Path,
    faulty: type[FaultyBackend],
    caplog: pytest.LogCaptureFixture,
) -> None:
    faulty.fault = fault
    keys = {"compute__verify": 0, "score__save": save, "compute__batch_size": 2}
    keys["compute__reverse_complement"] = averaged
    faulty.healthy = 2 if averaged else 1  # the first of three batches goes well
    summary, found, true = both(tmp_path, card, compute__backend="windowed", **keys)
    assert summary.backend == "windowed"
    same(found, true)
    bad = (found["regions/status"] & 8) > 0
    assert bad.tolist() == [False, False, True, True, True]
    assert summary.mended == found["mended"] == 3
    assert (
        "3 regions have mutants that naive computed, as the windowed backend" in summary.describe()
    )
    (warning,) = [r.getMessage() for r in caplog.records if "instead" in r.getMessage()]
    kind = {"reference": "KeyError: 'select'", "first block": "IndexError: no step for upsample"}
    kind |= {"later block": "RuntimeError: without a text", "delta": "ValueError: of an odd shape"}
    kind |= {"squares": kind["delta"], "nan output": "not finite", "nan deltas": "not finite"}
    assert "the windowed backend" in warning
    assert kind[fault] in warning


@pytest.mark.falls_back
def test_the_count_holds_over_stops_and_shards(tmp_path: Path, faulty: type[FaultyBackend]) -> None:
    """The fault comes back with every start, in the batches after the first."""
    from yuzu_cli.runs.merge import merge

    fasta(tmp_path, sequences(8))
    path = script(seeded(conv), tmp_path / "m.pt")
    faulty.fault, faulty.healthy = "nan deltas", 1
    keys = {"compute__verify": 0, "compute__batch_size": 1, "compute__backend": "windowed"}
    asked = iter(range(24))
    stop = lambda: next(asked, None) is None  # noqa: E731
    assert not engine.run(config(tmp_path, [path], **keys), should_stop=stop).complete
    summary = done(engine.run(config(tmp_path, [path], **keys)))
    shards = []
    for number in (1, 2):
        shards.append(tmp_path / f"{number}.h5")
        where = {"output__path": str(shards[-1]), "run__shard": f"{number}/2"}
        done(engine.run(config(tmp_path, [path], **keys, **where)))
    merge([str(shard) for shard in shards], str(tmp_path / "merged.h5"))
    for name, expected in (("out.h5", 6), ("1.h5", 3), ("2.h5", 3), ("merged.h5", 6)):
        with h5py.File(tmp_path / name) as file:
            marked = int((file["regions/status"][()] & 8 > 0).sum())
            assert file.attrs["n_mended"] == marked == expected, name
    assert 0 < summary.mended < 6


class Root(nn.Module):
    """NaN for sequences and mutants with many A, as a square root of what is below 0."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + torch.sqrt(x[:, 1:].sum([1, 2]) - 10.0).unsqueeze(1)


@pytest.mark.falls_back
def test_what_has_no_number_keeps_none(
    tmp_path: Path, faulty: type[FaultyBackend], caplog: pytest.LogCaptureFixture
) -> None:
    """NaN of the model itself: of a sequence, of which nothing is computed again; of mutants."""
    texts = ["A" * L, "ACGT" * 6, "A" * 14 + "CGTCGTCGTC"]
    fasta(tmp_path, texts)
    path = script(seeded(Root), tmp_path / "m.pt")
    keys = {"compute__verify": 0, "compute__backend": "windowed"}
    summary = done(engine.run(config(tmp_path, [path], **keys)))
    with h5py.File(tmp_path / "out.h5") as file:
        delta, status = file["scores/delta"][()], file["regions/status"][()]
    assert np.isnan(delta[0, 0]).sum() == 3 * L
    assert not np.isnan(delta[1]).any()
    assert np.isnan(delta[2, 0]).sum() == 10, "each of ten other letters made an A"
    assert status.tolist() == [0, 0, 8]
    assert summary.mended == 1
