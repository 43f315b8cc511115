"""Exported programs taken apart and put together again, to do harm; what the tests share."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.support.engine_nets import L
from yuzu_cli.model.files import open_model

Members = dict[str, bytes]
Change = Callable[[Members, Path], None]

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Touch:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return Path.touch, (self.proof,)


class Sizes(nn.Module):
    """A model whose file has weights, constants, free sizes, a guard and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 5, padding=2)
        self.parts = nn.ModuleDict({"a b": nn.Linear(6, 6)})
        self.steps = torch.arange(6.0)
        self.register_buffer("shift", torch.ones(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.conv(x)
        with torch.no_grad():
            y = y + self.shift
        y = torch.einsum("bcl,cd->bdl", y, self.parts["a b"].weight)
        y = nn.functional.gelu(y, approximate="tanh")
        halves = y.reshape(y.shape[0], 6, -1, 2).mean(3)
        return {"profile": y, "total": halves.sum((1, 2)).unsqueeze(1) + self.steps}


def save(path: Path) -> Path:
    free = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO}
    program = torch.export.export(Sizes().eval(), (torch.zeros(2, 4, L),), dynamic_shapes=(free,))
    torch.export.save(program, str(path))
    return path


def read(path: Path) -> Members:
    """Members by their names below the top folder."""
    with zipfile.ZipFile(path) as archive:
        return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: Members, top: str = "m/", **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(top + name, content)
    return path


def load(path: Path) -> nn.Module:
    return open_model(path, torch.device("cpu"), torch.float32).module


def edited(members: Members, name: str, change: Callable[[Any], None]) -> None:
    value = json.loads(members[name])
    change(value)
    members[name] = json.dumps(value).encode()


def first_node(program: Any) -> Any:
    return program["graph_module"]["graph"]["nodes"][0]


def replaced(value: Any, old: str, new: str) -> Any:
    """The JSON with a text replaced wherever it is a whole key or value."""
    if isinstance(value, dict):
        return {replaced(k, old, new): replaced(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [replaced(v, old, new) for v in value]
    return new if value == old else value


def call(proof: Path) -> str:
    return f"__import__('pathlib').Path({str(proof)!r}).touch()"


def in_a_size(members: Members, proof: Path) -> None:
    text = members[PROGRAM].decode()
    symbol = json.loads(text)["graph_module"]["graph"]["sym_int_values"]
    name = next(v["as_expr"]["expr_str"] for v in symbol.values() if "as_expr" in v)
    program = replaced(json.loads(text), name, f"{name} + (0 if {call(proof)} is None else 1)")
    members[PROGRAM] = json.dumps(program).encode()
