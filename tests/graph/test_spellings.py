"""Layers in other spellings: after the rewrites nothing of the spelling is left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.graph.test_graph import program_of, targets
from tests.support.attending import ATTENDING
from tests.support.convolutional import AITAC, Enformer, ExplaiNN, Puffin, WholeSpectra
from tests.support.stranded import BothAtOnce, BothInTurn, BothRepeated, BothStacked
from yuzu_cli.graph import ops
from yuzu_cli.plan.analyse import analyse
from yuzu_cli.plan.plan import make_plan

aten = torch.ops.aten


class Rows(nn.Module):
    """Positions as rows of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        n, c, length = x.shape
        y = torch.relu(self.norm(self.first(x.transpose(1, 2).reshape(n * length, c))))
        return self.second(y).reshape(n, length, 2)


class Chunks(nn.Module):
    """Both strands as one batch, parted by `chunk`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(4, 5, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(torch.cat([x, x.flip([1, 2])]))).mean(2)
        plus, minus = self.last(y).chunk(2)
        return torch.maximum(plus, minus)


class Encoder(nn.Module):
    """Layers of a transformer, as torch makes them: fused in evaluation mode."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            8, 2, 12, batch_first=True, norm_first=norm_first, activation="gelu"
        )
        self.first, self.last = nn.Conv1d(4, 8, 5), nn.Linear(8, 2)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(torch.relu(self.first(x)).transpose(1, 2)).mean(1))


class LastFirst(nn.Module):
    """Axes of one among axes in another order, where the first is not that of the sequences."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.unsqueeze(1).permute(0, 3, 1, 2).permute(1, 0, 2, 3)
        return y.reshape(x.shape[2], x.shape[0], 4).transpose(0, 1).flatten(1)


_LAYER = aten._transformer_encoder_layer_fwd.default
SPELLINGS: dict[str, tuple[Any, int, set[Any], Any]] = {
    "encoder": (lambda: Encoder(False), 30, {_LAYER}, ops.layer_norm),
    "encoder-norms-first": (lambda: Encoder(True), 30, {_LAYER}, ops.layer_norm),
    "units": (lambda: ExplaiNN(79), 79, {aten.repeat.default}, ops.grouped),
    "two-of-a-softmax": (lambda: Enformer(75), 75, {ops.softmax_sum}, ops.softmax_pool),
    "einsum-and-softmax": (lambda: AITAC(90), 90, {aten.bmm.default}, ops.softmax_pool),
    "spectra": (lambda: Puffin(70), 70, {aten._fft_r2c.default}, aten.convolution.default),
    "spectra-of-both-signs": (
        lambda: WholeSpectra(67),
        67,
        {aten._fft_c2c.default},
        aten.convolution.default,
    ),
    "spectra-of-complex": (
        lambda: WholeSpectra(64, cast=True),
        64,
        {aten._fft_c2c.default},
        aten.convolution.default,
    ),
    "strands": (lambda: BothAtOnce(61), 61, {aten.cat.default}, aten.flip.default),
    "strands-in-turn": (
        lambda: BothInTurn(59, pairs=False),
        59,
        {aten.cat.default},
        aten.flip.default,
    ),
    "strands-in-pairs": (
        lambda: BothInTurn(58, pairs=True),
        58,
        {aten.view.default},
        aten.flip.default,
    ),
    "strands-repeated": (
        lambda: BothRepeated(57),
        57,
        {aten.expand.default, aten.slice_scatter.default, aten.slice.Tensor},
        aten.flip.default,
    ),
    "strands-stacked": (
        lambda: BothStacked(56, halves=False),
        56,
        {aten.permute.default, aten.slice.Tensor},
        aten.flip.default,
    ),
    "strands-stacked-halves": (
        lambda: BothStacked(55, halves=True),
        55,
        {aten.cat.default, aten.permute.default, aten.slice.Tensor},
        aten.flip.default,
    ),
    "strands-chunked": (Chunks, 40, {aten.cat.default, aten.split.Tensor}, aten.flip.default),
    "rows": (Rows, 30, {aten.addmm.default}, ops.layer_norm),
}


GLOBAL = {"encoder", "encoder-norms-first", "two-of-a-softmax"}
"""Those that mix all positions later on."""


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("trace", [False, True], ids=["scripted", "traced"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_is_rewritten(name, trace):
    make, length, gone, made = SPELLINGS[name]
    torch.manual_seed(2)
    program = program_of(make(), length, trace)
    found = targets(program)
    assert made in found
    assert not gone & set(found)


@pytest.mark.parametrize("name", [n for n in SPELLINGS if n not in GLOBAL])
def test_windows_last_to_a_layer_without_positions(name):
    make, length, *_ = SPELLINGS[name]
    program = program_of(make(), length)
    plan = make_plan(analyse(program))
    whole = {s.node for s in plan.steps if s.way == "whole tensor"}
    assert not [n for n in whole if length // 4 in program.specs[n].shape[1:]]
    assert plan.naive_macs > 3 * plan.macs


class Shared(nn.Module):
    """One batch of strands that see each other."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 5, 5)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        y = self.first(torch.cat([x, x.flip([1, 2])]))
        y = y - y.view(2, n, 5, -1).mean(0).repeat(2, 1, 1)
        return y[:n].amax(2)


class Gated(nn.Module):
    """A spectrum times another one of the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 3, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.fft.rfft(self.first(x))
        return torch.fft.irfft(y * torch.fft.rfft(F.softplus(x[:, :3])), n=x.shape[2])


class Crossed(nn.Module):
    """Strands one after the other, read as if they were in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(torch.cat([x, x.flip([1, 2])]))[0::2].amax(2)


@pytest.mark.parametrize("make", [Shared, Gated, Crossed])
def test_what_only_looks_alike_is_left(make):
    kept = aten._fft_c2r.default if make is Gated else aten.cat.default
    assert kept in targets(program_of(make(), 40))


class Meeting(nn.Module):
    """Strands in turn that meet between two convolutions, and are weighed each in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(4, 5, 5), nn.Conv1d(5, 3, 3)
        self.weights = nn.Buffer(torch.tensor([1.0, -0.5])[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        y = self.first(torch.cat([x, x.flip([1, 2])], 1).view(2 * n, 4, -1))
        y = torch.relu(y).view(n, 2, 5, -1) * self.weights
        y = self.second((y - y.mean(1, keepdim=True)).flatten(0, 1)).amax(2)
        return y.view(n, 6)


def test_strands_that_meet_are_parted_again():
    program = program_of(Meeting(), 40)
    assert not [
        n for n in program.calls() if program.specs.get(n.name, program.specs["x"]).shape[0] > 1
    ]
    plan = make_plan(analyse(program))
    assert plan.naive_macs > 3 * plan.macs


def test_axes_of_one_among_others() -> None:
    program = program_of(LastFirst(), 20, trace=True)
    assert aten.transpose.int not in targets(program)


@pytest.mark.parametrize("case", ATTENDING, ids=lambda case: case.name)
def test_attention_is_one_operator(case):
    found = targets(program_of(case.build(), case.length))
    assert ops.attention in found
    assert not {aten.bmm.default, aten._softmax.default} & set(found)


def test_only_the_queries_that_are_read_are_left():
    case = next(c for c in ATTENDING if c.name == "attention-class-token")
    program = program_of(case.build(), case.length)
    shapes = [program.specs[n.name].shape for n in program.calls() if n.target is ops.attention]
    assert shapes == [(1, 14, 8), (1, 1, 8)]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("trace", [False, True], ids=["scripted", "traced"])
def test_a_crop_goes_before_attention_that_einsum_spells(trace):
    program = program_of(Enformer(75), 75, trace)
    shapes = [program.specs[n.name].shape for n in program.calls() if n.target is ops.attention]
    assert shapes == [(1, 11, 8)]
