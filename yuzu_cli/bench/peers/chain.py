"""A network as a plain list of layers, for tools that know no other form of it.

The published Yuzu runs a model's children one after the other, and a translation to Keras needs to
know what follows what. A network that is not such a list is refused by comparing outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn

from yuzu_cli.bench.methods import CannotRun


class Rows(nn.Module):
    """One tensor (N, T): a model's first output, flattened."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = self.module(x)
        return (value[0] if isinstance(value, (tuple, list)) else value).flatten(1)


def leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Layers without layers of their own, in order of definition; dropout left out."""
    children = list(module.children())
    for child in children:
        yield from leaves(child)
    if not children and not isinstance(module, nn.Dropout):
        yield module


def layers(module: nn.Module, length: int, alphabet: int = 4) -> list[nn.Module]:
    """The layers of a network that runs them one after the other.

    A `Flatten` is put in where a dense layer follows a convolution.

    Raises
    ------
    CannotRun
        The list gives other numbers than the network.
    """
    found = list(leaves(module))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, alphabet, length, generator=draw)
    chain: list[nn.Module] = []
    y = x
    try:
        for layer in found:
            if isinstance(layer, nn.Linear) and y.dim() == 3:
                chain.append(nn.Flatten())
                y = chain[-1](y)
            chain.append(layer)
            y = layer(y)
        same = torch.allclose(y.flatten(1), Rows(module)(x), rtol=1e-4, atol=1e-5)
    except (RuntimeError, ValueError, IndexError):
        same = False
    if not same:
        raise CannotRun("the network is not a list of layers, each run on the result of the last")
    return chain


def by_position(chain: list[nn.Module], length: int) -> list[tuple[nn.Module, torch.Tensor]]:
    """Copies of the layers, each with its result, dense ones for values (N, L, C) flattened.

    The results, of zeros (2, 4, L), are those of the layers as they are.
    """
    made: list[tuple[nn.Module, torch.Tensor]] = []
    y = torch.zeros(2, 4, length)
    shape: tuple[int, int] | None = None
    for layer in chain:
        own = copy.deepcopy(layer)
        if isinstance(layer, nn.Flatten):
            shape = (y.shape[1], y.shape[2])
        elif isinstance(own, nn.Linear) and shape:
            weight = own.weight.data.unflatten(1, shape).transpose(1, 2).flatten(1)
            own.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
            shape = None
        y = layer(y)
        made.append((own, y))
    return made
