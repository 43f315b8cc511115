"""What follows from a verification: who computes, what the file and the last line say of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from torch import Tensor, nn

from tests.support.engine import config, done, fasta, sequences
from tests.support.engine_nets import L, Profile, conv, script, seeded
from yuzu_cli import attribute, engine
from yuzu_cli.backends import naive as naive_module
from yuzu_cli.backends.base import Block, Settings
from yuzu_cli.backends.naive import Naive, NaiveRunner
from yuzu_cli.engine import trust
from yuzu_cli.engine.summary import RunSummary
from yuzu_cli.errors import ModelError
from yuzu_cli.model import Model


class Clock:
    """What the engine times by: computing takes no time in these tests but what they say."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


CLOCK = Clock()


class Other(NaiveRunner):
    """Naive by another name: off by a factor, or slow, or wrong for some codes."""

    factor = 1.0
    squares = 1.0
    pause = 0.0
    only: Tensor | None = None

    def blocks(self, codes: Tensor, positions: np.ndarray) -> Iterator[Block]:
        for block in super().blocks(codes, positions):
            CLOCK.now += self.pause * len(block.index)
            delta = block.delta
            if self.only is None or any((row == self.only).all() for row in codes):
                delta = delta * self.factor
            squares = delta.square().sum(1) * self.squares
            yield Block(block.index, delta, squares=squares.clone)


class OtherBackend(Naive):
    name = "windowed"

    def prepare(self, model: Model, settings: Settings) -> NaiveRunner:
        return Other(model, settings, rows=16)

    def cost(self, model: Model, settings: Settings, positions: int) -> float:
        return 1.0


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> type[Other]:
    """naive and another one that says it is cheap, in place of the real table."""
    monkeypatch.setattr(naive_module, "OtherBackend", OtherBackend, raising=False)
    for name in ("factor", "squares", "pause", "only"):
        monkeypatch.setattr(Other, name, getattr(Other, name))
    home = "yuzu_cli.backends.naive"
    table = {"naive": f"{home}:Naive", "windowed": f"{home}:OtherBackend"}
    monkeypatch.setattr("yuzu_cli.backends.BACKENDS", table)
    monkeypatch.setattr("yuzu_cli.engine.choose.BACKENDS", table)
    monkeypatch.setattr("yuzu_cli.engine.timing.time", CLOCK)
    return Other


@pytest.fixture
def model(tmp_path: Path) -> Path:
    fasta(tmp_path, sequences(5))
    return script(seeded(conv), tmp_path / "m.pt")


def attributes(folder: Path) -> dict[str, Any]:
    with h5py.File(folder / "out.h5") as file:
        return dict(file.attrs)


# --- wrong ----------------------------------------------------------------------------------------


@pytest.mark.falls_back
@pytest.mark.usefixtures("model")
def test_naive_takes_over_from_a_backend_that_is_wrong(
    tmp_path: Path, model: Path, other: type[Other], caplog: pytest.LogCaptureFixture
) -> None:
    other.factor = 1.01
    summary = done(engine.run(config(tmp_path, [model])))
    assert (summary.backend, summary.verified) == ("naive", 0)
    assert "the windowed backend differs from naive by" in caplog.text
    assert "(0.01 of the largest effect); naive is used instead" in caplog.text
    assert "checked" not in summary.describe()
    found = attributes(tmp_path)
    assert found["backend"] == "naive"
    assert np.isnan(found["verify_max_abs_error"])


@pytest.mark.falls_back
def test_notebooks_are_told_too(model: Path, other: type[Other]) -> None:
    other.factor = 1.01
    assert attribute(model, sequences(3)).backend == "naive"


def test_verification_can_be_turned_off(tmp_path: Path, model: Path, other: type[Other]) -> None:
    other.factor = 1.01
    summary = done(engine.run(config(tmp_path, [model], compute__verify=0)))
    assert (summary.backend, summary.verified) == ("windowed", 0)
    assert np.isnan(summary.max_abs_error)


@pytest.mark.falls_back
@pytest.mark.parametrize("number", [0, 1, 2, 3])
@pytest.mark.parametrize("strand", [False, True], ids=["forward", "reverse"])
def test_every_one_of_the_first_sequences_is_looked_at(
    tmp_path: Path, model: Path, other: type[Other], number: int, strand: bool
) -> None:
    """A fault in one sequence on one strand: with both, sequences take turns on them."""
    import torch

    (text := sequences(5))[2] = "ACGT" * 6
    fasta(tmp_path, text)
    codes = torch.tensor(["ACGT".index(c) for c in text[number]], dtype=torch.uint8)
    turned = strand and number % 2 == 1
    other.factor, other.only = 1.01, (3 - codes).flip(0) if turned else codes
    keys = {"compute__reverse_complement": strand}
    assert done(engine.run(config(tmp_path, [model], **keys))).backend == "naive"


class Crowd(nn.Module):
    """Looks at its batch only when there are many rows, as no probe of a few has them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv()

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if float(x.sum()) > 20.0 * 24.0:
            y = y + 0.01
        return y


@pytest.mark.parametrize("backend", ["auto", "naive"])
def test_a_model_that_looks_at_a_whole_pass_is_refused(tmp_path: Path, backend: str) -> None:
    fasta(tmp_path, sequences(3))
    path = script(seeded(Crowd), tmp_path / "m.pt")
    with pytest.raises(ModelError, match="other numbers for the same row in another batch"):
        engine.run(config(tmp_path, [path], compute__backend=backend))
    assert not (tmp_path / "out.h5.part").exists()


# --- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("save", "compared"),
    [(["delta"], "delta"), (["contribution"], "delta"), (["l2"], "l2"), (["delta", "l2"], None)],
    ids=["delta", "contribution", "l2", "both"],
)
def test_what_was_compared_is_what_is_said(
    tmp_path: Path, model: Path, other: type[Other], save: list[str], compared: str | None
) -> None:
    summary = done(engine.run(config(tmp_path, [model], score__save=save)))
    found, last = attributes(tmp_path), summary.describe().splitlines()[-1]
    assert last.startswith("checked 32 mutants against naive: largest error ")
    for name in ("delta", "l2"):
        largest = found[f"verify_{name}_max_abs_error"]
        told = compared in (name, None)
        assert np.isnan(largest) != told
        assert (f" in {name} (" in last) == told
        if compared == name:
            assert found["verify_max_abs_error"] == largest == summary.max_abs_error
    assert found["verify_max_rel_error"] < 1e-5


@pytest.mark.falls_back
def test_wrong_norms_are_said_to_be_norms(
    tmp_path: Path, model: Path, other: type[Other], caplog: pytest.LogCaptureFixture
) -> None:
    other.squares = 1.21
    summary = done(engine.run(config(tmp_path, [model], score__save=["l2"])))
    assert summary.backend == "naive"
    assert " in l2 (0.1 of the largest effect); naive is used instead" in caplog.text


def test_norms_that_are_made_of_deltas_are_those_of_deltas(
    tmp_path: Path, model: Path, other: type[Other]
) -> None:
    other.squares = 1.21
    summary = done(engine.run(config(tmp_path, [model], score__save=["delta", "l2"])))
    assert summary.backend == "windowed"


# --- speed ----------------------------------------------------------------------------------------


def slow(monkeypatch: pytest.MonkeyPatch, other: type[Other]) -> None:
    other.pause = 1e-3
    monkeypatch.setattr(trust, "WORTH", 0.0)


def test_naive_is_taken_where_it_is_the_faster_one(
    tmp_path: Path,
    model: Path,
    other: type[Other],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    slow(monkeypatch, other)
    summary = done(engine.run(config(tmp_path, [model])))
    assert summary.backend == attributes(tmp_path)["backend"] == "naive"
    assert "naive is taken, for it is faster here" in caplog.text


KEPT = {
    "fast": {},
    "asked for": {"compute__backend": "windowed"},
    "a shard": {"run__shard": "1/2"},
    "not verified": {"compute__verify": 0},
}


@pytest.mark.parametrize("keys", KEPT.values(), ids=KEPT)
def test_a_backend_is_kept(
    tmp_path: Path,
    model: Path,
    other: type[Other],
    keys: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it is fast, was asked for, or has to be that of other shards."""
    slow(monkeypatch, other)
    if not keys:
        monkeypatch.setattr(NaiveRunner, "_forward", _slowly(NaiveRunner._forward))
        other.pause = 0.0
    assert done(engine.run(config(tmp_path, [model], **keys))).backend == "windowed"


def _slowly(true: Any) -> Any:
    def forward(self: NaiveRunner, x: Tensor) -> Tensor:
        if type(self) is NaiveRunner:
            CLOCK.now += 0.2
        return true(self, x)

    return forward


def test_what_little_is_to_gain_changes_nothing(
    tmp_path: Path, model: Path, other: type[Other]
) -> None:
    other.pause = 1e-4  # 360 mutants
    assert done(engine.run(config(tmp_path, [model]))).backend == "windowed"


@pytest.mark.parametrize("first", ["naive", "windowed"])
def test_a_run_goes_on_with_what_it_began_with(
    tmp_path: Path, model: Path, other: type[Other], first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is measured the second time."""
    if first == "naive":
        slow(monkeypatch, other)
    keys = {"compute__batch_size": 1}
    asked = iter(range(6 if first == "naive" else 15))
    stop = lambda: next(asked, None) is None  # noqa: E731
    assert not engine.run(config(tmp_path, [model], **keys), should_stop=stop).complete
    monkeypatch.undo() if first == "naive" else slow(monkeypatch, other)
    table = {
        "naive": "yuzu_cli.backends.naive:Naive",
        "windowed": "yuzu_cli.backends.naive:OtherBackend",
    }
    monkeypatch.setattr(naive_module, "OtherBackend", OtherBackend, raising=False)
    monkeypatch.setattr("yuzu_cli.backends.BACKENDS", table)
    monkeypatch.setattr("yuzu_cli.engine.choose.BACKENDS", table)
    summary = done(engine.run(config(tmp_path, [model], **keys)))
    assert 0 < summary.records_before < 5
    assert summary.backend == first


# --- nothing to see -------------------------------------------------------------------------------


class Blind(nn.Module):
    """Looks at the first half only."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x[..., :12])


ZEROS: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "blind": (Blind, {"mutate__start": L // 2}, "every effect is 0", "look at the mutated"),
    "index": (
        Profile,
        {"mutate__start": 15, "score__reduce": "index", "score__index": 2},
        "score.reduce: index",
        "reaches the position of the output",
    ),
    "center": (
        Profile,
        {"mutate__start": 18, "score__reduce": "center"},
        "score.reduce: center",
        "reaches the position of the output",
    ),
}


@pytest.mark.parametrize("save", [["delta"], ["l2"], ["prediction"]], ids="+".join)
@pytest.mark.parametrize("name", ZEROS)
def test_a_result_of_nothing_but_zeros_is_said(
    name: str, save: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net, keys, where, hint = ZEROS[name]
    fasta(tmp_path, sequences(4))
    path = script(seeded(net), tmp_path / "m.pt")
    keys = {"score__save": save, "compute__backend": "naive", **keys}
    done(engine.run(config(tmp_path, [path], **keys)))
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warning.startswith(where)
    assert "no mutation of the first 4 regions changes any output" in warning
    assert hint in warning


@pytest.mark.parametrize("save", [["delta"], ["l2"], ["prediction"]], ids="+".join)
def test_effects_are_no_reason_to_warn(
    save: list[str], tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done(engine.run(config(tmp_path, [model], score__save=save)))
    assert "changes any output" not in caplog.text


def test_notebooks_are_told_of_zeros(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = script(seeded(Blind), tmp_path / "m.pt")
    attribute(path, ["ACGT" * 6], mutate=(L // 2, L))
    assert "changes any output" in caplog.text


def test_times_and_rates_of_a_run_agree(tmp_path: Path) -> None:
    summary = RunSummary(
        tmp_path / "o.h5", True, 10, regions=10, mutants=24_000, seconds=8.0, setup_seconds=3.0,
        backend="windowed", device="cpu", batch_size=4,
    )  # fmt: skip
    assert summary.describe().endswith(
        "10 regions, 24,000 mutants in 8.0 s: 3.0 s to set up, 5.0 s to compute "
        "(2 regions/s, 4,800 mutants/s; windowed on cpu)"
    )
