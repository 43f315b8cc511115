"""Awkward cases of whole nets: branches, what all positions share, inputs and outputs."""

from __future__ import annotations

import torch
from torch import nn

from tests.support.blocks import (
    Cat,
    Flip,
    Gated,
    Pad,
    Permute,
    Point,
    Position,
    Reduce,
    Residual,
    Slice,
    Strands,
)
from tests.support.case import SCALES, Case, NeXt, conv, flat, pooled, seq, stem
from tests.support.odd_nets import (
    Constant,
    ContactMap,
    Decides,
    Einsum,
    Enformer,
    Letters,
    Named,
    Profile,
    Scalar,
    Shared,
    TrackFirst,
    TwoInputs,
    UNet,
)
from tests.support.scaled_blocks import (
    Attention,
    Excite,
    Glance,
    Mix,
    Recurrent,
    Weigh,
)

GLOBAL = ("sum", "mean", "max", "amax", "min", "logsumexp", "std", "norm", "top3", "last")
MIXES: tuple[str, ...] = ("cumsum", "cummax", "roll", "gram", "pairs", "depth", "shuffle", "unfold")
MIXES += ("halves", "rewrite", "fourier", "sort", "differences", "outside", "ramp", "repeat")
WEIGHS = ("product", "own", "masked", "edges", "matrix", "einsum", "log", "profile", "strands")

NETS: list[Case] = [
    # Branches.
    Case(
        "residual-with-norm",
        lambda n: flat(
            n, stem(), Residual(nn.BatchNorm1d(6), nn.ReLU(), conv(), nn.Conv1d(6, 6, 3, padding=1))
        ),
    ),
    Case("inception", lambda n: flat(n, Cat(*(conv(4, 4, k) for k in (3, 7, 11))), conv(12))),
    Case(
        "branches-of-other-reach",
        lambda n: flat(
            n,
            stem(),
            Cat(nn.MaxPool1d(3, 1, 1), conv(kernel=9, dilation=2, padding=8), nn.Identity()),
            nn.AvgPool1d(4),
        ),
    ),
    Case(
        "dense-connections",
        lambda n: flat(
            n,
            stem(),
            Cat(nn.Identity(), conv(6, 3)),
            Cat(nn.Identity(), conv(9, 3)),
            nn.MaxPool1d(3),
        ),
    ),
    Case(
        "branches-along-positions",
        lambda n: flat(n, stem(), Cat(nn.MaxPool1d(2), nn.AvgPool1d(3), dim=2), conv()),
    ),
    Case("gated", lambda n: flat(n, stem(), Gated(conv(kernel=5), nn.Conv1d(6, 6, 3, padding=1)))),
    Case("glu", lambda n: flat(n, nn.Conv1d(4, 12, 5), nn.GLU(1), conv(), nn.GLU(2))),
    Case(
        "whole-beside-window",
        lambda n: flat(
            n, stem(), Cat(Excite(6), nn.MaxPool1d(3, 1, 1), Pad(1, -1)), nn.MaxPool1d(2)
        ),
    ),
    Case("squeeze-excite", lambda n: flat(n, stem(), Excite(6), nn.MaxPool1d(4))),
    Case(
        "strands-max",
        lambda n: flat(n, Strands(conv(4, 6, 6, padding=2), "max"), nn.MaxPool1d(2)),
        41,
    ),
    Case("strands-mean-early", lambda n: flat(n, Strands(stem(), "mean"), conv(), nn.MaxPool1d(3))),
    Case("strands-cat", lambda n: flat(n, Strands(conv(4, 4, 5), "cat"), conv(8))),
    Case(
        "strands-whole-model",
        lambda n: Strands(flat(n, stem(), nn.MaxPool1d(4)), "mean", turn=False),
    ),
    Case("flip-positions", lambda n: flat(n, stem(), Flip(2), conv(), nn.MaxPool1d(3)), 47),
    Case("u-net", lambda n: UNet(), 40),
    Case("shared-weights", lambda n: Shared()),
    Case("position-embedding", lambda n: flat(n, stem(), Position(6, n), nn.ReLU(), conv())),
    # Over all positions.
    *(
        Case(
            f"global-{kind}",
            lambda n, kind=kind: seq(
                stem(),
                nn.Conv1d(6, 6, 3),
                Reduce(kind),
                nn.Linear(6, 8),
                nn.Tanh(),
                nn.Linear(8, 2),
            ),
            37,
        )
        for kind in GLOBAL
    ),
    # What all positions are scaled by, and linear maps and a mean behind it.
    *(
        Case(f"{name}-then-mean", lambda n, body=body: seq(stem(), body(n), *pooled()), 43)
        for name, body in SCALES.items()
    ),
    Case(
        "squeeze-excite-conv-crop-mean",
        lambda n: seq(
            stem(),
            Excite(6),
            nn.Conv1d(6, 6, 5, 2, 4, 2),
            Slice(1, -2),
            *pooled(),
        ),
        47,
    ),
    Case(
        "group-norm-pointwise-mean",
        lambda n: seq(stem(), conv(), nn.GroupNorm(2, 6), nn.Conv1d(6, 6, 1), *pooled()),
        41,
    ),
    Case("response-block-mean", lambda n: seq(stem(), Residual(NeXt(6)), *pooled()), 42),
    Case("select-a-position", lambda n: seq(stem(), conv(kernel=5), Reduce("middle")), 39),
    Case("mean-over-all", lambda n: seq(stem(), conv(kernel=5), Reduce("both")), 39),
    Case(
        "matrix-over-positions", lambda n: flat(n, stem(), conv(), nn.Linear(n, 5), nn.ReLU()), 39
    ),
    *(
        Case(f"weigh-{kind}", lambda n, kind=kind: seq(stem(), conv(6, 5), Weigh(kind, 5)), 39)
        for kind in WEIGHS
    ),
    Case(
        "global-in-the-middle",
        lambda n: flat(n, stem(), Gated(nn.Identity(), Reduce("mean", keepdim=True)), conv()),
    ),
    *(
        Case(f"mix-{kind}", lambda n, kind=kind: flat(n, stem(), Mix(kind), nn.ReLU()), 24)
        for kind in MIXES
    ),
    Case("glance", lambda n: seq(stem(), Glance(6), nn.Linear(6, 2))),
    Case("attention", lambda n: flat(n, stem(8), nn.MaxPool1d(4), Residual(Attention(8, 2)))),
    Case(
        "transformer-layer",
        lambda n: flat(
            n,
            stem(8),
            nn.MaxPool1d(4),
            Permute(0, 2, 1),
            nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.1),
        ),
    ),
    Case(
        "lstm",
        lambda n: seq(
            stem(),
            nn.MaxPool1d(3),
            Recurrent(nn.LSTM(6, 5, batch_first=True)),
            Reduce("last"),
            nn.Linear(5, 2),
        ),
    ),
    Case(
        "lstm-both-ways",
        lambda n: flat(
            n,
            stem(),
            nn.MaxPool1d(3),
            Recurrent(nn.LSTM(6, 4, bidirectional=True, batch_first=True)),
        ),
    ),
    Case(
        "gru-two-layers",
        lambda n: flat(n, stem(), nn.MaxPool1d(5), Recurrent(nn.GRU(6, 4, 2, batch_first=True))),
        21,
    ),
    Case("enformer", lambda n: Enformer(), 56),
    Case("contact-map", lambda n: ContactMap(), 40),
    # Upsampling.
    Case(
        "upsample-nearest",
        lambda n: flat(n, stem(), nn.MaxPool1d(4), nn.Upsample(scale_factor=3.0), conv()),
    ),
    Case(
        "upsample-linear",
        lambda n: flat(
            n, stem(), nn.MaxPool1d(2), nn.Upsample(scale_factor=2.0, mode="linear"), conv()
        ),
        42,
    ),
    Case(
        "upsample-linear-corners",
        lambda n: flat(
            n, stem(), nn.Upsample(size=61, mode="linear", align_corners=True), nn.ReLU()
        ),
        40,
    ),
    # Inputs, outputs, alphabets.
    Case("outputs-profile", lambda n: Profile()),
    Case("outputs-counts", lambda n: Profile(), output=1),
    Case("outputs-all", lambda n: Profile(), output="all"),
    Case("outputs-named", lambda n: Named(), output="all", traced=False),
    Case("output-scalar", lambda n: Scalar()),
    Case("output-partly-constant", lambda n: Constant()),
    Case("output-exp", lambda n: seq(stem(), Reduce("mean"), nn.Linear(6, 2), Point("exp"))),
    Case(
        "output-log-softmax",
        lambda n: seq(stem(), nn.Conv1d(6, 1, 5), nn.Flatten(), nn.LogSoftmax(1)),
    ),
    Case("output-softplus-profile", lambda n: seq(stem(), nn.Conv1d(6, 2, 5), nn.Softplus())),
    Case("inputs-vector", TwoInputs, extra={1: torch.tensor([0.5, -1.0, 0.0, 2.0, 1.0])}),
    Case(
        "inputs-track-first",
        lambda n: TrackFirst(),
        extra={0: torch.linspace(-1.0, 1.0, 48).unsqueeze(0)},
    ),
    Case(
        "letters-20",
        lambda n: flat(n, nn.Conv1d(20, 6, 5), nn.ReLU(), nn.MaxPool1d(3), letters=20),
        31,
        20,
    ),
    Case("letters-2", lambda n: seq(nn.Conv1d(2, 6, 5), nn.ReLU(), Reduce("amax")), 33, 2),
    Case(
        "length-shorter-than-pools", lambda n: flat(n, stem(), nn.MaxPool1d(6), nn.MaxPool1d(2)), 13
    ),
    # Others.
    Case(
        "dense-only",
        lambda n: seq(nn.Flatten(), nn.Linear(4 * n, 8), nn.ReLU(), nn.Linear(8, 2)),
        30,
    ),
    Case("linear-model", lambda n: seq(nn.Flatten(), nn.Linear(4 * n, 2)), 30),
    Case("pool-first", lambda n: flat(n, nn.AvgPool1d(3, 1, 1), conv(4, 6, 5)), 32),
    Case("einsum", Einsum),
    Case("embedding-of-argmax", lambda n: Letters(), 33),
    Case("decides-from-data", lambda n: Decides(), 30, traced=False, captured=False),
]
