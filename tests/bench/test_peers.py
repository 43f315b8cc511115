"""Other tools beside this one: why they cannot run, and that they are right where they can."""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from shutil import which
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from yuzu_cli.bench.backends import backend_method
from yuzu_cli.bench.measure import Row, measure
from yuzu_cli.bench.methods import CannotRun
from yuzu_cli.bench.papers import zoo
from yuzu_cli.bench.peers import PEERS, base, peer_method, yuzu_ism
from yuzu_cli.bench.peers.base import Peer
from yuzu_cli.bench.peers.chain import Rows, layers, leaves
from yuzu_cli.bench.peers.fastism import FastISM, translate
from yuzu_cli.bench.subject import Case

CHAINS = (
    *("onelayer", "toynet", "deepsea", "basset", "factorized-basset", "bpnet4-plain"),
    *("aitac3", "aitac8"),
)
NO_CHAINS = ("bpnet4", "aitac-residual")


def onehot(count: int, length: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    codes = torch.randint(4, (count, length), generator=draw)
    return F.one_hot(codes, 4).transpose(1, 2).float()


@pytest.mark.parametrize("name", CHAINS)
def test_networks_that_are_lists_of_layers(name: str) -> None:
    module = zoo.build(name, 180, width=0.05)
    chain = nn.Sequential(*layers(module, 180))
    x = onehot(3, 180)
    torch.testing.assert_close(chain(x).flatten(1), Rows(module)(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NO_CHAINS)
def test_networks_that_are_not(name: str) -> None:
    with pytest.raises(CannotRun, match="not a list of layers"):
        layers(zoo.build(name, 120, width=0.05), 120)


def test_a_list_in_another_order_is_refused() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b, self.a = nn.ReLU(), nn.Conv1d(4, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x))

    assert len(list(leaves(Backwards()))) == 2
    with pytest.raises(CannotRun):
        layers(Backwards(), 10)


class ByPosition(nn.Module):
    """Flattens as the published Yuzu does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2).flatten(1)


def test_dense_weights_follow_the_order_of_flattening() -> None:
    module = zoo.build("basset", 120, width=0.05)
    model = yuzu_ism._permuted(layers(module, 120), 120, ByPosition)
    x = onehot(2, 120)
    torch.testing.assert_close(model(x), module(x), rtol=1e-4, atol=1e-5)
    assert any(isinstance(layer, ByPosition) for layer in model)


def test_precomputation_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = layers(zoo.build("toynet", 200, width=0.1), 200)
    monkeypatch.setattr(yuzu_ism, "_free_memory", lambda: 1e8)
    yuzu_ism._refuse_what_is_too_large(chain, 200)
    monkeypatch.setattr(yuzu_ism, "_free_memory", lambda: 1e7)
    with pytest.raises(CannotRun, match=r"would take about .* MB, and 10 MB are free"):
        yuzu_ism._refuse_what_is_too_large(chain, 200)


def test_precomputation_that_takes_too_long_is_refused() -> None:
    """As its users timed it: two minutes for AI-TAC, half an hour for the deep one."""
    for name, seconds in (("basset", 145), ("aitac8", 1445)):
        chain = layers(zoo.build(name, 1000), 1000)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yuzu_ism, "_free_memory", lambda: float("inf"))
            patch.setattr(yuzu_ism, "PATIENCE", 2 * seconds)
            yuzu_ism._refuse_what_is_too_large(chain, 1000)
            patch.setattr(yuzu_ism, "PATIENCE", seconds / 2)
            with pytest.raises(CannotRun, match=r"would take about \d+ minutes"):
                yuzu_ism._refuse_what_is_too_large(chain, 1000)


def test_memory_that_a_peer_never_sets_is_zero() -> None:
    module = SimpleNamespace(torch=torch)
    with yuzu_ism._nothing_unset(module):
        assert module.torch.empty(3, 4).eq(0).all()
        assert module.torch.ones is torch.ones
    assert module.torch is torch


@pytest.mark.skipif(find_spec("yuzu") is None, reason="the published Yuzu is not installed")
def test_the_published_yuzu_is_an_estimate_and_tells_its_alpha() -> None:
    row = rows_of(Case("toynet", 60, width=0.1), "yuzu-ism")["yuzu-ism"]
    assert (row.status, row.error, row.verdict) == ("ok", "", "estimate")
    assert row.compared == "l2"
    assert row.agreement is not None
    assert row.agreement.pearson > 0.99
    assert 1 <= row.extra["alpha"] <= 1.5
    assert len(row.extra["probes"]) == 3
    assert row.extra["note"] == yuzu_ism.NOTE


def rows_of(case: Case, *names: str, python: str | None = None) -> dict[str, Row]:
    methods: list[Any] = [backend_method("naive")]
    methods += [peer_method(name, python) for name in names]
    rows = measure(case, methods, rounds=1, seconds=0.05)
    return {row.method: row for row in rows}


def test_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "version_of", lambda package: None)
    names = [name for name in PEERS if name != "naive-compiled"]  # torch itself
    rows = rows_of(Case("toynet", 30, width=0.1), *names, "fastism")
    assert rows.pop("naive").status == "ok"
    assert rows.pop("fastism").error.startswith("needs an environment of its own")
    assert {row.status for row in rows.values()} == {"cannot"}
    for row in rows.values():
        assert "is not installed; pip install 'yuzu-cli[peers]'" in row.error


def test_what_breaks_on_import_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise AttributeError("numpy has no attribute float")

    monkeypatch.setattr(base, "version_of", lambda package: "1.0")
    monkeypatch.setattr(base, "import_module", broken)
    row = rows_of(Case("toynet", 30, width=0.1), "tangermeme")["tangermeme"]
    assert row.error == "tangermeme cannot be imported: numpy has no attribute float"


EXACT = {"tangermeme": "tangermeme", "captum": "captum"}


@pytest.mark.parametrize("name", EXACT)
def test_other_mutagenesis_agrees(name: str) -> None:
    if find_spec(EXACT[name]) is None:
        pytest.skip(f"{EXACT[name]} is not installed")
    row = rows_of(Case("basset", 60, 2, width=0.03), name)[name]
    assert (row.status, row.error, row.verdict) == ("ok", "", "exact")
    assert row.agreement is not None
    assert row.agreement.count > 50


@pytest.mark.skipif(find_spec("tangermeme") is None, reason="tangermeme is not installed")
def test_windows_of_a_peer_are_right_or_it_says_why_not() -> None:
    """It takes its own windows only where they are quicker, which a small net may not show."""
    row = rows_of(Case("basset", 60, 2, width=0.03), "tangermeme-fast")["tangermeme-fast"]
    if row.status == "cannot":
        assert "is using fast=False because" in row.error
    else:
        assert (row.status, row.error, row.verdict) == ("ok", "", "exact")


@pytest.mark.skipif(not (which("g++") or which("c++")), reason="there is no compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_agrees() -> None:
    row = rows_of(Case("toynet", 30, width=0.1), "naive-compiled")["naive-compiled"]
    assert (row.status, row.error, row.verdict) == ("ok", "", "exact")


class Stub(Peer):
    """A peer that counts the sequences it is given."""

    name = "stub"

    def __init__(self) -> None:
        self.given: list[int] = []

    def compute(self, x: torch.Tensor) -> None:
        assert x.shape[1:] == (4, 30)
        self.given.append(len(x))


def test_a_peer_gets_as_many_sequences_as_there_is_time_for() -> None:
    stub = Stub()
    row = measure(Case("toynet", 30, 6, width=0.1), [stub], rounds=1, seconds=60)[0]
    assert row.share == 1.0
    assert stub.given == [1, 6]
    assert row.verdict == ""


# --- fastISM --------------------------------------------------------------------------------------


def in_keras(steps: list[dict[str, Any]], arrays: dict[str, np.ndarray], x: np.ndarray) -> Any:
    """What Keras makes of the steps, written out with numpy; x is (N, L, 4)."""
    saved = x
    for step in steps:
        kind, weights = step["kind"], [arrays[name] for name in step["weights"]]
        if kind == "Conv1D":
            kernel, bias = weights
            assert kernel.shape[::2] == (step["kernel_size"], step["filters"])
            dilation = step["dilation_rate"]
            span = (len(kernel) - 1) * dilation
            if step["padding"] == "same":
                x = np.pad(x, ((0, 0), (span // 2, span - span // 2), (0, 0)))
            parts = [x[:, k * dilation :][:, : x.shape[1] - span] for k in range(len(kernel))]
            x = sum(part @ kernel[k] for k, part in enumerate(parts)) + bias
        elif kind == "BatchNormalization":
            gamma, beta, mean, variance = weights
            x = (x - mean) / np.sqrt(variance + step["epsilon"]) * gamma + beta
        elif kind == "MaxPooling1D":
            size = step["pool_size"]
            assert size == step["strides"]
            count = x.shape[1] // size
            x = x[:, : count * size].reshape(len(x), count, size, -1).max(2)
        elif kind == "Dense":
            x = x @ weights[0] + weights[1]
        elif (kind, step.get("activation")) == ("Activation", "relu"):
            x = np.maximum(x, 0)
        elif (kind, step.get("activation")) == ("Activation", "sigmoid"):
            x = 1 / (1 + np.exp(-x))
        elif kind == "Flatten":
            x = x.reshape(len(x), -1)
        elif kind == "save":
            saved = x
        elif kind == "add":
            x = x + saved
        elif kind == "Cropping1D":
            x = x[:, step["cropping"] : x.shape[1] - step["cropping"]]
        elif kind == "profile":
            x = x.swapaxes(1, 2)
        else:
            raise AssertionError(kind)
    return x


@pytest.mark.parametrize("name", ["onelayer", "deepsea", "basset", "factorized-basset", "bpnet9"])
def test_networks_in_keras(name: str) -> None:
    module = zoo.build(name, 180, width=0.05)
    x = onehot(2, 180)
    steps, arrays = translate(module, 180)
    found = in_keras(steps, arrays, x.transpose(1, 2).numpy())
    expected = Rows(module)(x).numpy()
    np.testing.assert_allclose(found.reshape(2, -1), expected, rtol=1e-3, atol=1e-4)


def test_layers_without_a_counterpart_are_told() -> None:
    with pytest.raises(CannotRun, match=r"MaxPool1d.* has no counterpart in Keras"):
        translate(zoo.build("aitac3", 130, width=0.05), 130)


PYTHONS = {
    "no such program": ("/nowhere/python", "/nowhere/python: No such file or directory"),
    "an environment without it": (sys.executable, "ModuleNotFoundError: No module named"),
    "a program that is no Python": ("/bin/true", "its process ended: no message"),
}


@pytest.mark.parametrize(("python", "message"), PYTHONS.values(), ids=PYTHONS.keys())
def test_an_environment_that_will_not_do_is_told(python: str, message: str) -> None:
    if message.startswith("Module") and find_spec("tensorflow") and find_spec("fastism"):
        pytest.skip("fastISM is installed here")
    row = rows_of(Case("toynet", 30, width=0.1), "fastism", python=python)["fastism"]
    assert row.status == "cannot"
    assert row.error.startswith(message)


WORKER = """
import json, sys
import numpy as np
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    what, count = line.split()
    if what == "save":
        np.save(sys.argv[-1] + "/delta.npy", np.zeros((4, int(count), 8, 60), np.float32))
    wall = 1.0 if int(count) < 8 else 2.0
    print(json.dumps({"wall": wall, "cpu": 0.25}), flush=True)
"""


def test_times_are_those_of_the_other_process(tmp_path: Any, monkeypatch: Any) -> None:
    """With a stand-in for the other process, whose scores are all zero and so wrong."""
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "python").write_text(
        f'#!/bin/sh\nexec {sys.executable} {tmp_path}/worker.py "$@"\n'
    )
    (tmp_path / "python").chmod(0o755)
    method = FastISM(str(tmp_path / "python"))
    case = Case("toynet", 30, 8, width=0.1)
    row = measure(case, [method], rounds=3, seconds=9.0)[0]
    assert (row.status, row.error, row.verdict) == ("ok", "", "wrong")
    assert row.share == 8 / 30  # eight positions of all eight sequences: quicker than one by one
    assert [(sample.wall, sample.cpu) for sample in row.samples] == [(2.0, 0.25)] * 3
    assert row.extra["tried"] == {1: 1.0, 8: 0.25}
    assert row.per_sequence == 2.0 / 8 * 30 / 8
    assert math.isnan(row.host_peak)
    process = method.process
    del method
    assert process.poll() is not None
