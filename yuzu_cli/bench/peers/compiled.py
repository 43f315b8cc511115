"""Naive with the network compiled by torch, where there is a compiler."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.bench.clock import timed
from yuzu_cli.bench.methods import CannotRun, NaiveMethod
from yuzu_cli.bench.peers.chain import Rows
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

    def __init__(self) -> None:
        super().__init__("naive-compiled")

    def prepare(self, subject: Subject) -> None:
        """Compile it: that happens at the first call."""
        super().prepare(subject)
        if subject.module is None:
            raise CannotRun("a model file is no Python to compile")
        if not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise CannotRun("torch.compile needs a C++ compiler")
        assert isinstance(self.runner, NaiveRunner)
        module = copy.deepcopy(subject.module).to(subject.device, subject.settings.dtype)
        rows = self.runner.size.rows
        with torch.no_grad():
            made = _Compiled(subject.model, Rows(module).eval(), rows)
            made(torch.zeros_like(subject.codes[:1, None].expand(rows, 4, -1), dtype=torch.float))
        self.runner.model = made  # type: ignore[assignment]

    def sweep(self, usual: int, one_pass: Callable[[int], int]) -> int:
        """The one size there is: each would be compiled anew."""
        one_pass(usual)
        self.tried[usual] = timed(partial(one_pass, usual), self.subject.device).wall / usual
        return usual
