"""Rewrites of the captured graph into canonical form; each keeps the numbers, to rounding.

Passes are small functions on one node, tried until none applies: folded constants, dropped no-ops,
`linear` and pooling in one spelling, batch norm folded into the layer before it, and a maximum
taken before a rising function instead of after it (fewer elements, same result).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import GraphModule, Node

from yuzu_cli.graph.program import TensorSpec
from yuzu_cli.graph.rewrites.matrices import add_after_linear, fold_affine, linear
from yuzu_cli.graph.rewrites.places import assignments, fresh_tensors, picks, selections
from yuzu_cli.graph.rewrites.plain import (
    convolutions,
    drop_no_ops,
    fold_constants,
    splits,
    view_of_view,
)
from yuzu_cli.graph.rewrites.pools import (
    first_output,
    maximum_before_scaling,
    maximum_first,
    plain_pools,
    pools_of_everything,
)
from yuzu_cli.graph.rewrites.rewriter import VIEWS, NotYetKnownError, Rewriter
from yuzu_cli.graph.rewrites.softmax import shared_shift, softmax_of_log, softmax_sums

_aten = torch.ops.aten

_PASSES: tuple[Callable[[Rewriter, Node], bool], ...] = (
    convolutions,
    splits,
    drop_no_ops,
    fresh_tensors,
    selections,
    assignments,
    picks,
    view_of_view,
    first_output,
    plain_pools,
    linear,
    view_of_view,  # those that linear layers leave behind
    drop_no_ops,
    add_after_linear,
    softmax_of_log,
    softmax_sums,
    shared_shift,
    maximum_before_scaling,
    maximum_first,
    pools_of_everything,
    fold_affine,
)


def normalise(module: GraphModule, like: torch.Tensor) -> dict[str, TensorSpec]:
    """Rewrite the graph in place until no pass applies; returns the spec of every tensor in it.

    Parameters
    ----------
    module : GraphModule
        A captured graph with its batch free.
    like : Tensor (1, A, L)
        Device and type of the input.
    """
    for node in module.graph.nodes:
        if node.target in VIEWS:  # without the copies before them, views may need to copy
            node.target = _aten.reshape.default
    r = Rewriter(module, like)
    fold_constants(r)
    r.refresh()
    for rewrite in _PASSES:
        while _one_round(r, rewrite):
            r.refresh()
    fold_constants(r)
    r.refresh()
    return dict(r.specs)


def _one_round(r: Rewriter, rewrite: Callable[[Rewriter, Node], bool]) -> bool:
    """One pass over all nodes; whether it changed anything."""
    changed = False
    for node in list(r.graph.nodes):
        if node.op == "call_function" and node.users:
            try:
                changed = rewrite(r, node) or changed
            except NotYetKnownError:  # something was put in, so there is another round
                continue
    return changed
