"""Any number of sequences through a model that was saved for one, by torch.vmap.

A model exported or traced with a single sequence holds that batch of one in its reshapes. Run for
each sequence alone it would be slow, and could not be captured. May not: judge the numbers; see
`yuzu_cli.model.checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule

_aten = torch.ops.aten


class _Merged(torch.autograd.Function):
    """A call that torch.vmap has no rule for: its axis of one sequence takes all of them.

    Given are the call, where that axis is in each tensor and in each that is returned, the tensors.
    """

    @staticmethod
    def forward(call: Any, before: Any, after: Any, *tensors: torch.Tensor) -> Any:
        return call(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Outside vmap no gradient is asked for."""

    @staticmethod
    def vmap(info: Any, dims: Any, call: Any, before: Any, after: Any, *tensors: Any) -> Any:
        rows, merged = info.batch_size, []
        for tensor, dim, at in zip(tensors, dims[3:], before, strict=True):
            if dim is None:
                tensor = tensor.expand(*tensor.shape[:at], rows, *tensor.shape[at + 1 :])
            else:
                tensor = tensor.movedim(dim, at).flatten(at, at + 1)
            merged.append(tensor)
        found = call(*merged)
        if not isinstance(found, tuple):
            return found.unflatten(after[0], (rows, -1)), after[0]
        made = (y.unflatten(at, (rows, -1)) for y, at in zip(found, after, strict=True))
        return tuple(made), tuple(after)


_merged: Callable[..., Any] = _Merged.apply
"""torch says nothing of its types."""


def _recurrent(target: Any, x: Any, begin: Any, *rest: Any) -> Any:
    first, listed = 0 if rest[-1] else 1, isinstance(begin, list | tuple)
    states = list(begin) if listed else [begin]

    def call(x: Any, *states: Any) -> Any:
        return target(x, list(states) if listed else states[0], *rest)

    axes = [first, *[1] * len(states)]
    return _merged(call, axes, axes, x, *states)


def _rows_first(count: int, target: Any, *given: Any, **named: Any) -> Any:
    """An operator whose first so many arguments have the sequences first."""
    tensors, rest = given[:count], given[count:]

    def call(*tensors: Any) -> Any:
        return target(*tensors, *rest, **named)

    return _merged(call, [0] * count, [0], *tensors)


_MERGED: dict[Any, tuple[Callable[..., Any], tuple[int, ...]]] = {
    **{
        getattr(_aten, kind).input: (_recurrent, ())
        for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")
    },
    _aten.batch_norm.default: (_rows_first, (1,)),
    _aten.scaled_dot_product_attention.default: (_rows_first, (3,)),
}
"""What vmap has no rule for, or one that mixes channels and sequences."""


def lifted(module: torch.nn.Module) -> torch.nn.Module:
    """The same module, sharing its weights, in a form that vmap can run."""
    if not isinstance(module, GraphModule):
        return module
    made = GraphModule(module, module.graph)  # which copies the graph
    for node in made.graph.nodes:
        if node.target in _MERGED:
            call, options = _MERGED[node.target]
            node.args, node.target = (*options, node.target, *node.args), call
    made.recompile()
    return made


def each(call: Callable[[torch.Tensor], list[torch.Tensor]], x: torch.Tensor) -> list[torch.Tensor]:
    """What a call gives for each sequence of x (N, A, L) alone, for all of them at once."""

    def one(row: torch.Tensor) -> list[torch.Tensor]:
        return [value.squeeze(0) for value in call(row.unsqueeze(0))]

    made: list[torch.Tensor] = torch.vmap(one)(x)
    return made
