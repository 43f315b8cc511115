"""The graph under rewriting, and what every pass asks of it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from yuzu_cli.graph.batches import SEEN
from yuzu_cli.graph.facts import constants_of, specs_of
from yuzu_cli.graph.program import TensorSpec, batch_size

_aten = torch.ops.aten

VIEWS = {_aten.view.default, _aten._unsafe_view.default, _aten.reshape.default}
PERMUTED = {_aten.permute.default, _aten.transpose.int}
DUMMIES = {_aten.unsqueeze.default, _aten.squeeze.dim, _aten.squeeze.dims, _aten.squeeze.default}
"""Axes of one put in or taken out."""


class NotYetKnownError(Exception):
    """A pass asked for the spec of a node that was put in during the same round."""


class _Specs(dict[str, TensorSpec]):
    def __missing__(self, name: str) -> TensorSpec:
        raise NotYetKnownError(name)


class Rewriter:
    """The graph under rewriting, with what is known of its values."""

    def __init__(self, module: GraphModule, like: torch.Tensor) -> None:
        self.module, self.graph, self.like = module, module.graph, like
        self.refresh()

    def refresh(self) -> None:
        self.graph.eliminate_dead_code()
        self.module.recompile()
        self.constants: dict[str, Any] = constants_of(self.module)
        self.specs: dict[str, TensorSpec] = _Specs(specs_of(self.module, self.like))
        self.there = set(self.graph.nodes)  # whatever else is there was put in since

    def constant(self, node: Any) -> torch.Tensor | None:
        """The value of a node that is the same for every batch; None when it is not."""
        value = self.constants.get(node.name) if isinstance(node, Node) else None
        return value if isinstance(value, torch.Tensor) else None

    def add_constant(self, value: torch.Tensor, before: Node) -> Node:
        number = sum(name.startswith("_folded") for name in self.module.__dict__["_buffers"])
        name = f"_folded{number}"
        self.module.register_buffer(name, value.contiguous(), persistent=False)
        with self.graph.inserting_before(before):
            node = self.graph.get_attr(name)
        self.constants[node.name] = value
        return node

    def insert(
        self,
        before: Node,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        like: Node | None = None,
    ) -> Node:
        """A new call; `like` is a node whose value has its shape and type, where there is one."""
        with self.graph.inserting_before(before):
            node = self.graph.call_function(function, args)
        if like is not None and SEEN in like.meta:
            node.meta[SEEN] = like.meta[SEEN]
        return node

    def batch(self) -> Node:
        """The node that asks for the number of sequences; made where there is none."""
        nodes = list(self.graph.nodes)
        found = next((n for n in nodes if n.target is batch_size), None)
        if found is not None:
            return found
        source = next(n for n in nodes if n.op == "placeholder")
        with self.graph.inserting_after(source):
            return self.graph.call_function(batch_size, (source,))

    def shape_of(self, node: Node) -> list[Any]:
        """A value's shape with its batch axis as an expression, for a view put in before it."""
        spec = self.specs[node.name]
        shape: list[Any] = list(spec.shape)
        if spec.batch_axis is not None:
            batch, factor = self.batch(), shape[spec.batch_axis]
            rows = batch if factor == 1 else self.insert(node, operator.mul, (batch, factor))
            shape[spec.batch_axis] = rows
        return shape

    def replace(self, node: Node, by: Node) -> bool:
        """Put `by`, whose value is the same, in the place of `node`."""
        if SEEN in node.meta:
            by.meta.setdefault(SEEN, node.meta[SEEN])
        node.replace_all_uses_with(by)
        return True


def defaults(node: Node, defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    """A call's positional arguments with the operator's defaults for those left out."""
    return (*node.args, *defaults[len(node.args) :])


def slice_of(node: Node) -> tuple[Any, ...]:
    """Axis, begin, end and step of a slice."""
    return defaults(node, (None, 0, None, None, 1))[1:]


def pointwise(node: Node) -> bool:
    """Whether a call is a function of single elements."""
    return torch.Tag.pointwise in getattr(node.target, "tags", ())
