"""From a loaded model to a `Program`: captured, rewritten into canonical form, checked.

Each rewrite keeps the numbers, to rounding. Passes are small functions on one node, tried until
none applies: folded constants, dropped no-ops, `linear` and pooling in one spelling, batch norm
folded into the layer before it, and a maximum taken before a rising function instead of after it
(fewer elements, same result).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch.fx import GraphModule, Node

from yuzu_cli.graph.capture import probe, trace
from yuzu_cli.graph.facts import constants_of
from yuzu_cli.graph.program import CaptureError, Program, TensorSpec
from yuzu_cli.graph.rewrites.alone import saved_for_one, without_one
from yuzu_cli.graph.rewrites.attention import attentions
from yuzu_cli.graph.rewrites.axes import permutations
from yuzu_cli.graph.rewrites.channels import of_one_place, picked_channels
from yuzu_cli.graph.rewrites.early import sliced_early
from yuzu_cli.graph.rewrites.halves import halves
from yuzu_cli.graph.rewrites.matrices import (
    add_after_linear,
    fold_affine,
    instance_norm,
    linear,
)
from yuzu_cli.graph.rewrites.means import means_of_shared
from yuzu_cli.graph.rewrites.places import (
    UNWRITTEN,
    assignments,
    fresh_tensors,
    listings,
    picks,
    selections,
    stacks,
)
from yuzu_cli.graph.rewrites.plain import (
    convolutions,
    drop_no_ops,
    fold_constants,
    splits,
    uniform,
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
from yuzu_cli.graph.rewrites.rows import merged_rows
from yuzu_cli.graph.rewrites.softmax import (
    shared_shift,
    softmax_of_log,
    softmax_pools,
    softmax_sums,
)
from yuzu_cli.graph.rewrites.spectra import products_of_spectra, spectra_of_real
from yuzu_cli.graph.rewrites.streams import streams
from yuzu_cli.graph.rewrites.turned import heads_first, sequences_first

_aten = torch.ops.aten

_Pass: TypeAlias = Callable[[Rewriter, Node], bool]
_PASSES: tuple[_Pass, ...] = (
    convolutions,
    splits,
    drop_no_ops,
    fresh_tensors,
    uniform,
    selections,
    assignments,
    stacks,
    picks,
    listings,
    permutations,
    view_of_view,
    first_output,
    plain_pools,
    instance_norm,
    linear,
    without_one,
    view_of_view,  # those that linear layers leave behind
    heads_first,
    merged_rows,
    sequences_first,
    permutations,
    view_of_view,
    drop_no_ops,
    attentions,
    view_of_view,
    permutations,
    view_of_view,
    merged_rows,
    sequences_first,
    permutations,
    view_of_view,
    selections,
    drop_no_ops,
    sliced_early,
    add_after_linear,
    halves,
    softmax_of_log,
    softmax_sums,
    softmax_pools,
    shared_shift,
    maximum_before_scaling,
    maximum_first,
    pools_of_everything,
    fold_affine,
    streams,
    without_one,
    picked_channels,
    of_one_place,
    view_of_view,
    means_of_shared,
    view_of_view,
    drop_no_ops,
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
    # Spectra while the kernels are what they were before.
    first = (splits, without_one, drop_no_ops, spectra_of_real, products_of_spectra)
    skipped = () if saved_for_one(r) else (without_one,)
    _until_none(r, [p for p in first if p not in skipped])
    fold_constants(r)
    r.refresh()
    _until_none(r, [p for p in _PASSES if p not in skipped])
    fold_constants(r)
    r.refresh()
    return dict(r.specs)


def _until_none(r: Rewriter, passes: Iterable[_Pass]) -> None:
    """Each pass in turn, until it applies nowhere."""
    for rewrite in passes:
        while _one_round(r, rewrite):
            r.refresh()


def _one_round(r: Rewriter, rewrite: _Pass) -> bool:
    """One pass over all nodes; whether it changed anything."""
    changed = False
    for node in list(r.graph.nodes):
        if node.op == "call_function" and node.users:
            try:
                changed = rewrite(r, node) or changed
            except NotYetKnownError:  # something was put in, so there is another round
                continue
    return changed


def capture(
    model: torch.nn.Module, *, letters: int, length: int, device: torch.device, dtype: torch.dtype
) -> Program:
    """Turn a model (N, A, L) -> (N, T) into a `Program`, batch norm folded, patterns made
    canonical.

    Raises
    ------
    CaptureError
        When the model decides from the data, depends on the batch in an unforeseen way, or the
        captured graph gives other numbers than the model.
    """
    like = torch.zeros((1, letters, length), device=device, dtype=dtype)
    module = trace(model, like)
    with torch.no_grad():
        try:
            specs = normalise(module, like)
        except Exception as error:  # a graph no pass foresaw: the plain way remains
            raise CaptureError(f"rewriting the graph: {type(error).__name__}: {error}") from error
        program = Program(module, specs, constants_of(module), length, letters)
        _check_numbers(model, program, like)
    return program


def _check_numbers(model: torch.nn.Module, program: Program, like: torch.Tensor) -> None:
    """The captured graph against the model, on a batch of a third size and other sequences."""
    x = probe(4, like.shape[1], like.shape[2], like, seed=1)
    expected = model(x)
    try:
        found = program.module(x)
    except RuntimeError as failure:
        reason = str(failure).strip().splitlines()[0][:200]
        raise CaptureError(f"the captured graph fails on another batch size: {reason}") from failure
    if found.shape != expected.shape:
        shapes = " and ".join(str(tuple(y.shape)) for y in (found, expected))
        raise CaptureError(f"the captured graph and the model give other shapes: {shapes}")
    scale = expected.abs().max().clamp_min(1e-30)
    error = float(((found - expected).abs().max() / scale).nan_to_num(nan=float("inf")))
    limit = 1e-4 if like.dtype in (torch.float32, torch.float64) else 5e-2
    if not error <= limit and _reads_unwritten(program, x):
        raise CaptureError(
            f"it reads {UNWRITTEN}, as circular padding does by more than a negative side leaves "
            "of the axis; cut first, and pad by no more than is left"
        )
    if not error <= limit:
        raise CaptureError(
            f"the captured graph differs from the model by {error:.1e} of its output"
        )


def _reads_unwritten(program: Program, x: torch.Tensor) -> bool:
    """Whether numbers that should not be read come through to the output; spoils the program."""
    for node in program.nodes:
        if node.meta.get(UNWRITTEN) and node.kwargs["dtype"].is_floating_point:
            node.args = (node.args[0], float("nan"))
    program.module.recompile()
    return bool(program.module(x).isnan().any())
