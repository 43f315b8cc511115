"""From strategy to arithmetic: one prepared step per node of the windowed part of a graph.

A step is made once per model (weights laid out as its kernel wants them) and run once per chunk.
It reads the states of its arguments and returns its own. Steps that need no window do not appear
here: the whole tensor is computed by the node's own call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.backends.deltas import kernels
from yuzu_cli.backends.deltas.states import Chunk, Frame, Full, Win, runs
from yuzu_cli.graph import ops
from yuzu_cli.graph.program import Program, fill
from yuzu_cli.plan import strategies as how
from yuzu_cli.reach.domain import UNTOUCHED, AnyReach, Reach
from yuzu_cli.reach.rules import Context, along, axes_of, keep_axis, pads_of, slice_of

_aten = torch.ops.aten
State: TypeAlias = Win | Full
Step: TypeAlias = Callable[[Chunk, dict[str, State]], State]


class Prepared:
    """What making a step may look at: the node, its place in the graph, the constants."""

    def __init__(self, node: Node, program: Program, reaches: dict[str, AnyReach]) -> None:
        self.node, self.program, self.context = node, program, Context(program, reaches)
        self.name = node.name
        self.spec = program.specs[node.name]
        reach = reaches[node.name]
        self.reach = reach if isinstance(reach, Reach) else None
        self.touched = [n for n in node.all_input_nodes if self.context.of(n) is not UNTOUCHED]

    @property
    def source(self) -> Node:
        """The first argument."""
        first = self.node.args[0]
        assert isinstance(first, Node)
        return first

    def reach_of(self, node: Node) -> Reach:
        reach = self.context.of(node)
        assert isinstance(reach, Reach)
        return reach

    def constant(self, arg: Any) -> torch.Tensor:
        return self.program.constants[arg.name]

    def rest(self) -> tuple[int, ...]:
        """The value's axes without batch and position."""
        assert self.reach is not None
        shape = (1, *self.reach.flat) if self.reach.flat is not None else self.spec.shape
        return tuple(s for i, s in enumerate(shape) if i not in (0, self.reach.axis))

    def win(
        self,
        frame: Frame,
        rows: torch.Tensor,
        is_delta: bool,
        pairs: bool = False,
        owned: bool = True,
    ) -> Win:
        assert self.reach is not None
        return Win(self.name, frame, rows, is_delta, self.reach.axis, self.rest(), pairs, owned)


def window_of(chunk: Chunk, states: dict[str, State], node: Node) -> Win:
    state = states[node.name]
    assert isinstance(state, Win)
    return state


# --- convolution --------------------------------------------------------------------------------


def convolution(p: Prepared) -> Step:
    """Deltas convolved tap by tap; letters seen straight from the input as pairs."""
    _, weight, _, stride, padding, dilation, transposed, _, groups = p.node.args
    reach, out_reach = p.reach_of(p.source), p.reach
    assert out_reach is not None
    n = len(p.spec.shape) - 2
    step, pad, gap = (along(reach, v, n) for v in (stride, padding, dilation))
    taps = lay_out_taps(p, p.constant(weight), reach, padding, bool(transposed), int(groups))
    kernel = taps.shape[0]
    span = (kernel - 1) * gap

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.as_delta(window_of(chunk, states, p.source))
        if win.pairs and win.frame.inside and step == 1 and not transposed:
            frame = Frame(win.frame.start - span + pad, win.frame.width + span, out_reach.size)
            rows = kernels.convolve(win.rows, taps, span, gap, frame.width)
            return p.win(frame, rows, True, pairs=True)
        win = chunk.expand(win)
        if not win.frame.common:
            win = chunk.reframe(
                win, chunk.frame(reach)
            )  # to one window for all, where that is near
        start, rows_in = win.frame.start, win.frame.width
        if win.frame.common or (step > 1 and not transposed):
            frame = chunk.frame(out_reach, win.frame)
        elif transposed:
            frame = Frame(start * step - pad, (rows_in - 1) * step + span + 1, out_reach.size)
        else:
            frame = Frame(start - span + pad, rows_in + span, out_reach.size)
        if transposed:
            shift = int(start[0]) * step - pad - int(frame.start[0])
            rows = kernels.transposed_taps(win.rows, taps, shift, step, gap, frame.width)
        elif step == 1:
            shift = int(start[0]) + pad - int(frame.start[0])
            rows = kernels.convolve(win.rows, taps, shift, gap, frame.width)
        else:
            below = kernels.pooling_frame(frame, step, pad, kernel, gap, win.frame.size)
            rows = kernels.strided_taps(
                chunk.reframe(win, below).rows, taps, step, gap, frame.width
            )
        return chunk.masked(p.win(frame, rows, True))

    return run


def lay_out_taps(
    p: Prepared, weight: torch.Tensor, reach: Reach, padding: Any, transposed: bool, groups: int
) -> torch.Tensor:
    """Weights as (kernel, I, O), or (kernel, G, I/G, O/G); I and O with any dummy axis flattened
    in.
    """
    if weight.dim() == 4:
        other, pads = 5 - reach.axis, list(padding)
        if p.context.spec(p.source).shape[other] == 1:
            pad = pads[other - 2] if len(pads) > 1 else pads[0]
            weight = weight.select(other, pad)
        elif reach.axis == 2:  # (O, I, k, H): channels of a row are (I, H)
            weight = weight.permute(0, 1, 3, 2).flatten(1, 2)
        else:  # (O, I, H, k)
            weight = weight.flatten(1, 2)
    if transposed:  # (I, O/G, k)
        i, o, k = weight.shape
        taps = weight.view(groups, i // groups, o, k).permute(3, 0, 1, 2)
    else:  # (O, I/G, k)
        o, i, k = weight.shape
        taps = weight.view(groups, o // groups, i, k).permute(3, 0, 2, 1)
    return (taps[:, 0] if groups == 1 else taps).contiguous()


# --- pooling ------------------------------------------------------------------------------------


def max_pool(p: Prepared) -> Step:
    """Maxima over values laid out on the pool's own grid."""
    _, kernel, stride, padding, dilation, _ = p.node.args
    reach, out_reach = p.reach_of(p.source), p.reach
    assert out_reach is not None
    k, s, pad, gap = (trailing(p, reach, v) for v in (kernel, stride, padding, dilation))

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = window_of(chunk, states, p.source)
        frame = chunk.frame(out_reach, win.frame)
        below = kernels.pooling_frame(frame, s, pad, k, gap, win.frame.size)
        values = chunk.values_in(win, below, float("-inf"))
        return p.win(frame, kernels.pool_rows(values, k, s, gap, frame.width), False)

    return run


def trailing(p: Prepared, reach: Reach, values: Any) -> int:
    """The entry of a pooling option that belongs to the position axis."""
    values = list(values)
    return int(values[reach.axis - len(p.spec.shape)] if len(values) > 1 else values[0])


def avg_pool(p: Prepared) -> Step:
    """Means of deltas; the divisor of each output position is the model's own."""
    _, kernel, stride, padding, ceil, count, divisor = p.node.args
    reach, out_reach = p.reach_of(p.source), p.reach
    assert out_reach is not None
    k, s, pad = (trailing(p, reach, v) for v in (kernel, stride, padding))
    ones = torch.ones(1, 1, reach.size, dtype=torch.float64)
    counts = torch.nn.functional.avg_pool1d(ones, k, s, pad, bool(ceil), bool(count))[0, 0]
    begin = torch.arange(out_reach.size) * s - pad
    inside = (begin + k).clamp(max=reach.size) - begin.clamp(min=0)
    divisors = inside / counts if divisor is None else torch.full_like(counts, float(divisor))
    weights = (1 / divisors).numpy()
    by_value = how.feeds_sensitive(p.node)

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.expand(window_of(chunk, states, p.source))
        frame = chunk.frame(out_reach, win.frame)
        below = kernels.pooling_frame(frame, s, pad, k, 1, win.frame.size)
        if by_value:
            read = chunk.values_in(win, below, 0.0)
        else:
            read = chunk.reframe(chunk.as_delta(win), below).rows
        rows = kernels.sum_rows(read, k, s, frame.width)
        at = frame.rows().clip(0, frame.size - 1)
        if (weights == weights[0]).all():
            rows *= float(weights[0])
        else:
            rows *= torch.as_tensor(weights[at]).to(rows)[..., None, None, None]
        return p.win(frame, rows, False) if by_value else chunk.masked(p.win(frame, rows, True))

    return run


_IN_PLACE: dict[Any, Callable[[torch.Tensor], torch.Tensor]] = {
    _aten.relu.default: torch.relu_,
    _aten.sigmoid.default: torch.sigmoid_,
    _aten.tanh.default: torch.tanh_,
    _aten.exp.default: torch.exp_,
    _aten.sqrt.default: torch.sqrt_,
    _aten.abs.default: torch.abs_,
}
"""Functions of one tensor that may overwrite it when nobody else reads it."""


# --- position by position -----------------------------------------------------------------------


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


def common_frame(chunk: Chunk, wins: list[Win], reach: Reach) -> Frame:
    """The frame of a result: the operand's own when there is but one."""
    first = wins[0].frame
    if all(w.frame.same(first) for w in wins) and first.size == reach.size:
        return first
    return chunk.frame(reach, next((w.frame for w in wins if w.frame.common), None))


def in_frame(chunk: Chunk, win: Win, frame: Frame) -> Win:
    """Values in a frame; rows outside the tensor hold finite numbers nobody reads."""
    if frame.same(win.frame):
        return chunk.as_value(win)
    rows = chunk.values_in(win, frame, 0.0)
    return Win(win.name, frame, rows, False, win.axis, win.rest)


def argument(p: Prepared, chunk: Chunk, node: Node, values: dict[str, Win], frame: Frame) -> Any:
    """One argument of the node's own call: a window, a constant, or a constant's rows in the
    window.
    """
    if node.name in values:
        return values[node.name].logical()
    constant = p.constant(node)
    assert p.reach is not None
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
        win = chunk.as_delta(window_of(chunk, states, p.source))
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
        if target is ops.affine:
            result = win.logical() * p.constant(args[1]).view(-1, *(1,) * (len(p.spec.shape) - 2))
        else:
            win = chunk.expand(win)
            scaled = {win.name: win}
            a, b = (
                argument(p, chunk, v, scaled, win.frame) if isinstance(v, Node) else v
                for v in args[:2]
            )
            result = target(a, b)
        rows = result.movedim(reach.axis, 0).reshape(win.rows.shape).contiguous()
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


# --- windows elsewhere --------------------------------------------------------------------------


def move(p: Prepared) -> Step:
    """Values that only change place: axes renamed, cut, padded, mirrored, repeated, joined."""
    target = p.node.target
    if target is _aten.cat.default:
        return concatenation(p)
    if target is _aten.reshape.default:
        return reshape(p)
    reach, old = p.reach, p.reach_of(p.source)
    assert reach is not None
    geometry: Callable[[Frame], Frame] = lambda f: f  # noqa: E731
    repeat, mirror = 1, False
    if target is _aten.slice.Tensor:
        axis, begin, _ = slice_of(p.node, p.context)
        if axis == old.axis:
            geometry = lambda f: Frame(f.start - begin, f.width, reach.size)  # noqa: E731
            return shifted(p, geometry)
    elif target is _aten.constant_pad_nd.default:
        before = pads_of(p.node, p.context)[old.axis]
        if p.spec.numel // reach.size == p.context.spec(p.source).numel // old.size:
            geometry = lambda f: Frame(f.start + before, f.width, reach.size)  # noqa: E731
            return shifted(p, geometry)
    elif target is _aten.upsample_nearest1d.default:
        repeat = reach.size // old.size
    elif target is _aten.flip.default:
        mirror = old.axis in axes_of(p.node, p.context, 1)
    if target is _aten.constant_pad_nd.default:
        return padded_elsewhere(p)
    return renamed(p, repeat, mirror)


def shifted(p: Prepared, geometry: Callable[[Frame], Frame]) -> Step:
    """The same rows under other position numbers; what now lies outside is cut off."""

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.as_delta(window_of(chunk, states, p.source))
        frame = geometry(win.frame)
        if frame.common and not frame.inside and not win.pairs:
            low, high = (
                max(int(frame.start[0]), 0),
                min(int(frame.start[0]) + frame.width, frame.size),
            )
            moved = p.win(frame, win.rows, True)
            if high <= low:
                low, high = 0, 1
            inner = Frame(np.full_like(frame.start, low), high - low, frame.size)
            return chunk.reframe(moved, inner)
        keep = frame.inside or win.pairs
        rows = win.rows if keep else win.rows.clone()
        win.owned = win.owned and not keep
        return chunk.masked(p.win(frame, rows, True, win.pairs, owned=not keep))

    return run


def renamed(p: Prepared, repeat: int, mirror: bool) -> Step:
    """The node's own call on the windows' other axes, with rows repeated or mirrored."""
    reach = p.reach
    assert reach is not None
    same = p.node.target in (
        _aten.unsqueeze.default,
        _aten.squeeze.dim,
        _aten.squeeze.dims,
        _aten.squeeze.default,
    )

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = shareable(chunk, p, window_of(chunk, states, p.source))
        frame = win.frame
        if same:
            return p.win(frame, win.rows, win.is_delta, win.pairs, win.owned)
        if repeat > 1:
            rows = win.rows.repeat_interleave(repeat, dim=0)
            frame = Frame(frame.start * repeat, frame.width * repeat, reach.size)
            return p.win(frame, rows, win.is_delta, win.pairs)
        if mirror:
            frame = Frame(reach.size - frame.start - frame.width, frame.width, reach.size)
        result = p.node.target(win.logical(), *p.node.args[1:], **p.node.kwargs)
        rows = result.movedim(reach.axis, 0).reshape(*win.rows.shape[:-1], -1).contiguous()
        return p.win(frame, rows, win.is_delta, win.pairs, win.owned)

    return run


def shareable(chunk: Chunk, p: Prepared, win: Win) -> Win:
    """A window whose rows a second may point to: values belong to one, deltas to many."""
    if len(p.source.users) > 1:
        chunk.as_delta(win)
        win.owned = False
    return win


def padded_elsewhere(p: Prepared) -> Step:
    """Padding of other axes: zeros among the deltas."""
    reach = p.reach
    assert reach is not None
    pads = list(p.node.args[1])
    own = len(p.spec.shape) - 1 - reach.axis
    shift = 0
    if len(pads) > 2 * own:
        shift = pads[2 * own]
        pads[2 * own : 2 * own + 2] = [0, 0]

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.expand(chunk.as_delta(window_of(chunk, states, p.source)))
        result = _aten.constant_pad_nd.default(win.logical(), pads, 0)
        rows = result.movedim(reach.axis, 0).reshape(*win.rows.shape[:-1], -1).contiguous()
        frame = Frame(win.frame.start + shift, win.frame.width, reach.size)
        moved = chunk.masked(p.win(frame, rows, True))
        wanted = chunk.frame(reach, frame if frame.common else None)
        return moved if frame.inside or not frame.common else chunk.reframe(moved, wanted)

    return run


def concatenation(p: Prepared) -> Step:
    """Channels side by side: deltas of the touched parts, zeros for the others."""
    reach = p.reach
    assert reach is not None
    parts: list[Node] = list(p.node.args[0])
    axis = p.node.args[1] if len(p.node.args) > 1 else p.node.kwargs.get("dim", 0)
    assert isinstance(axis, int)
    shapes = [
        tuple(s for i, s in enumerate(p.context.spec(n).shape) if i not in (0, reach.axis))
        for n in parts
    ]
    dim = axis % len(p.spec.shape)
    at = dim - 1 - (dim > reach.axis)  # among the other axes

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        wins = {
            n.name: chunk.expand(chunk.as_delta(window_of(chunk, states, n))) for n in p.touched
        }
        frame = common_frame(chunk, list(wins.values()), reach)
        like = next(iter(wins.values())).rows
        pieces = []
        for part, shape in zip(parts, shapes, strict=True):
            if part.name in wins:
                rows = chunk.reframe(wins[part.name], frame).rows
                pieces.append(rows.view(*rows.shape[:4], *shape))
            else:
                pieces.append(like.new_zeros((frame.width, *chunk.shape, *shape)))
        rows = torch.cat(pieces, dim=4 + at)
        return p.win(frame, rows.view(*rows.shape[:4], -1), True)

    return run


def reshape(p: Prepared) -> Step:
    """Other axes regrouped; positions kept, cut into blocks, or joined with the axis after them."""
    reach, old = p.reach, p.reach_of(p.source)
    assert reach is not None
    if reach.flat is not None:

        def flat(chunk: Chunk, states: dict[str, State]) -> Win:
            win = window_of(chunk, states, p.source)
            rows, owned = win.rows, win.owned and len(p.source.users) == 1
            return Win(p.name, win.frame, rows, True, win.axis, win.rest, win.pairs, owned)

        return flattened(p, flat)
    before = (1, *old.flat) if old.flat is not None else p.context.spec(p.source).shape
    found = keep_axis(before, p.spec.shape, old.axis)
    assert found is not None
    _, blocks, repeats = found
    ahead = int(np.prod(before[1 : old.axis]))

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = shareable(chunk, p, window_of(chunk, states, p.source))
        if blocks == repeats == 1:
            return p.win(win.frame, win.rows, win.is_delta, win.pairs, win.owned)
        win = chunk.expand(chunk.as_delta(win))
        if blocks > 1:
            frame = chunk.frame(reach, win.frame)
            below = Frame(frame.start * blocks, frame.width * blocks, old.size)
            rows = chunk.reframe(win, below).rows
            rows = rows.view(frame.width, blocks, *chunk.shape, ahead, -1).permute(
                0, 2, 3, 4, 5, 1, 6
            )
        else:
            frame = Frame(win.frame.start * repeats, win.frame.width * repeats, reach.size)
            rows = win.rows.view(win.frame.width, *chunk.shape, ahead, repeats, -1)
            rows = rows.permute(0, 5, 1, 2, 3, 4, 6)
        return p.win(frame, rows.reshape(frame.width, *chunk.shape, -1), True)

    return run


def flattened(p: Prepared, make: Callable[[Chunk, dict[str, State]], Win]) -> Step:
    """Positions merged with other axes: the rows stay, only the reference's name changes."""

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.as_delta(window_of(chunk, states, p.source))
        return make(chunk, {p.source.name: win})

    return run


# --- endings ------------------------------------------------------------------------------------


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


STEPS: dict[str, Callable[[Prepared], Step]] = {
    how.CONVOLUTION: convolution,
    how.MAX_POOL: max_pool,
    how.AVG_POOL: avg_pool,
    how.POINTWISE: pointwise,
    how.LINEAR_MAP: linear_map,
    how.MATRIX: matrix,
    how.MOVE: move,
    how.DENSE: dense,
    how.TOTAL: total,
    how.EXTREME: extreme,
}
