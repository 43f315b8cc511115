"""What a failure of a backend is said to be, and which ones are none: those go to the caller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.engine import config, done, fasta, sequences
from tests.support.engine_nets import L, codes, conv, script, seeded
from yuzu_cli import engine
from yuzu_cli.backends.base import Block, Settings
from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.backends.windowed import Windowed, WindowedRunner
from yuzu_cli.engine.choose import choose
from yuzu_cli.engine.net import Net, describe
from yuzu_cli.errors import ModelError
from yuzu_cli.model import Model, load_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), ModelError("m", "no")])
def test_others_faults_pass_through(error: Exception, tmp_path: Path) -> None:
    """Want of memory is dealt with where batches are cut, and what users must mend is theirs."""

    class Raises(NaiveRunner):
        def reference(self, codes: Tensor) -> Tensor:
            raise error

    model = load_model(script(seeded(conv), tmp_path / "m.pt"), length=L)
    settings = Settings(L, CPU)
    with pytest.raises(type(error)):
        Net("it", Raises(model, settings), model, settings).reference(codes(2))


def test_an_interruption_passes_through(tmp_path: Path) -> None:
    class Raises(NaiveRunner):
        def blocks(self, codes: Tensor, positions: np.ndarray) -> Iterator[Block]:
            raise KeyboardInterrupt

    model = load_model(script(seeded(conv), tmp_path / "m.pt"), length=L)
    settings = Settings(L, CPU)
    net = Net("it", Raises(model, settings), model, settings)
    net.reference(codes(2))
    with pytest.raises(KeyboardInterrupt):
        next(net.blocks(codes(2), np.arange(L)))


@pytest.mark.falls_back
def test_a_real_backend_names_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A step of windows that fails in preparing: which node it was, and where in the code."""
    fasta(tmp_path, sequences(3))
    path = script(seeded(conv), tmp_path / "m.pt")
    true = WindowedRunner.__init__

    def failing(self: WindowedRunner, model: Model, settings: Settings) -> None:
        true(self, model, settings)
        for node in self.program.calls():
            if "relu" in node.name:
                raise KeyError("relu")

    monkeypatch.setattr(WindowedRunner, "__init__", failing)
    keys = {"compute__backend": "windowed"}
    assert done(engine.run(config(tmp_path, [path], **keys))).backend == "naive"
    assert "the windowed backend failed: KeyError: 'relu' (" in caplog.text


TEXTS: Sequence[tuple[Exception, str]] = [
    (KeyError("x"), "KeyError: 'x'"),
    (RuntimeError(""), "RuntimeError: without a text"),
    (RuntimeError("Traceback\n  code ~~~ <--- HERE\nRuntimeError: \n"), "RuntimeError"),
    (RuntimeError("Traceback\nRuntimeError: sizes differ\n"), "RuntimeError: sizes differ"),
    (AssertionError(), "AssertionError: without a text"),
]


@pytest.mark.parametrize(("error", "text"), TEXTS)
def test_a_failure_always_has_a_text(error: Exception, text: str) -> None:
    with pytest.raises(type(error)) as caught:
        raise error
    assert describe(caught.value) == text


def test_the_place_is_the_package_s_own(tmp_path: Path) -> None:
    model = load_model(script(seeded(conv), tmp_path / "m.pt"), length=L)
    with pytest.raises(RuntimeError) as caught:
        model(torch.zeros(2, 9, L))
    assert " (in wrap.py:" in describe(caught.value)


def test_a_sentence_to_the_user_is_not_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(script(seeded(conv), tmp_path / "m.pt"), length=L)

    def refuse(self: Windowed, model: Model, settings: Settings) -> WindowedRunner:
        raise ModelError("sensing.alpha", "no code is accurate")

    monkeypatch.setattr(Windowed, "prepare", refuse)
    with pytest.raises(ModelError, match="no code is accurate"):
        choose("windowed", [model], Settings(L, CPU), L)
