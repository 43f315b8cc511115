"""Recurrent layers one position after the other, for the reference and for windows."""

from __future__ import annotations

import torch

from yuzu_cli.kernels import packed
from yuzu_cli.kernels.table import kernel

Tensor = torch.Tensor


def follow(
    kind: str, given: Tensor, state: Tensor, cell: Tensor | None, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor | None]:
    """The next state and cell (E, H) from what is read (E or 1, G * H), by weight (H, G * H)."""
    h, gru = state.shape[1], kind == "gru"
    add = bias if gru else given
    if packed.fits(len(state), weight):
        mine = packed.product(state, weight, 0, add.reshape(-1) if len(add) == 1 or gru else None)
        mine = mine if len(add) == 1 or gru else mine.add_(add)
    else:
        mine = torch.addmm(add, state, weight)
    if gru:
        gates = mine[:, : 2 * h].add_(given[:, : 2 * h]).sigmoid_()
        new = torch.addcmul(given[:, 2 * h :], gates[:, :h], mine[:, 2 * h :]).tanh_()
        return torch.lerp(new, state, gates[:, h:]), None
    if cell is None:
        return mine.tanh_() if kind == "rnn_tanh" else mine.relu_(), None
    gates, new = mine[:, : 3 * h].sigmoid_(), mine[:, 3 * h :].tanh_()
    cell = (gates[:, h : 2 * h] * cell).addcmul_(gates[:, :h], new)
    return cell.tanh().mul_(gates[:, 2 * h :]), cell


States = tuple[Tensor, Tensor, Tensor | None]
"""What the reference reads at each position (T, B, G * H); its states and cells (T + 1, B, H), at
t those before position t is read, or at t + 1 where it is read backwards."""


@kernel("reference states")
def reference_states(
    out: None, rows: Tensor, state: Tensor, cell: Tensor | None = None, *, halo: int, size: int,
    project: Tensor, add: Tensor | None, kind: str, backwards: bool, weight: Tensor, bias: Tensor,
) -> States:  # fmt: skip
    """All that the reference went through."""
    given = rows[halo : halo + size] @ project
    if add is not None:
        given += add
    if kind != "gru":  # whose bias is multiplied by a gate
        given += bias
    states, cells = [state], [cell]
    for at in reversed(range(size)) if backwards else range(size):
        state, cell = follow(kind, given[at], state, cell, weight, bias)
        states.append(state)
        cells.append(cell)
    if backwards:
        states.reverse()
        cells.reverse()
    kept = [c for c in cells if c is not None]
    return given, torch.stack(states), torch.stack(kept) if kept else None


@kernel("states")
def states(
    out: Tensor, read: Tensor, around: States, first: int, begin: int, kind: str, backwards: bool,
    weight: Tensor, bias: Tensor,
) -> None:  # fmt: skip
    """What changes of the states from where what is read changes: rows `begin` on of them."""
    given, reference, cells = around
    width, p, k, b = out.shape[:4]
    h, until, last = weight.shape[0], begin + width, first + read.shape[0]
    order = range(last - 1, begin - 1, -1) if backwards else range(first, until)
    before = last if backwards else first
    state = reference[before].repeat(p * k, 1)
    cell = None if cells is None else cells[before].repeat(p * k, 1)
    for at in order:
        mine = given[at]
        if first <= at < last:
            mine = (mine + read[at - first].view(p * k, b, -1)).view(p * k * b, -1)
        elif b > 1:
            mine = mine.repeat(p * k, 1)
        state, cell = follow(kind, mine, state, cell, weight, bias)
        if begin <= at < until:
            torch.sub(
                state.view(p * k, b, h), reference[at + (not backwards)],
                out=out[at - begin].view(p * k, b, h),
            )  # fmt: skip
    # Before the first change there is none, whatever else the window holds.
    if backwards:
        out[max(0, last - begin) :].zero_()
    else:
        out[: max(0, first - begin)].zero_()
