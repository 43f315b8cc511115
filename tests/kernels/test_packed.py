"""Packed products: exact wherever tapes can take them, and where they are taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.conformance import case_subject, run
from yuzu_cli.kernels import packed
from yuzu_cli.operators import fourier

AVAILABLE = packed._product is not None and torch.backends.mkldnn.is_available()

SOME = (
    "like-malinois", "like-sei", "like-danq", "like-dream-rnn", "like-deepstarr", "like-explainn",
)  # fmt: skip


@pytest.fixture
def everywhere(monkeypatch):
    """Packed products wherever they are possible; counts them."""
    made: list[int] = []
    original = packed.product

    def counted(*args):
        made.append(len(args[0]))
        return original(*args)

    for name in ("LEAST_ROWS", "LEAST", "LEAST_PRODUCT"):
        monkeypatch.setattr(packed, name, 1)
    monkeypatch.setattr(packed, "product", counted)
    return made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("name", SOME)
def test_cases_by_packed_products(name, everywhere, folder):
    run(case_subject(name), "scripted", "windowed", folder)
    assert bool(everywhere) is AVAILABLE


def test_packed_transforms(everywhere, monkeypatch, folder):
    monkeypatch.setattr(fourier, "GAIN", float("inf"))
    run(case_subject("like-malinois"), "scripted", "windowed", folder)
    assert bool(everywhere) is AVAILABLE


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "taken"),
    [
        (600, 300, 200, True),
        (30, 200, 1000, True),
        (4, 2000, 2000, False),  # no rows to pack for
        (600, 140, 1, False),  # a column
        (100, 64, 64, False),  # over before a call has begun
        (64, 1 << 14, 1 << 13, False),  # a copy that would weigh as much as the model
    ],
)
def test_where_they_are_taken(rows, inputs, outputs, taken):
    weight = torch.empty(1, 1)
    assert packed.fits(rows, weight.expand(inputs, outputs)) is (taken and AVAILABLE)
    assert not packed.fits(rows, weight.double().expand(inputs, outputs))
