"""Small nets written as the text of their `forward`: one line of a table is one model, scripted or
traced."""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.blocks import settle
from tests.support.conformance import Subject

_NUMBERS = itertools.count()


def module(body: str, parts: Mapping[str, nn.Module]) -> nn.Module:
    """A module whose forward, of the one-hot x (N, A, L), is `body`; `parts` are its attributes.

    The text is put where Python looks for source, so that TorchScript finds it.
    """
    lines = [line for line in body.strip().splitlines() if line.strip()]
    if not lines[-1].lstrip().startswith("return"):
        lines[-1] = "return " + lines[-1].lstrip()
    source = "def forward(self, x: Tensor) -> Tensor:\n"
    source += "".join(f"    {line.strip()}\n" for line in lines)
    name = f"<written {next(_NUMBERS)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    names: dict[str, Any] = {"torch": torch, "F": F, "Tensor": Tensor, "nn": nn}
    exec(compile(source, name, "exec"), names)
    made = type("Written", (nn.Module,), {"forward": names["forward"]})()
    for part, value in parts.items():
        setattr(made, part, value)
    return made


@dataclass(frozen=True, slots=True)
class Written:
    """One net.

    Attributes
    ----------
    name : str
    body : str
        Lines of its forward, the last of which is the value.
    parts : dict of name -> () -> Module or Tensor
        What the body calls; a tensor becomes a buffer.
    length, letters : int
    """

    name: str
    body: str
    parts: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    length: int = 60
    letters: int = 4

    def build(self, seed: int = 1) -> nn.Module:
        """The module: float32, eval mode, always the same."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = {name: make() for name, make in self.parts.items()}
            layers = {k: v for k, v in made.items() if isinstance(v, nn.Module)}
            result = module(self.body, layers)
            for name, value in made.items():
                if name not in layers:
                    result.register_buffer(name, value)
            return settle(result)

    def subject(self) -> Subject:
        """What the conformance tests judge backends on."""

        def function(dtype: torch.dtype, device: str = "cpu") -> Callable[[Tensor], Tensor]:
            built = self.build().to(device, dtype)
            return lambda x: built(x.to(device)).reshape(len(x), -1).to(x.device, dtype)

        return Subject(self.name, self.length, self.build, function, letters=self.letters)
