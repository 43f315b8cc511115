"""Steps where windows end: a value without positions, had from what changed alone."""

from __future__ import annotations

from collections.abc import Callable

import torch

from yuzu_cli.backends.deltas import kernels
from yuzu_cli.backends.deltas.prepared import Prepared, State, Step, window_of
from yuzu_cli.backends.deltas.states import Chunk, Full

_aten = torch.ops.aten


def dense(p: Prepared) -> Step:
    """A linear layer after flatten: only the slice of its weight under the window is multiplied."""
    reach = p.reach_of(p.source)
    assert reach.flat is not None
    weight = p.constant(p.node.args[1])
    shaped = weight.view(*reach.flat, -1).movedim(reach.axis - 1, 0)
    laid_out = shaped.reshape(reach.size, -1, weight.shape[1]).contiguous()

    def run(chunk: Chunk, states: dict[str, State]) -> Full:
        return Full(
            p.name, kernels.dense(chunk, window_of(chunk, states, p.source), laid_out), True
        )

    return run


def total(p: Prepared) -> Step:
    """Sum or mean over positions: of the deltas alone."""
    reach = p.reach_of(p.source)
    factor = 1.0 if p.node.target is _aten.sum.dim_IntList else 1.0 / reach.size

    def run(chunk: Chunk, states: dict[str, State]) -> Full:
        win = chunk.expand(chunk.as_delta(window_of(chunk, states, p.source)))
        data = win.rows.sum(0) * factor
        return Full(p.name, data.reshape(chunk.mutants, *p.spec.shape[1:]), True)

    return run


def extreme(p: Prepared) -> Step:
    """Maximum or log-sum-exp over positions: of the window and the reference around it."""
    source = p.source.name
    axis = p.reach_of(p.source).axis
    maximum = p.node.target is _aten.amax.default
    join: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    join = torch.maximum if maximum else torch.logaddexp

    def running(rows: torch.Tensor) -> torch.Tensor:
        return rows.cummax(0).values if maximum else rows.logcumsumexp(0)

    def bounds(chunk: Chunk) -> torch.Tensor:
        rows = chunk.references.rows(source, axis)
        edge = rows.new_full((1, *rows.shape[1:]), float("-inf"))
        ahead = torch.cat([edge, running(rows)])
        behind = torch.cat([running(rows.flip(0)).flip(0), edge])
        return torch.stack([ahead, behind])

    def run(chunk: Chunk, states: dict[str, State]) -> Full:
        win = chunk.as_value(window_of(chunk, states, p.source))
        ahead, behind = chunk.references.derived(source, p.name, lambda: bounds(chunk))
        outside = chunk.outside(win.frame)
        rows = win.rows if outside is None else win.rows.masked_fill(outside, float("-inf"))
        first = chunk.index(win.frame.start.clip(0, win.frame.size))
        last = chunk.index((win.frame.start + win.frame.width).clip(0, win.frame.size))
        best = rows.amax(0) if maximum else rows.logsumexp(0)
        best = join(best, ahead.index_select(0, first)[:, None])
        best = join(best, behind.index_select(0, last)[:, None])
        return Full(p.name, best.reshape(chunk.mutants, *p.spec.shape[1:]), False)

    return run
