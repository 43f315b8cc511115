"""Opened models in use: batches of one size, lengths, other types; the file stays as it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.engine_nets import (
    L,
    codes,
    conv,
    export,
    one_hot,
    script,
    seeded,
    trace,
)
from yuzu_cli.errors import ModelError
from yuzu_cli.model import load_model
from yuzu_cli.model.lengths import lengths_that_work


@pytest.mark.parametrize("batch", [None, 1, 4], ids=["free", "one", "four"])
def test_exported_programs_run_in_pieces_of_their_batch(tmp_path: Path, batch: int | None) -> None:
    net, x = seeded(conv), one_hot(codes(7))
    model = load_model(export(net, tmp_path / "m.pt2", batch), length=L)
    assert (model.kind, model.fixed_batch) == ("exported", batch if batch != 1 else None)
    for rows in (1, 4, 7):
        torch.testing.assert_close(model(x[:rows]), net(x[:rows]))


class Squeezes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = conv(targets=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze()


def test_a_model_that_squeezes_away_a_batch_of_one(tmp_path: Path) -> None:
    net, x = seeded(Squeezes), one_hot(codes(3))
    model = load_model(script(net, tmp_path / "m.pt"), length=L)
    torch.testing.assert_close(model(x[:1]), net.net(x[:1]))


class Baked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * L, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.reshape(int(x.shape[0]), 4 * L))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_model_that_baked_its_batch_of_one_in(tmp_path: Path) -> None:
    net, x = seeded(Baked), one_hot(codes(3))
    model = load_model(trace(net, tmp_path / "m.pt", x[:1]), length=L)
    assert model.fixed_batch is None
    torch.testing.assert_close(model(x), net(x))


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2).sum(2)


def test_a_model_that_works_in_place_leaves_its_input_alone(tmp_path: Path) -> None:
    model, x = load_model(script(InPlace(), tmp_path / "m.pt"), length=L), one_hot(codes(3))
    torch.testing.assert_close(model(x), 2 * one_hot(codes(3)).sum(2))
    torch.testing.assert_close(x, one_hot(codes(3)))


def test_frozen_models_and_half_precision(tmp_path: Path) -> None:
    net, x = seeded(conv), one_hot(codes(3))
    model = load_model(script(net, tmp_path / "m.pt"), length=L, dtype=torch.bfloat16)
    found = model(x.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, net(x), rtol=0.1, atol=0.05)
    frozen = tmp_path / "frozen.pt"
    torch.jit.freeze(torch.jit.script(net)).save(str(frozen))
    torch.testing.assert_close(load_model(frozen, length=L)(x), net(x))
    with pytest.raises(ModelError, match=r"frozen\.pt"):
        load_model(frozen, length=L, dtype=torch.bfloat16)


class Inside(nn.Module):
    """A part computes in another type than the rest."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(4, 6, 3, padding=1), nn.Linear(6, 2)
        self.inner = nn.Conv1d(6, 16, 3, padding=1).to(kind)
        self.out = nn.Conv1d(16, 6, 1)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(self.first(x).to(self.kind))
        return self.last(torch.relu(self.out(h.to(torch.float32))).sum(2))


class HalfConstant(nn.Module):
    """A constant in half precision, which is asked for as that."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(4, 6, 3), nn.Linear(6, 2)
        self.register_buffer("scale", torch.linspace(0.1, 1.1, 6).half())
        self.scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.first(x) * self.scale[:, None].half()).sum(2))


class Spectrum(nn.Module):
    """Complex weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(4, 6, 3, padding=1), nn.Linear(6, 2)
        self.filters = nn.Parameter(torch.randn(6, L // 2 + 1, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(self.first(x), dim=2) * self.filters
        return self.last(torch.fft.irfft(spectrum, n=x.shape[2], dim=2).relu().mean(2))


TYPES: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "a part in double": (lambda: Inside(torch.float64), False),
    "a part in bfloat16": (lambda: Inside(torch.bfloat16), False),
    "a constant in half": (HalfConstant, True),
    "complex weights": (Spectrum, True),
}


@pytest.mark.parametrize("how", [script, trace, export], ids=["script", "trace", "export"])
@pytest.mark.parametrize("name", TYPES)
def test_weights_of_several_types_compute_as_the_file_does(
    tmp_path: Path, name: str, how: Callable[..., Path]
) -> None:
    make, also_in_double = TYPES[name]
    net, x = seeded(make), one_hot(codes(3))
    file = tmp_path / ("m.pt2" if how is export else "m.pt")
    model = load_model(how(net, file, x) if how is trace else how(net, file), length=L)
    torch.testing.assert_close(model(x), net(x), rtol=0, atol=0)
    if also_in_double:  # what verification takes for the truth
        torch.testing.assert_close(model.in_double()(x.double()).float(), net(x))


def test_a_model_in_double_computes_in_single_whatever_its_constants_are(tmp_path: Path) -> None:
    net, x = seeded(lambda: nn.Sequential(conv(), nn.BatchNorm1d(3)).double()), one_hot(codes(3))
    net[1].float()
    path = script(net, tmp_path / "m.pt")
    torch.testing.assert_close(load_model(path, length=L)(x), net.float()(x))


def test_targets_by_name_and_pattern(tmp_path: Path) -> None:
    path, x = script(conv(), tmp_path / "m.pt"), one_hot(codes(3))
    names = ["CTCF", "GATA1", "GATA2"]
    whole = load_model(path, length=L, target_names=names)(x)
    model = load_model(path, length=L, target_names=names, targets="GATA*,0")
    assert model.target_names == ["GATA1", "GATA2", "CTCF"]
    torch.testing.assert_close(model(x), whole[:, [1, 2, 0]])


def test_the_file_stays_as_it_is_and_nothing_asks_for_gradients(tmp_path: Path) -> None:
    path = script(conv().train(), tmp_path / "m.pt")
    before = path.read_bytes()
    model = load_model(path, length=L)
    model(one_hot(codes(3)))
    assert path.read_bytes() == before
    assert model.sha256 == hashlib.sha256(before).hexdigest()
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.module.training


class Whole(nn.Module):
    """A model of one length only, as most published ones are: (N, 6, 4) flattened."""

    def __init__(self, length: int, channels_last: bool = False) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv1d(4, 6, 5), nn.Linear(6 * ((length - 4) // 2), 1)
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2) if self.channels_last else x
        return self.last(nn.functional.max_pool1d(self.conv(x), 2).flatten(1))


class Quarters(nn.Module):
    """A model that was made for 100 letters, and takes 100 to 103."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(100, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(nn.functional.max_pool1d(x, 4).flatten(1))


class Blocks(nn.Module):
    """A model that takes multiples of 16 only."""

    def forward(self, x: Tensor) -> Tensor:
        return (
            x.reshape(x.shape[0], 4, 16, -1).mean((2, 3)) + x.reshape(x.shape[0], 64, -1)[:, :4, 0]
        )


LENGTHS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Path], str]] = {
    "scripted": (lambda: Whole(70), script, r"it takes lengths such as 70 and 71 \(layout NCL\)"),
    "channels last": (lambda: Whole(50, True), script, r"lengths such as 50 and 51 \(layout NLC\)"),
    "usual": (Blocks, script, r"it takes lengths such as 16, 32 and \d+ \(layout NCL\)"),
    "long": (lambda: Whole(300), script, r"it takes length 300 "),
    "usual first": (Quarters, script, r"it takes lengths such as 100, 101 and 102 "),
}


@pytest.mark.parametrize(("make", "save", "text"), LENGTHS.values(), ids=LENGTHS)
def test_lengths_that_a_model_takes_are_told(
    tmp_path: Path, make: Callable[[], nn.Module], save: Callable[..., Path], text: str
) -> None:
    path = save(seeded(make), tmp_path / "m.pt")
    with pytest.raises(ModelError, match=f"4 letters and length 24.*{text}") as caught:
        load_model(path, length=L)
    assert "set input.length" in str(caught.value)
    assert "shapes cannot be multiplied" not in str(caught.value)
    told = re.findall(r"\d+", str(caught.value).split("it takes")[1].split("(")[0])
    for length in told:
        load_model(path, length=int(length))


def test_the_length_of_an_exported_program_is_told(tmp_path: Path) -> None:
    program = torch.export.export(seeded(lambda: Whole(70)), (torch.zeros(2, 4, 70),))
    torch.export.save(program, str(tmp_path / "m.pt2"))
    with pytest.raises(ModelError, match="it takes length 70"):
        load_model(tmp_path / "m.pt2", length=L)


def test_a_search_for_lengths_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def refuse(layout: str, length: int) -> bool:
        tried.append(length)
        return False

    assert lengths_that_work(24, {"NCL": "3x96 and 9x1"}, refuse) == ("", [])
    assert 50 < len(tried) <= 400
    tried.clear()
    many = " ".join(f"3x9 and {n}x1" for n in range(9, 4000))
    assert lengths_that_work(24, {"NCL": many}, refuse) == ("NCL", [])
    assert len(tried) == 400
    monkeypatch.setattr("yuzu_cli.model.lengths._SECONDS", -1.0)
    assert lengths_that_work(24, {"NCL": "x"}, lambda *_: True) == ("NCL", [])
