"""The captured model: one functional graph of ATen calls whose batch dimension is free.

A `Program` is an fx graph with three kinds of node: `x` (the one-hot input), constants, and
calls of functions on tensors. It holds the weights, so it belongs to one device and dtype. It
knows nothing of mutations: what an edit reaches is `yuzu_cli.operators`, how that is computed is
`yuzu_cli.plan`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node


class CaptureError(Exception):
    """The model cannot be turned into one graph; the message says why."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and type of a node's value for a batch of one.

    Attributes
    ----------
    shape : tuple of int
        Sizes, the batch axis (if any) counted for one sequence.
    batch_axis : int or None
        The axis whose size is proportional to the number of sequences; None when no axis depends
        on it, -1 when several do, or one that holds further rows beside.
    dtype : torch.dtype
    """

    shape: tuple[int, ...]
    batch_axis: int | None
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Elements per sequence."""
        return math.prod(self.shape)

    @property
    def by_sequence(self) -> bool:
        """Whether the first axis is that of the sequences, and of nothing else."""
        return self.batch_axis == 0 and self.shape[0] == 1


@dataclass(frozen=True, slots=True)
class Program:
    """One model as one graph.

    Attributes
    ----------
    module : GraphModule
        Runs as ``module(x)``: x (N, A, L) -> (N, T), for any N.
    specs : dict of node name -> TensorSpec
        Nodes that hold something else than a tensor (the batch size, tuples) are missing.
    constants : dict of node name -> Tensor
        Values that depend neither on x nor on the batch size.
    length, letters : int
        L and A of the input.
    """

    module: GraphModule
    specs: dict[str, TensorSpec]
    constants: dict[str, torch.Tensor]
    length: int
    letters: int

    @property
    def nodes(self) -> list[Node]:
        """Every node in an order in which it can be computed."""
        return list(self.module.graph.nodes)

    @property
    def input(self) -> Node:
        """The placeholder of the one-hot batch."""
        return next(n for n in self.module.graph.nodes if n.op == "placeholder")

    @property
    def output(self) -> Node:
        """The node whose value (N, T) is the prediction."""
        result = next(n for n in self.module.graph.nodes if n.op == "output").args[0]
        assert isinstance(result, Node)
        return result

    def calls(self) -> Iterator[Node]:
        """The computing nodes, in order."""
        return (n for n in self.module.graph.nodes if n.op == "call_function")


def batch_size(x: torch.Tensor) -> int:
    """Number of sequences in x (N, ...); the graph's own way of asking for it."""
    return x.shape[0]


def fill(arg: Any, value: Callable[[Node], Any]) -> Any:
    """`arg` with every node in it replaced by `value(node)`."""
    return torch.fx.map_arg(arg, value)


def evaluate(node: Node, value: Callable[[Node], Any]) -> Any:
    """The node's call on the values of its arguments."""
    if not callable(node.target):
        raise TypeError(f"{node.name} is no call")
    return node.target(*fill(node.args, value), **fill(node.kwargs, value))


def run_program(
    program: Program,
    x: torch.Tensor,
    keep: set[str],
    take: Callable[[str, Any], None] = lambda name, value: None,
) -> dict[str, torch.Tensor]:
    """Run the graph on x (N, A, L) and return the values of the nodes named in `keep`.

    Every other value is dropped after its last use, so that the peak is the model's own. `take` is
    given each of them when it is made.
    """
    values: dict[str, Any] = {program.input.name: x}
    take(program.input.name, x)
    pending = {n.name: len(n.users) for n in program.nodes}
    for node in program.calls():
        values[node.name] = evaluate(node, lambda n: lookup(program, values, n))
        take(node.name, values[node.name])
        for used in node.all_input_nodes:
            pending[used.name] -= 1
            if pending[used.name] == 0 and used.name not in keep:
                values.pop(used.name, None)
    return {name: values[name] for name in keep if name in values}


def lookup(program: Program, values: dict[str, Any], node: Node) -> Any:
    """Value of a node during a run: a constant of the program or a computed one."""
    constant = program.constants.get(node.name)
    return values[node.name] if constant is None else constant
