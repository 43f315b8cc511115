"""What a pretended GPU counts, and that the zoo asks no more of one than it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.programs.card_numbers import GOLDEN, HEAD, rows
from tests.support.card_runs import carried, computing_on_card, counts_of
from tests.support.conformance import (
    loaded,
    zoo_subject,
)
from tests.support.pretended_card import CUDA, Card, CardTensor
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.windowed import WindowedRunner
from yuzu_cli.bench.papers import zoo
from yuzu_cli.engine.limits import working_memory

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_kernels_bytes_products_and_live_memory_are_counted():
    with Card() as card:
        x = torch.zeros(64, 32, device="cuda")
        y = torch.mm(x, x.t(), out=torch.empty(64, 64, device=CUDA))
        assert isinstance(y, CardTensor)
        assert card.counts.plain() | {"milliseconds": 0} == {
            "kernels": 2, "bytes": 4 * (64 * 32 + 2 * 64 * 32 + 64 * 64 * 2),
            "multiply_adds": 64 * 64 * 32, "uploads": 0, "uploaded": 0, "downloads": 0, "waits": 0,
            "milliseconds": 0,
        }  # fmt: skip
        assert card.live == 4 * (64 * 32 + 64 * 64)
        view = y[1:, None]
        del x, y
        assert card.live == 4 * 64 * 64
        del view
        assert (card.live, card.peak) == (0, 4 * (64 * 32 + 64 * 64))
        assert torch.cuda.max_memory_allocated() == card.peak


def test_indexing_is_that_of_torch():
    plain = torch.arange(60.0).view(3, 4, 5)
    at, flags = torch.tensor([2, 0]), torch.tensor([True, False, True, False])
    keys: list[Any] = [
        0, (0, 1), (slice(None), 1), (..., 2), (None, 1), (slice(1, 3), None, ..., slice(0, 5, 2)),
        at, (slice(None), at), (at, at), (slice(None), flags), ([0, 1],), (1, ..., at),
        np.array([1, 2]), (np.int64(1), slice(None), at),
    ]  # fmt: skip
    with Card() as card:
        there = card.put(plain)
        for key in keys:
            moved = tuple(card.put(k) for k in key) if isinstance(key, tuple) else card.put(key)
            assert torch.equal(there[moved].cpu(), plain[key]), key
            mine, own = card.put(plain.clone()), plain.clone()
            mine[moved] = 7.0
            own[key] = 7.0
            assert torch.equal(mine.cpu(), own), key


def test_without_values_only_shapes_are_there():
    with Card(values=False) as card:
        x = torch.ones(9).to("cuda:0")
        y = torch.zeros(1 << 15, 1 << 20, device=CUDA) + 1
        assert y.shape == (1 << 15, 1 << 20)
        assert card.peak >= y.numel() * 8
        with pytest.raises(RuntimeError, match="asks for a value"):
            float(x.sum())
        assert bool(torch.isfinite(x).all())


def test_gradients_are_refused_and_do_not_end_the_process():
    with Card() as card:
        x = card.put(torch.ones(2)).requires_grad_()
        with pytest.raises(RuntimeError, match="does not require grad"):
            torch.autograd.grad(x.sum(), x)


def test_outside_of_its_card_a_tensor_is_of_no_use():
    with Card() as card:
        x = card.put(torch.ones(2))
    with pytest.raises(RuntimeError, match="outside of it"):
        torch.relu(x)
    assert not torch.cuda.is_available()


# --- golden numbers -----------------------------------------------------------------------------

QUICK = ("basset", "bpnet9", "aitac-residual")
RENEW = "python -m tests.programs.card_numbers --renew"


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in zoo.ZOO],
)
def test_what_a_card_is_asked_is_as_it_was(name):
    """Where this is a change for the better, or meant: renew the numbers by the command below."""
    head, *kept = GOLDEN.read_text().splitlines()
    assert head == HEAD
    before = {line.split("\t")[0]: line for line in kept}
    assert rows([name]) == [before[name]], f"renew with: {RENEW}"


@pytest.mark.parametrize(("count", "positions"), [(1000, 1), (64, 120)])
def test_short_and_few_are_one_chunk(count, positions, folder):
    """Many sequences at a time, so that a card is filled by what is little of each."""
    with computing_on_card(values=False) as card:
        model = carried(loaded(zoo_subject("basset", 120, 1.0), "scripted", folder))
        settings = Settings(120, CUDA, memory=working_memory(CUDA))
        runner = get_backend("windowed").prepare(model, settings)
        assert isinstance(runner, WindowedRunner)
        assert runner.sequences >= count
        codes = torch.zeros(count, 120, dtype=torch.uint8)
        counts, chunks = counts_of(runner, codes, np.arange(positions), card)
    assert chunks == 1
    assert counts.kernels.total() <= 130


PROMISED = {
    # model: most kernels, most milliseconds a sequence
    "basset": (100, 1.25),
    "bpnet9": (250, 10.0),
    "aitac-residual": (250, 1.0),
}


def test_the_predicted_numbers_are_those_promised():
    head, *kept = (line.split("\t") for line in GOLDEN.read_text().splitlines())
    found = {line[0]: dict(zip(head, line, strict=True)) for line in kept}
    for name, (kernels, milliseconds) in PROMISED.items():
        assert int(found[name]["kernels"]) <= kernels * int(found[name]["chunks"])
        assert float(found[name]["ms a sequence"]) <= milliseconds
    assert all(float(line["live share"]) <= 0.5 and line["waits"] == "0" for line in found.values())
