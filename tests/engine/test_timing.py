"""Times that choices and offers go by: measured, of both ways, on the user's first sequences."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.test_exact_top import Mixed
from tests.support import sequential
from tests.support.engine import config, done, fasta, sequences
from tests.support.engine_nets import L, codes, conv, script, seeded
from yuzu_cli import engine
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.config import load_config
from yuzu_cli.engine import timing
from yuzu_cli.engine.explain import explain
from yuzu_cli.engine.summary import Estimate
from yuzu_cli.model import load_model


def test_the_least_of_some_rounds_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(script(seeded(conv), tmp_path / "m.pt"), length=L)
    settings = Settings(L, torch.device("cpu"))
    # Reference, chunk, naive: a warm-up that does not count, then a round for each three.
    ticks = iter([9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 0.5, 3.0, 2.0, 0.75, 1.0, 4.0])
    monkeypatch.setattr(timing, "_seconds", lambda _settings, work: (work(), next(ticks))[1])
    runner = NaiveRunner(model, settings)
    assert timing.compared(runner, model, settings, codes(2), np.arange(L)) == (1.5, 2.0)
    ticks = iter([9.0, 9.0, 9.0, 0.1, 0.1, 3.0])  # clear after one round
    assert timing.compared(runner, model, settings, codes(2), np.arange(L)) == (0.2, 3.0)
    ticks = iter([2.0, 3.0])  # a run so short that naive need not be measured
    found = timing.compared(runner, model, settings, codes(2), np.arange(L), short=5.5)
    assert (found[0], np.isnan(found[1])) == (5.0, True)


def offers(tmp_path: Path, net: Any, **keys: Any) -> str:
    fasta(tmp_path, sequences(3))
    model = script(seeded(net), tmp_path / "m.pt")
    found = engine.run(config(tmp_path, [model], run__dry_run=True, **keys))
    assert isinstance(found, Estimate)
    assert found.describe().endswith(found.offer)
    return found.offer


def test_an_estimate_is_offered_where_the_run_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert offers(tmp_path, Mixed) == ""
    monkeypatch.setattr(timing, "LONG", 0.0)
    assert offers(tmp_path, Mixed, compute__backend="windowed") == ""  # what was asked for
    assert offers(tmp_path, conv) == ""  # windows never end: it would be the same
    monkeypatch.setattr(timing, "duration", lambda seconds: f"{seconds:.0e} s")
    clock = iter(np.arange(0, 1e-3, 1e-6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    config_of = config(tmp_path, [script(seeded(Mixed), tmp_path / "m.pt")])
    with engine.setup.prepared(config_of) as setup:
        text = timing.offer(setup, 7200.0)
    assert text.startswith("this takes about 7e+03 s; an estimate, about 3e-06 s: --backend taylor")
    monkeypatch.undo()
    monkeypatch.setattr("yuzu_cli.engine.loop.offer", lambda _setup, _seconds: "offered")
    with caplog.at_level(logging.WARNING):
        done(engine.run(config_of))
    assert "offered" in caplog.text


def test_explain_ends_with_what_bounds_the_gain(tmp_path: Path) -> None:
    def explained(net: Any) -> str:
        path = script(seeded(net), tmp_path / "m.pt")
        return explain(load_config(None, {"model.path": [str(path)], "input.length": L}))

    text = explained(Mixed)
    assert "for the first of them it runs" in text
    assert ": taps" in text
    assert "measured here, a mutant takes" in text
    starts, _, last = text.rpartition("\n\n")
    assert "  input: " in starts
    assert "  frontier: " in starts
    end, bound, offer = last.splitlines()
    assert end.startswith("windows end at ")
    assert "of naive's work lies behind, so nothing exact is more than" in bound
    assert "--backend taylor --taylor-from frontier" in offer
    assert explained(conv).endswith("only their own size bounds the gain")


def test_explain_predicts_what_auto_goes_by(tmp_path: Path) -> None:
    """Of a scan in a thousand calls windows are less arithmetic, and slower."""
    path = script(seeded(lambda: sequential.Mamba(width=8)), tmp_path / "m.pt")
    text = explain(load_config(None, {"model.path": [str(path)], "input.length": 60}))
    fewer = float(text.split(" times fewer")[0].split()[-1])
    said = {line.split()[0]: line.split() for line in text.splitlines() if "naive multiply" in line}
    naive, windowed = (float(said[name][4]) for name in ("naive", "windowed"))
    predicted = float(said["windowed"][said["windowed"].index("predicted") + 1])
    assert predicted == pytest.approx(naive / windowed, rel=0.01)
    assert predicted < 1 < fewer
