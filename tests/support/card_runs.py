"""The package on a pretended card: what is made of files on the CPU, moved over and run there.

TorchScript, the tracer and the checks of a loaded model want tensors of a real device, so a model's
file computes on the CPU in between, and its graph is captured on the CPU and moved as it is.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from tests.support.card_costs import Counts
from tests.support.pretended_card import CUDA, Card, CardTensor
from yuzu_cli.backends.base import Runner
from yuzu_cli.graph.build import capture
from yuzu_cli.graph.program import Program
from yuzu_cli.kernels.between import compute
from yuzu_cli.kernels.fused import can_fuse, compute_on
from yuzu_cli.model import Model
from yuzu_cli.model.files import open_model


class Beneath(torch.nn.Module):
    """A module that computes on the CPU for tensors of the card: one kernel, as it were."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *arguments: Any) -> Any:
        return Card.current().put(self.module(*beneath(arguments)))


def beneath(value: Any) -> Any:
    """Tensors of the card as those of the CPU that hold their values."""
    return pytree.tree_map(lambda x: x.held if isinstance(x, CardTensor) else x, value)


def carried(model: Model) -> Model:
    """A model of the CPU as one of the card; the model itself is as before."""
    card = Card.current()
    twin = _twin(model, CUDA, Beneath(model.module))
    twin.extras = tuple(dataclasses.replace(e, value=card.put(e.value)) for e in model.extras)
    twin.target_index = card.put(model.target_index)
    return twin


def _grounded(model: Model) -> Model:
    """A model of the card as one of the CPU."""
    assert isinstance(model.module, Beneath)
    twin = _twin(model, torch.device("cpu"), model.module.module)
    twin.extras = tuple(dataclasses.replace(e, value=beneath(e.value)) for e in model.extras)
    twin.target_index = beneath(model.target_index)
    return twin


def _twin(model: Model, device: torch.device, module: torch.nn.Module) -> Model:
    twin = copy.copy(model)
    twin.__dict__ = {k: v for k, v in model.__dict__.items() if k != "_understood"}
    twin._modules = {**model._modules, "module": module}
    twin.device = device
    return twin


def captured(model: Model, *, device: torch.device, **options: Any) -> Program:
    """What `capture` makes of the model on the CPU, with its constants on the card."""
    card = Card.current()
    plain = _grounded(model)
    with card.paused():
        program = capture(plain, device=torch.device("cpu"), **options)
    return moved(program, card)


def moved(value: Any, card: Card) -> Any:
    """Every tensor within, on the card: of graphs, dataclasses, dicts and lists."""
    if isinstance(value, GraphModule):
        return _moved_graph(value, card)
    if isinstance(value, torch.Tensor):
        return card.put(value)
    if isinstance(value, dict):
        return {k: moved(v, card) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(moved(v, card) for v in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        changed = {k: m for k, v in fields.items() if (m := moved(v, card)) is not v}
        return dataclasses.replace(value, **changed)
    return value


def _moved_graph(module: GraphModule, card: Card) -> GraphModule:
    for node in module.graph.nodes:
        if node.op == "get_attr":
            value = getattr(module, str(node.target))
            if isinstance(value, torch.Tensor):
                for held in (module._parameters, module._buffers):
                    held.pop(str(node.target), None)
                module.__dict__[str(node.target)] = card.put(value)
        over = lambda x: CUDA if isinstance(x, torch.device) else x  # noqa: E731
        node.args = pytree.tree_map(over, node.args)
        node.kwargs = pytree.tree_map(over, node.kwargs)
    module.recompile()
    return module


def compute_as_one(device: torch.device) -> Callable[..., None]:
    """What computes programs: on a card the definition beneath, counted as one kernel."""
    return _as_one if device.type == "cuda" else compute_on(device)


def _as_one(out: torch.Tensor, *reads: torch.Tensor, **options: Any) -> None:
    card, tables, constants = Card.current(), options["tables"], options["constants"]
    program = options["program"]
    tensors = [out, *reads, tables, *constants]
    if not all(isinstance(x, CardTensor) for x in tensors):
        raise RuntimeError(f"two devices: a fused kernel on {CUDA} gets a tensor of the CPU")
    taps = [constants[s[2][2]] for s in program if s[0] == "taps"]
    if card.values:
        compute(*beneath((out, *reads)), **beneath(options))
    # Blocks of output channels are as wide as they are, whatever is wanted of them.
    each = sum(x.shape[1] * max(16, x.shape[2]) for x in taps)
    count = options["multiplied"] * each * out.shape[2] * out.shape[3]
    card.counts.fused("between", tensors, count)


def _on_card(device: torch.device) -> bool:
    return device.type == "cuda"


def _opened(path: Any, device: torch.device, dtype: torch.dtype) -> Any:
    file = open_model(path, torch.device("cpu"), dtype)
    if device.type == "cpu":
        return file
    return dataclasses.replace(file, module=Beneath(file.module))


@contextlib.contextmanager
def computing_on_card(values: bool = True) -> Iterator[Card]:
    """A card, and a package that opens files and captures graphs beneath it."""
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if not name.startswith("yuzu_cli"):
                continue
            if getattr(module, "capture", None) is capture:
                stack.enter_context(mock.patch.object(module, "capture", captured))
            if getattr(module, "open_model", None) is open_model:
                stack.enter_context(mock.patch.object(module, "open_model", _opened))
            if getattr(module, "compute_on", None) is compute_on:
                stack.enter_context(mock.patch.object(module, "compute_on", compute_as_one))
            if getattr(module, "can_fuse", None) is can_fuse:
                stack.enter_context(mock.patch.object(module, "can_fuse", _on_card))
        yield stack.enter_context(Card(values))


def counts_of(
    runner: Runner, codes: torch.Tensor, positions: np.ndarray, card: Card
) -> tuple[Counts, int]:
    """What a batch of letters asks of the card until its last delta is made; blocks."""
    counts, blocks = card.fresh(), 0
    there = codes.to(CUDA)
    runner.reference(there)
    for block in runner.blocks(there, positions):
        _ = block.delta
        blocks += 1
    return counts, blocks
