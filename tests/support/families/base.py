"""Small models around one operator: letters, something that makes windows, the operator, an end.

A recipe is one flat dictionary that prints, shrinks and can be kept as an example. A family is a
function ``(x, w, at, **options)``: x the tensor, w a source of weights, `at` its position axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

Recipe = dict[str, Any]
CHANNELS = 4

LAYOUTS: dict[str, tuple[Callable[[Tensor], Tensor], int, int]] = {
    "NCL": (lambda x: x, 2, 1),
    "NLC": (lambda x: x.transpose(1, 2), 1, 2),
    "NC1L": (lambda x: x.unsqueeze(2), 3, 1),
    "NCL1": (lambda x: x.unsqueeze(3), 2, 1),
    "N1CL": (lambda x: x.unsqueeze(1), 3, 2),
    "N1LC": (lambda x: x.transpose(1, 2).unsqueeze(1), 2, 3),
    "NCKL": (lambda x: x.reshape(x.shape[0], CHANNELS // 2, 2, -1), 3, 1),
    "NCLK": (lambda x: x.reshape(x.shape[0], CHANNELS // 2, 2, -1).transpose(2, 3), 2, 1),
}
"""Name -> (from (N, C, L), position axis, channel axis)."""

PREFIXES = ("conv", "conv", "relu", "strided", "dilated", "cut", "letters")
SUFFIXES = ("none", "none", "part", "square", "part-square", "dense", "later")


@dataclass(frozen=True, slots=True)
class Family:
    """One operator, or some that are spelled alike.

    Attributes
    ----------
    apply : callable
    options : mapping of str to strategy
    covers : tuple of str
        The operators, by the names of `tests.support.programs`, that its first examples hold.
    layouts, prefixes : tuple of str
    first : tuple of dict
        Options of examples that are always run; together they hold all of `covers`.
    """

    apply: Callable[..., Tensor]
    options: Mapping[str, st.SearchStrategy[Any]]
    covers: tuple[str, ...]
    layouts: tuple[str, ...]
    prefixes: tuple[str, ...]
    first: tuple[Recipe, ...]


FAMILIES: dict[str, Family] = {}


def family(
    *first: Recipe,
    covers: tuple[str, ...] = (),
    layouts: tuple[str, ...] = tuple(LAYOUTS),
    prefixes: tuple[str, ...] = PREFIXES,
    **options: st.SearchStrategy[Any],
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a function under its own name."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = function.__name__.strip("_")
        assert name not in FAMILIES
        FAMILIES[name] = Family(function, options, covers, layouts, prefixes, first)
        return function

    return register


def recipes(name: str) -> st.SearchStrategy[Recipe]:
    """Recipes of one family; some do not fit, which building them tells."""
    found = FAMILIES[name]
    return st.fixed_dictionaries(
        {
            "family": st.just(name),
            "length": st.integers(9, 20),
            "layout": st.sampled_from(found.layouts),
            "prefix": st.sampled_from(found.prefixes),
            "suffix": st.sampled_from(SUFFIXES),
            "seed": st.integers(0, 3),
            **found.options,
        }
    )


def filled(name: str, options: Recipe) -> Recipe:
    """A recipe from what matters of it."""
    found = FAMILIES[name]
    plain = {"length": 14, "layout": found.layouts[0], "prefix": found.prefixes[0]}
    return {"family": name, "suffix": "none", "seed": 0, **plain, **options}


class Weights:
    """Tensors by the order in which they are asked for: the same at every pass, in one precision.

    Made in the first pass, so that later ones find constants.
    """

    def __init__(self, seed: int) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        self.kept: list[Tensor] = []
        self.at = 0

    def __call__(self, *shape: int, scale: float = 1.0) -> Tensor:
        self.at += 1
        if self.at > len(self.kept):
            made = torch.randn(shape, generator=self.draw, dtype=torch.float64)
            self.kept.append(made * scale)
        return self.kept[self.at - 1]

    def all_as(self, dtype: torch.dtype) -> None:
        self.kept = [w.to(dtype) for w in self.kept]


class Small(nn.Module):
    """The model of a recipe, in one precision: (N, 4, L) -> (N, T).

    Raises
    ------
    RuntimeError, ValueError, IndexError
        The options do not fit, as torch says.
    """

    def __init__(self, recipe: Recipe, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.recipe, self.dtype = recipe, dtype
        self.weights = Weights(recipe["seed"])
        codes = torch.arange(2 * recipe["length"]).reshape(2, -1) % 4
        with torch.no_grad():
            self(F.one_hot(codes, 4).transpose(1, 2).double())
        self.weights.all_as(dtype)

    def forward(self, x: Tensor) -> Tensor:
        recipe, w = self.recipe, self.weights
        w.at = 0
        found = FAMILIES[recipe["family"]]
        lay, at, _ = LAYOUTS[recipe["layout"]]
        x = lay(prefix(x, recipe["prefix"], w))
        y = found.apply(x, w, at, **{name: recipe[name] for name in found.options})
        return suffix(y.to(x.dtype), recipe["suffix"], at, w).flatten(1)


def prefix(x: Tensor, kind: str, w: Weights) -> Tensor:
    """What makes windows of letters: (N, 4, L) -> (N, C, L')."""
    if kind == "letters":
        return x
    weight, bias = w(CHANNELS, 4, 3, scale=0.5), w(CHANNELS, scale=0.3)
    if kind == "strided":
        return F.conv1d(x, weight, bias, stride=2, padding=2)
    if kind == "dilated":
        return torch.tanh(F.conv1d(x, weight, bias, padding=2, dilation=2))
    y = F.conv1d(x, weight, bias, padding=1)
    if kind == "relu":
        return torch.relu(y + 0.3)
    return y[:, :, 2:-1] if kind == "cut" else y


def suffix(y: Tensor, kind: str, at: int, w: Weights) -> Tensor:
    """What reads the value: all of it, a part of one axis, its squares, a dense layer."""
    y = y if y.dim() > 1 else y.unsqueeze(1)
    axis = at if y.dim() > at else y.dim() - 1
    if kind in ("part", "part-square") and axis > 0:
        size = y.shape[axis]
        y = y.narrow(axis, size // 3, max(1, size // 3))
    if kind in ("square", "part-square"):
        return y * y
    if kind == "dense":
        y = torch.tanh(y.flatten(1))
        return y @ w(y.shape[1], 3, scale=y.shape[1] ** -0.5)
    if kind == "later" and y.dim() == 3:
        return F.conv1d(y, w(2, y.shape[1], 1))
    return y
