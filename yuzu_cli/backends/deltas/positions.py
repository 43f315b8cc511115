"""Steps position by position: any function of one position's values, sums, products, matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.backends.deltas import kernels
from yuzu_cli.backends.deltas.frames import Frame, runs
from yuzu_cli.backends.deltas.prepared import (
    Prepared,
    State,
    Step,
    common_frame,
    in_frame,
    window_of,
)
from yuzu_cli.backends.deltas.states import Chunk, Win
from yuzu_cli.graph import ops
from yuzu_cli.graph.program import fill
from yuzu_cli.reach.domain import Reach

_aten = torch.ops.aten

_IN_PLACE: dict[Any, Callable[[torch.Tensor], torch.Tensor]] = {
    _aten.relu.default: torch.relu_,
    _aten.sigmoid.default: torch.sigmoid_,
    _aten.tanh.default: torch.tanh_,
    _aten.exp.default: torch.exp_,
    _aten.sqrt.default: torch.sqrt_,
    _aten.abs.default: torch.abs_,
}
"""Functions of one tensor that may overwrite it when nobody else reads it."""


def pointwise(p: Prepared) -> Step:
    """The node's own call on windows of values, whatever it does across the other axes."""
    reach = p.reach
    assert reach is not None

    in_place = _IN_PLACE.get(p.node.target)

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        wins = {n.name: window_of(chunk, states, n) for n in p.touched}
        frame = common_frame(chunk, list(wins.values()), reach)
        if in_place is not None:
            win = wins[p.source.name]
            value = in_frame(chunk, win, frame)
            fresh = value is not win or (win.owned and len(p.source.users) == 1)
            rows = value.rows if fresh else value.rows.clone()
            return p.win(frame, in_place(rows), False)
        values = {name: in_frame(chunk, w, frame) for name, w in wins.items()}
        arguments = fill(
            (p.node.args, p.node.kwargs), lambda n: argument(p, chunk, n, values, frame)
        )
        args, kwargs = arguments
        result = p.node.target(*args, **kwargs)
        return p.win(frame, as_rows(chunk, result, reach, frame), False)

    return run


def argument(p: Prepared, chunk: Chunk, node: Node, values: dict[str, Win], frame: Frame) -> Any:
    """One argument of the node's own call: a window, a constant, or a constant's rows in the
    window.
    """
    if node.name in values:
        return values[node.name].logical()
    constant = p.constant(node)
    if p.node.target in (ops.affine, ops.linear):
        return constant  # these know their axis
    assert p.reach is not None
    if p.node.target is _aten.index_select.default:
        return constant  # places on another axis, not values at positions
    axis = p.reach.axis - len(p.spec.shape)  # from the right, as broadcasting counts
    if constant.dim() < -axis or constant.shape[axis] == 1 or p.reach.size == 1:
        return constant
    rank = len(p.spec.shape) - 1
    missing = (1,) * (rank - constant.dim())
    shape = (*missing, *constant.shape) if constant.dim() <= rank else constant.shape[1:]
    return constant_rows(chunk, constant.reshape(shape), axis, frame)


def constant_rows(chunk: Chunk, constant: torch.Tensor, axis: int, frame: Frame) -> torch.Tensor:
    """Rows of a constant that has positions, in every mutant's window: its axes, led by E."""
    rows = constant.movedim(axis, 0)
    at = chunk.index(frame.rows().clip(0, frame.size - 1).reshape(-1))
    picked = rows.index_select(0, at).view(frame.width, -1, 1, 1, *rows.shape[1:])
    picked = picked.expand(-1, -1, *chunk.shape[1:], *rows.shape[1:])
    picked = picked.reshape(frame.width, chunk.mutants, *rows.shape[1:])
    return picked.movedim(0, picked.dim() + axis)


def as_rows(chunk: Chunk, result: torch.Tensor, reach: Reach, frame: Frame) -> torch.Tensor:
    """A result in the model's axes (E, ..., w, ...) -> (w, P, K, B, C)."""
    rows = result.movedim(reach.axis, 0)
    return rows.reshape(frame.width, *chunk.shape, -1).contiguous()


def matrix(p: Prepared) -> Step:
    """A linear layer at every position: deltas times the weight, no bias."""
    weight = p.constant(p.node.args[1])

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.deltas_for(window_of(chunk, states, p.source), weight)
        rows = win.rows.reshape(-1, weight.shape[0]) @ weight
        rows = rows.view(*win.rows.shape[:-1], -1)
        return p.win(win.frame, rows, True, win.pairs)

    return run


def linear_map(p: Prepared) -> Step:
    """Sums of windows and products with constants, on the deltas."""
    reach = p.reach
    assert reach is not None
    target, args = p.node.target, p.node.args
    if target in (_aten.add.Tensor, _aten.sub.Tensor):
        alpha = float(p.node.kwargs.get("alpha", 1))
        factor = -alpha if target is _aten.sub.Tensor else alpha
        terms = [(a, f) for a, f in ((args[0], 1.0), (args[1], factor)) if a in p.touched]
        return sum_of_windows(p, reach, terms)
    if target is _aten.neg.default:
        return sum_of_windows(p, reach, [(p.source, -1.0)])

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.as_delta(window_of(chunk, states, p.touched[0]))
        if target is ops.affine and reach.flat is not None:
            win = chunk.expand(win)
            scale = p.constant(args[1]).reshape(reach.flat)
            axis = reach.axis - 1 - scale.dim()
            result = win.logical() * constant_rows(chunk, scale, axis, win.frame)
        elif target is ops.affine:
            result = win.logical() * p.constant(args[1]).view(-1, *(1,) * (len(p.spec.shape) - 2))
        else:
            win = chunk.expand(win)
            scaled = {win.name: win}
            a, b = (
                argument(p, chunk, v, scaled, win.frame) if isinstance(v, Node) else v
                for v in args[:2]
            )
            result = target(a, b)
        # A constant may have made another axis longer.
        rows = result.movedim(reach.axis, 0).reshape(*win.rows.shape[:-1], -1).contiguous()
        return p.win(win.frame, rows, True, win.pairs)

    return run


def sum_of_windows(p: Prepared, reach: Reach, terms: list[tuple[Any, float]]) -> Step:
    """Windows of one or two tensors added with factors, in the frame that holds them all."""
    channels = int(np.prod(p.rest()))

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        wins = [chunk.as_delta(window_of(chunk, states, n)) for n, _ in terms]
        if len(wins) == 1 and wins[0].frame.size == reach.size:
            rows = wins[0].rows if terms[0][1] == 1 else wins[0].rows * terms[0][1]
            if rows.shape[-1] == channels:
                wins[0].owned = wins[0].owned and rows is not wins[0].rows
                return p.win(wins[0].frame, rows, True, wins[0].pairs, owned=False)
        wins = [chunk.expand(w) for w in wins]
        frame = common_frame(chunk, wins, reach)
        base = next((i for i, w in enumerate(wins) if reusable(i, w, frame)), None)
        if base is None:
            into = p.win(frame, wins[0].rows.new_zeros((frame.width, *chunk.shape, channels)), True)
        else:
            into = p.win(frame, wins[base].rows, True)
        for i, (win, (_, factor)) in enumerate(zip(wins, terms, strict=True)):
            if i != base:
                add_into(into, win, factor)
        return into

    def reusable(i: int, win: Win, frame: Frame) -> bool:
        """Whether the sum may be built in this term's own rows."""
        node, factor = terms[i]
        return (
            factor == 1
            and win.owned
            and len(node.users) == 1
            and all(n is not node for j, (n, _) in enumerate(terms) if j != i)
            and win.rows.shape[-1] == channels
            and win.frame.same(frame)
        )

    return run


def add_into(into: Win, win: Win, factor: float) -> None:
    """into += factor * win, where their windows overlap (they do wherever win is not zero)."""
    for run, offset in runs(win.frame.start - into.frame.start):
        rows, out_of = kernels.overlap(offset, win.frame.width, into.frame.width)
        piece = win.rows[out_of, run]
        if into.rows.shape[-1] == win.rows.shape[-1]:
            into.rows[rows, run].add_(piece, alpha=factor)
        else:  # broadcast over another axis
            w = rows.stop - rows.start
            shape = (w, *into.rows[rows, run].shape[1:4])
            view = into.rows[rows, run].view(*shape, *into.rest)
            view.add_(piece.reshape(*shape, *win.rest), alpha=factor)
