"""What is known of a graph's values without running it on data: constants, shapes and types."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule

from yuzu_cli.graph.capture import BATCHES, attribute, rows_of, shapes_only
from yuzu_cli.graph.program import TensorSpec, evaluate


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

    `like` is x for one sequence (1, A, L): its device and type are used.
    """
    shapes: list[dict[str, torch.Tensor]] = []
    for n in BATCHES:
        with shapes_only() as fake:
            values: dict[str, Any] = {}
            for node in module.graph.nodes:
                if node.op == "placeholder":
                    shape = (n, *like.shape[1:])
                    values[node.name] = torch.empty(shape, device=like.device, dtype=like.dtype)
                elif node.op == "get_attr":
                    values[node.name] = fake.from_tensor(attribute(module, node))
                elif node.op == "call_function":
                    values[node.name] = evaluate(node, lambda m, v=values: v[m.name])  # type: ignore[misc]
        shapes.append({k: v for k, v in values.items() if isinstance(v, torch.Tensor)})
    small, large = shapes
    return {name: _spec(v.shape, large[name].shape, v.dtype) for name, v in small.items()}


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
