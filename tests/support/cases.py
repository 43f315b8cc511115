"""Small awkward architectures: what published models do, and what nobody should but somebody will.

Each case builds the same module from its seed every time. `function` turns one into what the oracle
wants, by rules written here again and not taken from the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.blocks import (
    Attention,
    Blocks,
    Cat,
    Excite,
    Flip,
    Gated,
    Glance,
    Mix,
    Pad,
    Permute,
    Point,
    Position,
    Recurrent,
    Reduce,
    Residual,
    Response,
    Slice,
    Squeeze,
    Steady,
    Strands,
    Unsqueeze,
    Weigh,
    settle,
)

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "NCL": lambda x: x,
    "NLC": lambda x: x.permute(0, 2, 1),
    "NCL1": lambda x: x[..., None],
    "NC1L": lambda x: x[:, :, None],
    "N1LC": lambda x: x.permute(0, 2, 1)[:, None],
    "N1CL": lambda x: x[:, None],
}


@dataclass(frozen=True, slots=True)
class Case:
    """One architecture.

    Attributes
    ----------
    name : str
        Its id.
    make : callable
        ``(length) -> nn.Module`` with weights from torch's global generator.
    length, letters : int
        L and A.
    layout : str
        Axes that the module wants.
    output : int or str
        Which output counts when there are several; `all` for all, one after the other.
    extra : mapping of int to Tensor
        Further inputs, without a batch axis, by position among all inputs.
    scripted, traced : bool
        What TorchScript can make of it.
    captured : bool
        Whether the computation is the same whatever the sequence, so that one graph tells all.
    """

    name: str
    make: Callable[..., nn.Module]
    length: int = 48
    letters: int = 4
    layout: str = "NCL"
    output: int | str = 0
    extra: Mapping[int, Tensor] = field(default_factory=dict)
    scripted: bool = True
    traced: bool = True
    captured: bool = True

    def build(self, seed: int = 0) -> nn.Module:
        """The module: float32, eval mode, no gradients."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return settle(self.make(self.length))

    def arguments(self, x: Tensor) -> list[Tensor]:
        """All inputs for sequences (N, A, L), in order."""
        free = min(set(range(len(self.extra) + 1)) - set(self.extra))
        inputs = {free: LAYOUTS[self.layout](x).contiguous()}
        for place, value in self.extra.items():
            value = value.to(x.dtype) if value.is_floating_point() else value
            inputs[place] = value.expand(len(x), *value.shape)
        return [inputs[i] for i in sorted(inputs)]

    def function(
        self, dtype: torch.dtype, seed: int = 0, device: str = "cpu"
    ) -> Callable[[Tensor], Tensor]:
        """One-hot (N, A, L) -> targets (N, T), in one precision, computed on `device`."""
        module = self.build(seed).to(device, dtype)

        def call(x: Tensor) -> Tensor:
            value = module(*(argument.to(device) for argument in self.arguments(x)))
            if isinstance(value, dict):
                value = tuple(value.values())
            if not isinstance(value, Tensor):
                parts = value if self.output == "all" else [value[self.output]]
                value = torch.cat([part.reshape(len(x), -1) for part in parts], dim=1)
            return value.reshape(len(x), -1).to(x.device)

        return call


def stem(channels: int = 6, kernel: int = 5) -> nn.Sequential:
    """A first layer that keeps the length."""
    return nn.Sequential(nn.Conv1d(4, channels, kernel, padding=kernel // 2), nn.ReLU())


def flat(length: int, *body: nn.Module, targets: int = 3, letters: int = 4) -> nn.Module:
    """Layers, then flatten and a dense layer of the size that comes out."""
    layers = nn.Sequential(*body, nn.Flatten()).eval()
    with torch.no_grad():
        size = layers(torch.zeros(2, letters, length)).shape[1]
    return nn.Sequential(layers, nn.Linear(size, targets))


def seq(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def pooled() -> list[nn.Module]:
    """The mean over positions and two layers."""
    return [Reduce("mean"), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)]


SCALES: dict[str, Callable[[int], nn.Module]] = {
    "squeeze-excite": lambda n: Residual(Excite(6)),
    "response-norm": lambda n: Response(6),
    "root-mean-square": lambda n: Steady(6),
    "group-norm": lambda n: nn.GroupNorm(3, 6),
    "one-group-norm": lambda n: nn.GroupNorm(1, 6),
    "instance-norm": lambda n: seq(nn.InstanceNorm1d(6, affine=True), Slice(2, -9)),
    "layer-norm": lambda n: nn.LayerNorm([6, n]),
}
"""What scales every position alike, by the length."""


class NeXt(nn.Module):
    """A block of ConvNeXt V2, its channels last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.along = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.wide = seq(nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.GELU())
        self.scale, self.narrow = Response(2 * channels), nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(self.along(x).transpose(1, 2))
        y = self.scale(y.transpose(1, 2)).transpose(1, 2)
        return self.narrow(y).transpose(1, 2)


def conv(n: int = 6, m: int = 6, kernel: int = 3, **options) -> nn.Module:
    options.setdefault("padding", kernel // 2)
    return nn.Sequential(nn.Conv1d(n, m, kernel, **options), nn.ReLU())


class Profile(nn.Module):
    """A profile and a scalar of a common trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = seq(stem(), Residual(conv(dilation=2, padding=2)))
        self.profile, self.counts = nn.Conv1d(6, 2, 7), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.profile(x)[:, :, 4:-4], self.counts(x.mean(2))


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both = Profile()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        profile, counts = self.both(x)
        return {"profile": profile, "counts": counts}


class Scalar(nn.Module):
    """One number a sequence, without an axis of targets."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = stem(), nn.Conv1d(6, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).mean(dim=[1, 2])


class TwoInputs(nn.Module):
    """Sequences and a vector per sequence, which gates the channels and joins the dense layer."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.body, self.gate = stem(), nn.Linear(5, 6)
        self.head = nn.Linear(6 * length + 5, 3)

    def forward(self, x: Tensor, cell: Tensor) -> Tensor:
        y = self.body(x) * torch.sigmoid(self.gate(cell)).unsqueeze(2)
        return self.head(torch.cat([y.flatten(1), cell], dim=1))


class TrackFirst(nn.Module):
    """A track over positions before the sequences among the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = seq(nn.Conv1d(5, 6, 7, padding=3), nn.ReLU(), nn.Conv1d(6, 2, 3))

    def forward(self, track: Tensor, x: Tensor) -> Tensor:
        return self.body(torch.cat([x, track], dim=1))


class Shared(nn.Module):
    """One convolution and one norm used three times over."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = stem(), nn.Conv1d(6, 6, 3, padding=1), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = torch.relu(self.norm(self.conv(x)))
        return x.mean(2)


class Einsum(nn.Module):
    def __init__(self, length: int) -> None:
        super().__init__()
        self.stem = stem()
        self.mix, self.table = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(length, 5))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("ncl,kc->nkl", self.stem(x), self.mix)
        return torch.einsum("nkl,lk->nk", torch.tanh(y), self.table)


class Letters(nn.Module):
    """Letters back to codes, and an embedding of them, as language models want."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(4, 6), nn.Conv1d(6, 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x.argmax(1)).transpose(1, 2))


class Decides(nn.Module):
    """Two bodies; each sequence is sent through one of them by what it contains."""

    def __init__(self) -> None:
        super().__init__()
        self.rich, self.poor = stem(), stem()

    def forward(self, x: Tensor) -> Tensor:
        rows: list[Tensor] = []
        for i in range(x.shape[0]):
            row = x[i : i + 1]
            if bool(row[:, 1:3].sum() > 0.5 * row.sum()):
                rows.append(self.rich(row).mean(2))
            else:
                rows.append(self.poor(row).sum(2))
        return torch.cat(rows)


class UNet(nn.Module):
    """Down by 2 twice, up again, skips by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = stem(), conv(), conv()
        self.up1, self.up2 = nn.ConvTranspose1d(6, 6, 2, stride=2), nn.Upsample(scale_factor=2.0)
        self.d, self.e = conv(12), nn.Conv1d(12, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(F.max_pool1d(a, 2))
        c = self.c(F.avg_pool1d(b, 2))
        d = self.d(torch.cat([self.up1(c), b], 1))
        return self.e(torch.cat([self.up2(d), a], 1))


class Constant(nn.Module):
    """Targets of which one does not depend on the sequence, and a branch of parameters only."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.bias = stem(), nn.Parameter(torch.randn(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x).amax(2)
        return torch.cat([y, torch.tanh(self.bias).expand(x.shape[0], 1)], dim=1)


class ContactMap(nn.Module):
    """Pairs of positions, then a 2-D convolution over the map, as models of chromosome folding."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.map = seq(stem(), nn.MaxPool1d(4)), nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.map(torch.relu(y.unsqueeze(3) + y.unsqueeze(2)))


class Enformer(nn.Module):
    """Convolutions with attention pooling, a transformer, a crop, softplus; (N, L', targets)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = seq(nn.Conv1d(4, 8, 7, padding=3), Residual(Norm(8), conv(8, 8, 1)))
        self.pools = seq(Blocks(2, 8, True), Norm(8), conv(8, 8, 5), Blocks(2, 8, True))
        self.transformer = seq(Residual(ChannelNorm(8), Attention(8, 2)), ChannelNorm(8))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transformer(self.pools(self.stem(x)))[:, :, 2:-2]
        return F.softplus(self.head(x.transpose(1, 2)))


class Norm(nn.Module):
    """Batch norm and GELU, in the order of Enformer's blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return torch.sigmoid(1.702 * x) * x


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


def weight_normed() -> nn.Module:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 5))
    return seq(layer, nn.ReLU(), nn.Conv1d(6, 2, 3))


def pool2d(where: str) -> nn.Module:
    """DeepSEA as published ports spell it: 2-D layers around a dummy axis of size 1."""
    k, p, last = {"NC1L": ((1, 5), (1, 3), (1, 4)), "NCL1": ((5, 1), (3, 1), (4, 1))}[where]
    return seq(
        nn.Conv2d(4, 6, k),
        nn.ReLU(),
        nn.MaxPool2d(p, p),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 5, last),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * 11, 3),
    )


def image(where: str) -> nn.Module:
    """The letters as the width or the height of an image with one channel."""
    first, rest = {"N1LC": ((5, 4), (3, 1)), "N1CL": ((4, 5), (1, 3))}[where]
    return seq(nn.Conv2d(1, 6, first), nn.ReLU(), nn.Conv2d(6, 4, rest), nn.Flatten(2))


GLOBAL = ("sum", "mean", "max", "amax", "min", "logsumexp", "std", "norm", "top3", "last")
POINTS = ("exp", "log", "log1p", "power", "clamp", "where", "normalise", "softmax", "rational")
MIXES: tuple[str, ...] = ("cumsum", "cummax", "roll", "gram", "pairs", "depth", "shuffle", "unfold")
MIXES += ("halves", "rewrite", "fourier", "sort", "differences", "outside", "ramp", "repeat")

WEIGHS = ("product", "own", "masked", "edges", "matrix", "einsum", "log", "profile", "strands")

CASES: list[Case] = [
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
