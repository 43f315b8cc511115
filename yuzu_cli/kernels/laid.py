"""Kernels that lay rows elsewhere: gathered, in other windows, regrouped, in whole tensors."""

from __future__ import annotations

import math
from typing import Any

import torch

from yuzu_cli.kernels.plain import Moves, filled, flat
from yuzu_cli.kernels.table import kernel

Tensor = torch.Tensor


@kernel("rows")
def rows_at(out: Tensor, rows: Tensor, index: Tensor) -> None:
    """Reference rows (n, B, C) at an index -> (v, P, 1, B, C)."""
    torch.index_select(rows, 0, index, out=out.view(-1, *rows.shape[1:]))


@kernel("expand")
def expand(out: Tensor, pairs: Tensor, index: Tensor) -> None:
    """Rows for pairs of letters (w, 1, A*A, 1, C) -> for mutants (w, P, K, B, C)."""
    w, c = pairs.shape[0], pairs.shape[-1]
    torch.index_select(pairs.view(w, -1, c), 1, index, out=out.view(w, -1, c))


@kernel("gather")
def gather(out: Tensor, rows: Tensor, index: Tensor) -> None:
    """Rows (w * P) at an index -> (v, P, K, B, C)."""
    torch.index_select(flat(rows), 0, index, out=flat(out))


@kernel("flank")
def flank(out: Tensor, rows: Tensor, reference: Tensor, index: Tensor, beneath: Tensor) -> None:
    """Reference rows put where a window has none."""
    into = filled(out, rows).view(-1, *rows.shape[2:])
    values = reference.index_select(0, beneath)[:, None]
    into.index_copy_(0, index, values.expand(-1, *into.shape[1:]))


@kernel("lay")
def lay(out: Tensor, rows: Tensor, moves: Moves) -> None:
    """Windows laid into others; zero where there is none."""
    for into, out_of, run in moves:
        out[: into.start, run] = 0
        out[into, run] = rows[out_of, run]
        out[into.stop :, run] = 0


@kernel("lay on reference")
def lay_on_reference(out: Tensor, rows: Tensor, reference: Tensor, moves: Moves) -> None:
    """Deltas laid into other windows of values."""
    for into, out_of, run in moves:
        beneath = reference if reference.shape[1] == 1 else reference[:, run]
        out[: into.start, run] = beneath[: into.start]
        out[into.stop :, run] = beneath[into.stop :]
        if rows.dtype == out.dtype:
            torch.add(rows[out_of, run], beneath[into], out=out[into, run])
        else:
            out[into, run] = (rows[out_of, run] + beneath[into]).to(out.dtype)


@kernel("lay beside reference")
def lay_beside_reference(out: Tensor, rows: Tensor, reference: Tensor, moves: Moves) -> None:
    """Values laid into other windows of values."""
    for into, out_of, run in moves:
        beneath = reference if reference.shape[1] == 1 else reference[:, run]
        out[: into.start, run] = beneath[: into.start]
        out[into.stop :, run] = beneath[into.stop :]
        out[into, run] = rows[out_of, run]


@kernel("repeat")
def repeat(out: Tensor, rows: Tensor, count: int) -> None:
    """Every row so many times."""
    out.view(rows.shape[0], count, *rows.shape[1:]).copy_(rows[:, None])


@kernel("cut")
def cut(out: Tensor, rows: Tensor, blocks: int, ahead: int) -> None:
    """Rows L = (L/k, k) -> rows L/k of k times as many channels."""
    w, *between = rows.shape[:4]
    parts = rows.view(w // blocks, blocks, *between, ahead, -1)
    out.view(w // blocks, *between, ahead, blocks, -1).copy_(parts.permute(0, 2, 3, 4, 5, 1, 6))


@kernel("join")
def join(out: Tensor, rows: Tensor, repeats: int, ahead: int) -> None:
    """Rows L of (k, ...) channels -> rows L*k."""
    w, *between = rows.shape[:4]
    parts = rows.view(w, *between, ahead, repeats, -1).permute(0, 5, 1, 2, 3, 4, 6)
    out.view(w, repeats, *between, ahead, -1).copy_(parts)


@kernel("side by side")
def side_by_side(
    out: Tensor, *parts: Tensor, order: list[int | None], rests: list[tuple[int, ...]], axis: int,
    rest: tuple[int, ...],
) -> None:  # fmt: skip
    """Channels of several windows next to each other along one of the other axes."""
    between, begin = out.shape[:4], 0
    whole = out.view(*between, *rest)
    for which, shape in zip(order, rests, strict=True):
        piece = whole.narrow(4 + axis, begin, shape[axis])
        if which is None:
            piece.zero_()
        else:
            piece.copy_(parts[which].view(*between, *shape))
        begin += shape[axis]


@kernel("lay whole")
def lay_whole(
    out: Tensor, rows: Tensor, reference: Tensor | None = None, *, pieces: list[Any], size: int,
    axis: int, rest: tuple[int, ...], add: bool,
) -> None:  # fmt: skip
    """Windows in the model's whole tensor (E, ...): zeros around, or the reference."""
    w, p, k, b = rows.shape[:4]
    behind, ahead = math.prod(rest[axis:]), math.prod(rest[:axis])
    if reference is None:
        out.zero_()
    else:
        out.view(p, k, *reference.shape).copy_(reference.expand(p, k, *reference.shape))
    inner = k * b * ahead
    moved = rows.view(w, p, inner, behind).permute(1, 2, 0, 3)
    for run, step, first, low, high in pieces:
        # Windows that move on by the same step from position to position are one strided view.
        into = out.as_strided(
            (run.stop - run.start, inner, high - low, behind),
            (inner * size * behind + step * behind, size * behind, behind, 1),
            out.storage_offset() + run.start * inner * size * behind + first * behind,
        )
        if add:
            into.add_(moved[run, :, low:high])
        else:
            into.copy_(moved[run, :, low:high])
