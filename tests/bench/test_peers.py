"""Other tools beside this one: why they cannot run, and that they are right where they can."""

from __future__ import annotations

from importlib.util import find_spec
from shutil import which
from types import SimpleNamespace
from typing import Any

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
from yuzu_cli.bench.subject import Case

CHAINS = (
    *("onelayer", "toynet", "deepsea", "basset", "factorized-basset", "bpnet4-plain"),
    *("aitac3", "aitac8"),
)
NO_CHAINS = ("bpnet4", "aitac-residual")


def one_hot(count: int, length: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    codes = torch.randint(4, (count, length), generator=draw)
    return F.one_hot(codes, 4).transpose(1, 2).float()


@pytest.mark.parametrize("name", CHAINS)
def test_networks_that_are_lists_of_layers(name: str) -> None:
    module = zoo.build(name, 180, width=0.05)
    chain = nn.Sequential(*layers(module, 180))
    x = one_hot(3, 180)
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
    x = one_hot(2, 120)
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


# The other tools are optional, and the tests need none of them: what is asked of one is left out
# where it is not installed, and `make test` says so.
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


def rows_of(case: Case, *names: str) -> dict[str, Row]:
    methods: list[Any] = [backend_method("naive")]
    methods += [peer_method(name, None) for name in names]
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


@pytest.mark.parametrize("name", ["tangermeme", "captum"])
def test_other_mutagenesis_agrees(name: str) -> None:
    if find_spec(name) is None:  # optional, as above
        pytest.skip(f"{name} is not installed")
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


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_agrees_or_it_says_what_it_lacks() -> None:
    row = rows_of(Case("toynet", 30, width=0.1), "naive-compiled")["naive-compiled"]
    if any(map(which, ("c++", "g++", "clang++"))):
        assert (row.status, row.error, row.verdict) == ("ok", "", "exact")
    else:
        assert (row.status, row.error) == ("cannot", "torch.compile needs a C++ compiler")


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
