"""Backends with a fault each, which a benchmark must see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from yuzu_cli.backends import BACKENDS
from yuzu_cli.backends.base import Block
from yuzu_cli.backends.naive import NaiveRunner


class Spoilt:
    """Naive with a fault, claiming to be exact; subclasses say which."""

    name, exact = "spoilt", True

    def unsupported(self, model: Any, settings: Any) -> str | None:
        return None

    def prepare(self, model: Any, settings: Any) -> NaiveRunner:
        spoil = self.spoil

        class Runner(NaiveRunner):
            def blocks(self, codes: torch.Tensor, positions: np.ndarray) -> Iterator[Block]:
                yield from map(spoil, super().blocks(codes, positions))

        return Runner(model, settings)

    def spoil(self, block: Block) -> Block:
        raise NotImplementedError


class Wrong(Spoilt):
    def spoil(self, block: Block) -> Block:
        return Block(block.index, block.delta * 1.001)


class Forgetful(Spoilt):
    def spoil(self, block: Block) -> Block:
        return Block(block.index[1:], block.delta[1:])


class Raising(Spoilt):
    def spoil(self, block: Block) -> Block:
        raise RuntimeError("the cat sat on\nthe keyboard")


class Refusing(Spoilt):
    def unsupported(self, model: Any, settings: Any) -> str | None:
        return "it has too many layers"


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Wrong, Forgetful, Raising, Refusing):
        monkeypatch.setitem(BACKENDS, kind.__name__.lower(), f"{__name__}:{kind.__name__}")
