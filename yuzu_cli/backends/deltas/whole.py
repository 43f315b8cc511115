"""Whole tensors for every mutant of a chunk: each node's own call, on deltas where that is the
same.

Also the place where windows end that no strategy continues: they are laid into the reference.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.backends.deltas.prepared import State
from yuzu_cli.backends.deltas.states import Chunk, Full, Win
from yuzu_cli.graph import ops
from yuzu_cli.graph.program import Program, batch_size, fill
from yuzu_cli.plan.sensitive import carried

_aten = torch.ops.aten

_WEIGHTED = {ops.linear, _aten.convolution.default}
"""Calls with constant weights: deltas go through the weights alone.

Of values, too, the deltas are taken first: products of many rows round otherwise than those of the
reference alone, and that would not cancel.
"""
_LINEAR = _WEIGHTED | {
    _aten.reshape.default,
    _aten.permute.default,
    _aten.transpose.int,
    _aten.unsqueeze.default,
    _aten.squeeze.dim,
    _aten.squeeze.dims,
    _aten.squeeze.default,
    _aten.flip.default,
    _aten.slice.Tensor,
    _aten.select.int,
    _aten.index_select.default,
    _aten.sum.dim_IntList,
    _aten.mean.dim,
    _aten.neg.default,
}
"""Calls that deltas pass through as they are, but for a bias."""


class Scope:
    """Values of one chunk outside windows; what depends on the batch only is computed here too."""

    def __init__(self, program: Program, chunk: Chunk, states: dict[str, State]) -> None:
        self.program, self.chunk, self.states = program, chunk, states
        self.others: dict[str, Any] = {}
        # Whole tensors of windows: beside the windows, which a later step may read as such.
        self.laid: dict[str, torch.Tensor] = {}

    def forget(self, name: str) -> None:
        """A value that nobody reads any more."""
        self.states.pop(name, None)
        self.laid.pop(name, None)

    def compute(self, node: Node) -> None:
        """The node's value for every mutant, into the states."""
        if node.target in _LINEAR and not carried(node) and self._on_deltas(node):
            return
        read = (
            self.value if torch.Tag.pointwise in getattr(node.target, "tags", ()) else self.packed
        )
        result = node.target(*fill(node.args, read), **fill(node.kwargs, read))
        if isinstance(result, torch.Tensor) and node.name in self.program.specs:
            self.states[node.name] = Full(node.name, result, False)
        else:
            self.others[node.name] = result

    def _on_deltas(self, node: Node) -> bool:
        source = node.args[0]
        state = self.states.get(source.name) if isinstance(source, Node) else None
        kept = isinstance(state, Full) or (state is not None and state.exact)
        values = state is not None and kept and not state.is_delta
        if state is None or (values and node.target not in _WEIGHTED):
            return False
        if node.target in _WEIGHTED and node.args[1].name not in self.program.constants:
            return False
        spec = self.program.specs[node.name]
        if spec.batch_axis != 0 or spec.shape[0] != 1:
            return False  # rows are no longer mutants: the reference could not be added back
        assert isinstance(source, Node)
        if isinstance(state, Win):  # laid out as before it was flattened, where it was
            own = self.program.specs[source.name].shape[1:]
            data = self.chunk.whole(state).reshape(self.chunk.mutants, *own)
        else:
            data = self.chunk.delta_of(state)
        if node.target in _WEIGHTED:
            weight, rest = self.program.constants[node.args[1].name], node.args[3:]
            result = node.target(data.to(weight.dtype), weight, None, *rest)
        else:
            rest = fill(node.args[1:], self.value)
            result = node.target(data, *rest, **fill(node.kwargs, self.value))
        self.states[node.name] = Full(node.name, result, True)
        return True

    def packed(self, node: Node) -> Any:
        """As `value`, contiguous: some kernels ask for it, some read wrong numbers without."""
        value = self.value(node)
        return value.contiguous() if isinstance(value, torch.Tensor) else value

    def value(self, node: Node) -> Any:
        """An argument of a call, for every mutant."""
        state = self.states.get(node.name)
        if node.name in self.laid:
            return self.laid[node.name]
        if isinstance(state, Win) and state.exact and not state.is_delta:
            own = self.chunk.references.whole(node.name).shape[1:]
            data = self.chunk.whole(state, values=True).reshape(self.chunk.mutants, *own)
            self.laid[node.name] = data
            return data
        if isinstance(state, Win):
            deltas = self.chunk.whole(state)
            reference = self.chunk.references.whole(node.name)
            data = deltas.reshape(*self.chunk.shape, *reference.shape[1:]) + reference
            data = data.to(reference.dtype)
            data = data.view(self.chunk.mutants, *reference.shape[1:])
            self.laid[node.name] = data
            return data
        if isinstance(state, Full):
            return self.chunk.value_of(state)
        constant = self.program.constants.get(node.name)
        if constant is not None:
            return constant
        if node.name not in self.others:
            self.others[node.name] = self._batch_only(node)
        return self.others[node.name]

    def _batch_only(self, node: Node) -> Any:
        """Something that depends on the number of mutants alone."""
        if node.target is batch_size:
            return self.chunk.mutants
        if node.target is operator.mul and not node.kwargs:
            a, b = fill(node.args, self.value)
            return a * b
        return node.target(*fill(node.args, self.value), **fill(node.kwargs, self.value))
