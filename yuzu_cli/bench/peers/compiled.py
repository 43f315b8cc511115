"""Naive with the network compiled by torch, where there is a compiler."""

from __future__ import annotations

import shutil
from typing import Any

import torch

from yuzu_cli.bench.backends import NaiveMethod
from yuzu_cli.bench.methods import CannotRun
from yuzu_cli.bench.peers.base import plain_network
from yuzu_cli.bench.subject import Subject
from yuzu_cli.model import Model


class _Compiled:
    """A model whose passes go through a compiled network, filled up to one number of rows."""

    def __init__(self, model: Model, network: torch.nn.Module, rows: int) -> None:
        self.model, self.rows = model, rows
        self.network = torch.compile(network, dynamic=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        missing = -len(x) % self.rows
        full = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x
        return torch.cat([self.network(part) for part in full.split(self.rows)])[: len(x)]


class CompiledNaive(NaiveMethod):
    """`torch.compile` of the plain network, at the pass size that naive takes by itself."""

    factors = (1,)  # each size would be compiled anew

    def __init__(self) -> None:
        super().__init__("naive-compiled")

    def prepare(self, subject: Subject) -> None:
        """Compile it: that happens at the first call."""
        super().prepare(subject)
        network = plain_network(subject)
        if not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise CannotRun("torch.compile needs a C++ compiler")
        with torch.no_grad():
            made = _Compiled(subject.model, network, self.rows)
            codes = subject.codes[:1, None]
            made(torch.zeros_like(codes.expand(self.rows, 4, -1), dtype=torch.float))
        self.naive.model = made  # type: ignore[assignment]
