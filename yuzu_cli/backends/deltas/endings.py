"""Steps where windows end: a value without positions, had from what changed alone."""

from __future__ import annotations

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.backends.deltas import kernels
from yuzu_cli.backends.deltas.frames import Frame
from yuzu_cli.backends.deltas.prepared import (
    Prepared,
    State,
    Step,
    common_frame,
    in_frame,
    window_of,
)
from yuzu_cli.backends.deltas.states import Chunk, Full, Win
from yuzu_cli.plan.sensitive import carried
from yuzu_cli.reach.domain import Reach, join
from yuzu_cli.reach.rules import axes_of

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


def across(p: Prepared) -> Step:
    """A linear layer over the positions: its rows under the window times the deltas."""
    reach = p.reach_of(p.source)
    weight = p.constant(p.node.args[1])

    def run(chunk: Chunk, states: dict[str, State]) -> Full:
        win = chunk.expand(chunk.deltas_for(window_of(chunk, states, p.source), weight))
        w, positions = win.rows.shape[:2]
        if win.frame.common and win.frame.inside:
            begin = int(win.frame.start[0])
            data = win.rows.reshape(w, -1).t() @ weight[begin : begin + w]
        else:
            at = chunk.index(win.frame.rows().clip(0, reach.size - 1).T.reshape(-1))
            rows = win.rows.reshape(w, positions, -1).permute(1, 2, 0)
            data = torch.bmm(rows, weight.index_select(0, at).view(positions, w, -1))
        return Full(p.name, data.reshape(chunk.mutants, *p.spec.shape[1:]), True)

    return run


def total(p: Prepared) -> Step:
    """Sum or mean over positions, and maybe other axes: of the deltas alone."""
    reach = p.reach_of(p.source)
    shape = p.context.spec(p.source).shape
    axes = axes_of(p.node, p.context, 1)
    factor = 1.0
    if p.node.target is _aten.mean.dim:
        factor = 1.0 / int(np.prod([shape[a] for a in axes]))
    rest = [a for a in range(1, len(shape)) if a != reach.axis] if reach.flat is None else [1]
    others = [1 + rest.index(a) for a in axes if a in rest]  # among (E, *rest)

    def over_others(data: torch.Tensor) -> torch.Tensor:
        """(..., C) -> (...) and what the node's value has left."""
        if others:
            sizes = [shape[a] for a in rest] if reach.flat is None else [data.shape[-1]]
            data = data.reshape(-1, *sizes).sum(others)
        return data.reshape(-1, *p.spec.shape[1:])

    def run(chunk: Chunk, states: dict[str, State]) -> Full:
        win = chunk.expand(chunk.as_delta(window_of(chunk, states, p.source)))
        return Full(p.name, over_others(win.rows.sum(0)) * factor, True)

    def sides(chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor]:
        rows = chunk.references.rows(p.source.name, reach.axis).double()
        edge = rows.new_zeros((1, *rows.shape[1:]))
        ahead = torch.cat([edge, rows.cumsum(0)])
        behind = torch.cat([rows.flip(0).cumsum(0).flip(0), edge])
        # The model's own rounding of the reference, which mutants share as long as sums are alike.
        ratio = chunk.references.whole(p.name).double() / (over_others(ahead[-1]) * factor)
        ratio = torch.where((ratio - 1).abs() < 1e-3, ratio, 1.0)
        return torch.stack([ahead, behind]), ratio

    def run_on_values(chunk: Chunk, states: dict[str, State]) -> Full:
        win = chunk.expand(window_of(chunk, states, p.source))
        around, ratio = chunk.references.derived(p.source.name, p.name, lambda: sides(chunk))
        inner = exact_values(chunk, win, 0.0).sum(0)
        before, after = beside(chunk, win.frame, around, inner)
        data = over_others(before + inner + after) * factor
        data = data.view(*chunk.shape, *p.spec.shape[1:]) * ratio
        return Full(p.name, data.to(p.spec.dtype).view(-1, *p.spec.shape[1:]), False)

    return run_on_values if carried(p.node) and p.spec.dtype.is_floating_point else run


def extreme(p: Prepared) -> Step:
    """Maximum or log-sum-exp over positions: of the window and the reference around it."""
    return maximum(p) if p.node.target is _aten.amax.default else log_sum_exp(p)


def maximum(p: Prepared) -> Step:
    """The largest of the window's values and the reference's running maxima on its sides."""
    source = p.source.name
    axis = p.reach_of(p.source).axis

    def bounds(chunk: Chunk) -> torch.Tensor:
        rows = chunk.references.rows(source, axis)
        edge = rows.new_full((1, *rows.shape[1:]), float("-inf"))
        ahead = torch.cat([edge, rows.cummax(0).values])
        behind = torch.cat([rows.flip(0).cummax(0).values.flip(0), edge])
        return torch.stack([ahead, behind])

    def run(chunk: Chunk, states: dict[str, State]) -> Full:
        win = chunk.as_value(window_of(chunk, states, p.source))
        sides = chunk.references.derived(source, p.name, lambda: bounds(chunk))
        outside = chunk.outside(win.frame)
        rows = win.rows if outside is None else win.rows.masked_fill(outside, float("-inf"))
        best = rows.amax(0)
        for side in beside(chunk, win.frame, sides, best):
            best = torch.maximum(best, side)
        return Full(p.name, best.reshape(chunk.mutants, *p.spec.shape[1:]), False)

    return run


def beside(
    chunk: Chunk, frame: Frame, sides: torch.Tensor, like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Running results of the reference before and after every window.

    Parameters
    ----------
    sides : Tensor (2, size + 1, B, ...)
        Of the rows before each, and of the rows from each on.
    like : Tensor (P, K, B, ...)

    Returns
    -------
    two Tensors of the shape of `like`
    """
    first = chunk.index(frame.start.clip(0, frame.size))
    last = chunk.index((frame.start + frame.width).clip(0, frame.size))
    ahead, behind = sides[0].index_select(0, first), sides[1].index_select(0, last)
    return ahead[:, None].expand_as(like), behind[:, None].expand_as(like)


# Sums of exponentials are kept in double precision: their effects are differences of numbers near
# each other, and running sums in single precision would lose what one pass over the row keeps.


def log_sum_exp(p: Prepared) -> Step:
    """Log-sum-exp over positions, less the reference's own."""
    source = p.source.name
    axis = p.reach_of(p.source).axis

    by_value = bool(carried(p.node))

    def bounds(chunk: Chunk) -> torch.Tensor:
        return both_ways(chunk.references.rows(source, axis).double())

    def run(chunk: Chunk, states: dict[str, State]) -> Full:
        win = chunk.expand(window_of(chunk, states, p.source))
        sides = chunk.references.derived(source, p.name, lambda: bounds(chunk))
        inner = exact_values(chunk, win, float("-inf")).logsumexp(0)
        parts = torch.stack([inner, *beside(chunk, win.frame, sides, inner)])
        result = parts.logsumexp(0)
        if not by_value:
            result = result - sides[0, -1]
        result = result.to(p.spec.dtype).reshape(chunk.mutants, *p.spec.shape[1:])
        return Full(p.name, result, not by_value)

    return run


def both_ways(rows: torch.Tensor) -> torch.Tensor:
    """Running log-sum-exp of (size, ...) from the start and from the end, (2, size + 1, ...)."""
    edge = rows.new_full((1, *rows.shape[1:]), float("-inf"))
    ahead = torch.cat([edge, rows.logcumsumexp(0)])
    behind = torch.cat([rows.flip(0).logcumsumexp(0).flip(0), edge])
    return torch.stack([ahead, behind])


def exact_values(chunk: Chunk, win: Win, fill: float) -> torch.Tensor:
    """The window's values in double precision, `fill` outside the tensor: (w, P, K, B, C)."""
    rows = win.rows.double()
    if win.is_delta:  # not in place: of a window in double precision this is no copy
        rows = rows + chunk.gather(win.name, win.axis, win.frame)
    outside = chunk.outside(win.frame)
    return rows if outside is None else rows.masked_fill(outside, fill)


def share_of(part: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """exp(part - total), 0 for a part without terms."""
    return torch.where(part == float("-inf"), 0.0, (part - total).exp())


def attention(p: Prepared) -> Step:
    """A sum over positions weighted by a softmax over them, less the reference's own.

    Three parts are weighed against each other: the window, and the reference before and after it.
    Each is known by the log-sum-exp of its logits and the weighted mean of its values.
    """
    nodes: list[Node] = list(p.node.args[:2])
    reaches = [p.reach_of(n) for n in nodes]
    hull = join(reaches)
    assert isinstance(hull, Reach)
    flat, axis = hull.flat is not None, hull.axis
    rests = [
        tuple(s for i, s in enumerate(p.context.spec(n).shape) if i not in (0, axis)) for n in nodes
    ]
    by_value = bool(carried(p.node))
    shift: Node | None = p.node.args[4] if len(p.node.args) > 4 else None

    def split(logits: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(..., C) in the model's other axes; where these are summed too, each position's first."""
        if not flat:
            both = zip((logits, values), rests, strict=True)
            logits, values = (x.reshape(*x.shape[:-1], *rest) for x, rest in both)
            return logits, values
        total = logits.logsumexp(-1, True)
        return total, (share_of(logits, total) * values).sum(-1, True)

    def sides(chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor]:
        rows = (chunk.references.rows(n.name, axis).double() for n in nodes)
        logits, values = torch.broadcast_tensors(*split(*rows))
        total = both_ways(logits)
        # Logarithms of the positive and of the negative terms: no exponential can overflow.
        signed = [both_ways(logits + (sign * values).clamp(min=0).log()) for sign in (1, -1)]
        return total, share_of(signed[0], total) - share_of(signed[1], total)

    def shift_of(chunk: Chunk, states: dict[str, State]) -> torch.Tensor:
        """The shift for every mutant, or what changed of it, (P, K, B, *other axes)."""
        assert shift is not None
        state = states.get(shift.name)
        rest = [s for i, s in enumerate(p.context.spec(shift).shape) if i not in (0, axis)]
        if state is None:
            value = p.constant(shift)
            value = value if by_value else torch.zeros_like(value)
            return value.reshape(1, 1, 1, *([1] if flat else rest))
        assert isinstance(state, Full)
        data = chunk.value_of(state) if by_value else chunk.delta_of(state)
        return data.reshape(*chunk.shape, *([1] if flat else rest))

    def run(chunk: Chunk, states: dict[str, State]) -> Full:
        wins = [chunk.expand(window_of(chunk, states, n)) for n in nodes]
        frame = common_frame(chunk, wins, hull)
        wins = [w if w.frame.same(frame) else in_frame(chunk, w, frame) for w in wins]
        totals, means = chunk.references.derived(nodes[0].name, p.name, lambda: sides(chunk))
        logits = exact_values(chunk, wins[0], float("-inf"))
        logits, values = split(logits, exact_values(chunk, wins[1], 0.0))
        inner = logits.logsumexp(0)
        mean = (share_of(logits, inner) * values).sum(0)
        parts = torch.stack([inner.expand_as(mean), *beside(chunk, frame, totals, mean)])
        total = parts.logsumexp(0)
        shares = share_of(parts, total) * torch.stack([mean, *beside(chunk, frame, means, mean)])
        result = shares.sum(0).masked_fill(total == float("-inf"), float("nan"))
        if not by_value:
            result = result - means[0, -1]
        if shift is not None:
            result = result - shift_of(chunk, states)
        data = result.to(wins[0].rows.dtype).reshape(chunk.mutants, *p.spec.shape[1:])
        return Full(p.name, data, not by_value)

    return run
