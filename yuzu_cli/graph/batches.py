"""The size of the batch made free: a graph recorded with 2 sequences, compared with one of 3."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from yuzu_cli.graph.program import CaptureError, batch_size

BATCHES = (2, 3)
SEEN = "seen"
"""Of a node's meta: its values for the two batches, without their data."""


def _merge_batches(small: Any, large: Any, batch: Node, graph: Graph, at: Node) -> Any:
    """One argument of the two traces -> the same with batch-dependent integers as expressions."""
    if isinstance(small, (tuple, list)):
        if len(small) != len(large):
            raise CaptureError("the graph differs between batch sizes")
        merged = [_merge_batches(s, b, batch, graph, at) for s, b in zip(small, large, strict=True)]
        return type(small)(merged)
    if isinstance(small, Node) or small == large or not isinstance(small, int):
        return small
    # A multiple of the batch size, and maybe rows that the model adds; a third size is tried later.
    factor, rest = rows_of(small, large)
    if factor < 1 or rest < 0:
        raise CaptureError(f"{at.name} depends on the batch size in an unforeseen way")
    with graph.inserting_before(at):
        size = batch if factor == 1 else graph.call_function(operator.mul, (batch, factor))
        return graph.call_function(operator.add, (size, rest)) if rest else size


def free_batch(small: GraphModule, large: GraphModule) -> GraphModule:
    """The first trace with its batch size freed by comparison with the second."""
    graph = small.graph
    first, second = list(graph.nodes), list(large.graph.nodes)
    if [(n.op, str(n.target)) for n in first if n.op != "get_attr"] != [
        (n.op, str(n.target)) for n in second if n.op != "get_attr"
    ] or len(first) != len(second):
        raise CaptureError("the graph differs between batch sizes")
    with graph.inserting_after(first[0]):
        batch = graph.call_function(batch_size, (first[0],))
    for a, b in zip(first, second, strict=True):
        if a.op == "get_attr":
            x, y = attribute(small, a), attribute(large, b)
            if x.shape != y.shape or not torch.equal(x, y):
                raise CaptureError(f"constant {a.name} depends on the batch size")
        elif a.op == "call_function":
            a.args = _merge_batches(a.args, b.args, batch, graph, a)
            a.meta[SEEN] = (a.meta[SEEN], b.meta[SEEN])
    graph.eliminate_dead_code()
    small.recompile()
    return small


def rows_of(small: int, large: int) -> tuple[int, int]:
    """Factor and rest of a size that was seen for the two batches."""
    factor = (large - small) // (BATCHES[1] - BATCHES[0])
    return factor, small - factor * BATCHES[0]


def attribute(module: GraphModule, node: Node) -> torch.Tensor:
    value = getattr(module, str(node.target))
    return value.detach() if isinstance(value, torch.Tensor) else value
