"""What is known of a graph's values without running it on data: constants, shapes and types."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from yuzu_cli.graph.batches import BATCHES, SEEN, attribute, rows_of
from yuzu_cli.graph.program import TensorSpec, evaluate, fill


def constants_of(module: GraphModule) -> dict[str, Any]:
    """Values of all nodes that depend neither on x nor on the batch size, by node name."""
    values: dict[str, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            values[node.name] = attribute(module, node)
        elif node.op == "call_function" and all(n.name in values for n in node.all_input_nodes):
            values[node.name] = evaluate(node, lambda n: values[n.name])
    return values


def specs_of(module: GraphModule, like: torch.Tensor) -> dict[str, TensorSpec]:
    """Shape and type of every node's value, found without computing any.

    `like` is x for one sequence (1, A, L): its device and type are used. What was seen while the
    model was recorded is taken from there; only calls that were put in since are tried, on tensors
    without data.
    """
    values: dict[str, tuple[Any, ...]] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            shapes = ((n, *like.shape[1:]) for n in BATCHES)
            found = tuple(torch.empty(s, device="meta", dtype=like.dtype) for s in shapes)
        elif node.op == "get_attr":
            found = (attribute(module, node).to("meta"),) * len(BATCHES)
        elif node.op != "call_function":
            continue
        elif SEEN in node.meta:
            found = node.meta[SEEN]
        else:
            found = tuple(_without_data(node, values, i) for i in range(len(BATCHES)))
            node.meta[SEEN] = found
        values[node.name] = found
    tensors = {k: v for k, v in values.items() if isinstance(v[0], torch.Tensor)}
    return {
        k: _spec(small.shape, large.shape, small.dtype) for k, (small, large) in tensors.items()
    }


def _without_data(node: Node, values: dict[str, tuple[Any, ...]], batch: int) -> Any:
    """The node's call on tensors that have a shape and a type and no data."""
    assert callable(node.target)
    args, kwargs = (
        fill(given, lambda n: values[n.name][batch]) for given in (node.args, dict(node.kwargs))
    )
    if "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("meta")}
    return node.target(*args, **kwargs)


def _spec(small: torch.Size, large: torch.Size, dtype: torch.dtype) -> TensorSpec:
    varying = [i for i, (a, b) in enumerate(zip(small, large, strict=True)) if a != b]
    rows = {axis: rows_of(small[axis], large[axis]) for axis in varying}
    shape = tuple(
        max(1, rows[axis][0]) if axis in rows else size for axis, size in enumerate(small)
    )
    axis = None if not varying else varying[0] if len(varying) == 1 else -1
    if any(rest for _, rest in rows.values()):
        axis = -1  # rows that are no mutants
    return TensorSpec(shape, axis, dtype)
