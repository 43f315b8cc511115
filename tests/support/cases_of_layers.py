"""Awkward cases of single layers: convolutions, padding, pools, axes, norms, functions."""

from __future__ import annotations

from torch import nn

from tests.support.blocks import (
    Pad,
    Permute,
    Point,
    Reduce,
    Residual,
    Slice,
    Squeeze,
    Unsqueeze,
)
from tests.support.case import Case, conv, flat, seq, stem
from tests.support.odd_nets import ChannelNorm, image, pool2d, weight_normed
from tests.support.scaled_blocks import (
    Blocks,
    Recurrent,
)

POINTS = ("exp", "log", "log1p", "power", "clamp", "where", "normalise", "softmax", "rational")

LAYERS: list[Case] = [
    # Convolutions.
    Case("conv-valid-odd-length", lambda n: flat(n, nn.Conv1d(4, 6, 5), nn.ReLU()), 41),
    Case("conv-linear-profile", lambda n: nn.Conv1d(4, 5, 7, padding=3), 33),
    Case("conv-even-kernels", lambda n: flat(n, conv(4, 6, 6), conv(6, 6, 4), conv(6, 5, 2)), 43),
    Case("conv-same-even", lambda n: flat(n, conv(4, 6, 4, padding="same"), conv()), 40),
    Case(
        "conv-same-dilated",
        lambda n: seq(conv(4, 6, 6, padding="same", dilation=3), nn.Conv1d(6, 2, 3)),
    ),
    Case("conv-stride-3", lambda n: flat(n, conv(4, 6, 7, stride=3), conv(kernel=5, stride=2)), 50),
    Case("conv-stride-beyond-kernel", lambda n: flat(n, conv(4, 6, 2, stride=5, padding=1)), 47),
    Case("conv-dilated", lambda n: flat(n, conv(4, 6, 3, dilation=4), conv(kernel=5, dilation=3))),
    Case("conv-groups", lambda n: flat(n, stem(), conv(6, 12, 5, groups=3), conv(12, 6, groups=2))),
    Case("conv-depthwise", lambda n: flat(n, stem(), conv(6, 12, 5, groups=6), conv(12, 4, 1))),
    Case("conv-no-bias", lambda n: flat(n, conv(4, 6, 5, bias=False), conv(6, 6, 3, bias=False))),
    *(
        Case(
            f"conv-padding-{mode}",
            lambda n, mode=mode: flat(
                n,
                conv(4, 6, 7, padding_mode=mode),
                conv(6, 6, 5, dilation=2, padding=4, padding_mode=mode),
                nn.MaxPool1d(2),
            ),
            39,
        )
        for mode in ("reflect", "replicate", "circular")
    ),
    Case(
        "conv-transposed",
        lambda n: flat(
            n,
            stem(),
            nn.MaxPool1d(2),
            nn.ConvTranspose1d(6, 4, 5, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
        ),
        37,
    ),
    Case(
        "conv-transposed-groups-dilated",
        lambda n: seq(stem(), nn.ConvTranspose1d(6, 4, 3, stride=3, groups=2, dilation=2)),
        25,
    ),
    Case("kernel-longer-than-sequence", lambda n: flat(n, conv(4, 6, 61), conv()), 31),
    Case(
        "kernel-of-whole-sequence", lambda n: seq(nn.Conv1d(4, 5, n), nn.GELU(), nn.Flatten()), 32
    ),
    Case(
        "window-wider-than-sequence",
        lambda n: flat(n, stem(), *(Residual(conv(dilation=2**i, padding=2**i)) for i in range(6))),
    ),
    Case(
        "dilated-residual-stack",
        lambda n: seq(
            stem(),
            *(Residual(conv(dilation=2**i, padding=2**i)) for i in range(1, 4)),
            nn.Conv1d(6, 2, 9, padding=4),
        ),
        70,
    ),
    Case("weight-norm", lambda n: weight_normed(), scripted=False),
    # Padding and cutting.
    Case("pad-asymmetric", lambda n: flat(n, Pad(5, 1), nn.Conv1d(4, 6, 7), nn.ReLU()), 40),
    Case("pad-with-a-value", lambda n: flat(n, Pad(3, 3, value=0.25), conv(4, 6, 7, padding=0))),
    Case("pad-reflect-function", lambda n: flat(n, stem(), Pad(4, 2, "reflect"), conv()), 41),
    Case(
        "pad-replicate-then-pool",
        lambda n: flat(n, stem(), Pad(1, 0, "replicate"), nn.MaxPool1d(4)),
        43,
    ),
    Case("pad-negative", lambda n: seq(stem(), Pad(-4, -3), nn.Conv1d(6, 2, 3, padding=1))),
    Case("slice-negative", lambda n: flat(n, stem(), Slice(5, -4), conv())),
    Case("slice-steps", lambda n: flat(n, stem(), Slice(1, -1, 3), conv())),
    Case("slice-input", lambda n: flat(n, Slice(10, -10), stem())),
    # Pooling.
    Case("max-pool-drops-the-rest", lambda n: flat(n, stem(), nn.MaxPool1d(5), conv()), 49),
    Case("max-pool-ceil", lambda n: flat(n, stem(), nn.MaxPool1d(4, ceil_mode=True), conv()), 45),
    Case(
        "max-pool-padded-dilated",
        lambda n: flat(n, stem(), nn.MaxPool1d(3, stride=2, padding=1, dilation=2), conv()),
    ),
    Case("max-pool-overlapping", lambda n: flat(n, stem(), nn.MaxPool1d(7, 2), nn.MaxPool1d(3, 1))),
    Case(
        "max-pool-before-relu",
        lambda n: flat(n, nn.Conv1d(4, 6, 5), nn.MaxPool1d(3), nn.ReLU(), nn.BatchNorm1d(6)),
    ),
    Case("avg-pool-counts-padding", lambda n: flat(n, stem(), nn.AvgPool1d(5, 3, 2), conv()), 46),
    Case(
        "avg-pool-without-padding",
        lambda n: flat(
            n, stem(), nn.AvgPool1d(4, 3, 2, ceil_mode=True, count_include_pad=False), conv()
        ),
        44,
    ),
    Case("avg-pool-ceil", lambda n: flat(n, stem(), nn.AvgPool1d(4, ceil_mode=True), conv()), 45),
    Case("adaptive-avg-divisible", lambda n: flat(n, stem(), nn.AdaptiveAvgPool1d(8), nn.ReLU())),
    Case("adaptive-avg-uneven", lambda n: flat(n, stem(), nn.AdaptiveAvgPool1d(7), conv())),
    Case("adaptive-max-divisible", lambda n: flat(n, stem(), nn.AdaptiveMaxPool1d(12), conv())),
    Case("adaptive-max-uneven", lambda n: flat(n, stem(), nn.AdaptiveMaxPool1d(9)), 50),
    Case("adaptive-avg-to-one", lambda n: flat(n, stem(), nn.AdaptiveAvgPool1d(1))),
    Case(
        "adaptive-2d-to-one",
        lambda n: flat(
            n, Unsqueeze(2), nn.Conv2d(4, 6, (1, 5)), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        ),
    ),
    Case("max-pool-of-everything", lambda n: flat(n, stem(), nn.MaxPool1d(n), nn.Sigmoid())),
    Case("avg-pool-of-everything", lambda n: flat(n, stem(), nn.AvgPool1d(n), nn.Sigmoid())),
    Case("adaptive-max-to-one", lambda n: flat(n, stem(), nn.AdaptiveMaxPool1d(1))),
    Case("lp-pool", lambda n: flat(n, conv(4, 6, 5), nn.LPPool1d(2, 3), conv())),
    Case("softmax-pool-of-values", lambda n: flat(n, stem(), Blocks(3, 6, False), conv()), 49),
    Case("softmax-pool-learned", lambda n: flat(n, stem(), Blocks(4, 6, True), conv()), 48),
    # Axes and layouts.
    Case("layout-nc1l", lambda n: pool2d("NC1L"), layout="NC1L"),
    Case("layout-ncl1", lambda n: pool2d("NCL1"), layout="NCL1"),
    Case("layout-n1lc", lambda n: image("N1LC"), layout="N1LC"),
    Case("layout-n1cl", lambda n: image("N1CL"), layout="N1CL"),
    Case(
        "layout-nlc",
        lambda n: seq(
            nn.Linear(4, 6), Permute(0, 2, 1), conv(kernel=5), Permute(0, 2, 1), nn.Linear(6, 2)
        ),
        layout="NLC",
    ),
    Case(
        "recurrent-first-layout-nlc",
        lambda n: seq(Permute(0, 2, 1), Recurrent(nn.GRU(4, 5, batch_first=True)), Reduce("last")),
        9,
        layout="NLC",
    ),
    Case(
        "unsqueezed-inside",
        lambda n: flat(
            n,
            Unsqueeze(2),
            nn.Conv2d(4, 6, (1, 5)),
            nn.ReLU(),
            nn.MaxPool2d((1, 2)),
            Squeeze(2),
            conv(),
        ),
    ),
    Case(
        "linear-per-position",
        lambda n: seq(stem(), Permute(0, 2, 1), nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 2)),
        31,
    ),
    Case("flatten-position-major", lambda n: flat(n, stem(), nn.MaxPool1d(3), Permute(0, 2, 1))),
    Case(
        "flatten-then-relu",
        lambda n: seq(stem(), nn.MaxPool1d(2), nn.Flatten(), nn.ReLU(), nn.Linear(6 * (n // 2), 3)),
    ),
    Case(
        "flatten-then-gelu-and-norm",
        lambda n: seq(
            flat(n, stem(), nn.MaxPool1d(3), nn.Flatten(), nn.GELU(), nn.BatchNorm1d(6 * (n // 3))),
            nn.Sigmoid(),
        ),
    ),
    Case(
        "flatten-then-view-back",
        lambda n: seq(stem(), nn.Flatten(), nn.ELU(), nn.Unflatten(1, (6, n)), nn.Conv1d(6, 2, 3)),
    ),
    # Norms.
    Case(
        "batch-norms",
        lambda n: seq(
            flat(
                n,
                nn.BatchNorm1d(4),
                nn.Conv1d(4, 6, 5),
                nn.BatchNorm1d(6),
                nn.ReLU(),
                nn.BatchNorm1d(6),
                nn.MaxPool1d(2),
                targets=5,
            ),
            nn.BatchNorm1d(5),
            nn.ReLU(),
            nn.Linear(5, 2),
        ),
    ),
    Case("layer-norm-per-position", lambda n: flat(n, stem(), ChannelNorm(6), conv())),
    Case("layer-norm-over-all", lambda n: flat(n, stem(), nn.LayerNorm([6, n]), nn.MaxPool1d(4))),
    Case("group-norm", lambda n: flat(n, stem(), nn.GroupNorm(3, 6), conv())),
    Case("instance-norm", lambda n: flat(n, stem(), nn.InstanceNorm1d(6), conv())),
    # Element-wise.
    *(
        Case(
            f"point-{kind}",
            lambda n, kind=kind: flat(n, nn.Conv1d(4, 6, 5), Point(kind), nn.MaxPool1d(2), conv()),
        )
        for kind in POINTS
    ),
    Case(
        "activations",
        lambda n: flat(
            n,
            nn.Conv1d(4, 6, 5),
            nn.ELU(),
            conv(),
            nn.SiLU(),
            conv(),
            nn.LeakyReLU(0.1),
            conv(),
            nn.PReLU(6),
            nn.Softplus(),
            nn.Mish(),
            nn.Hardswish(),
            nn.Tanh(),
        ),
    ),
    Case(
        "in-place-relu",
        lambda n: flat(
            n,
            nn.Conv1d(4, 6, 5),
            nn.ReLU(inplace=True),
            Residual(nn.Conv1d(6, 6, 1), nn.ReLU(inplace=True)),
            nn.MaxPool1d(2),
            nn.Dropout(0.5),
        ),
    ),
    Case("sine", lambda n: seq(nn.Conv1d(4, 6, 5), Point("sine"), nn.Conv1d(6, 2, 3))),
]
