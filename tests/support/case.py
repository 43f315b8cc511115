"""What a small architecture to judge backends on is, and what most of them are put together from.

Each case builds the same module from its seed every time. `function` turns one into what the oracle
wants, by rules written here again and not taken from the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tests.support.blocks import (
    Reduce,
    Residual,
    Slice,
    settle,
)
from tests.support.scaled_blocks import (
    Excite,
    Response,
    Steady,
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
