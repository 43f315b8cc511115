"""Steps after which windows lie elsewhere: renamed, cut, padded, mirrored, repeated, joined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.backends.deltas.frames import Frame
from yuzu_cli.backends.deltas.positions import add_into
from yuzu_cli.backends.deltas.prepared import Prepared, State, Step, common_frame, window_of
from yuzu_cli.backends.deltas.states import Chunk, Win
from yuzu_cli.plan.sensitive import carried
from yuzu_cli.reach.domain import Reach
from yuzu_cli.reach.rules import axes_of, keep_axis, pads_of, slice_of
from yuzu_cli.reach.tables import table_of

_aten = torch.ops.aten


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
    mirror = False
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
    elif target is _aten.flip.default:
        mirror = old.axis in axes_of(p.node, p.context, 1)
    if target is _aten.constant_pad_nd.default:
        return padded_elsewhere(p)
    return renamed(p, mirror)


def shifted(p: Prepared, geometry: Callable[[Frame], Frame]) -> Step:
    """The same rows under other position numbers; what now lies outside is cut off."""

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.as_delta(window_of(chunk, states, p.source))
        if not win.frame.inside:  # pairs know no ends, and those may lie inside once moved
            win = chunk.expand(win)
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


def renamed(p: Prepared, mirror: bool) -> Step:
    """The node's own call on the windows' other axes, with rows maybe mirrored."""
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
        if mirror:
            frame = Frame(reach.size - frame.start - frame.width, frame.width, reach.size)
        result = p.node.target(win.logical(), *p.node.args[1:], **p.node.kwargs)
        rows = result.movedim(reach.axis, 0).reshape(*win.rows.shape[:-1], -1).contiguous()
        return p.win(frame, rows, win.is_delta, win.pairs, win.owned)

    return run


def shareable(chunk: Chunk, p: Prepared, win: Win) -> Win:
    """A window whose rows a second may point to: values belong to one, deltas to many."""
    if len(p.source.users) > 1:
        win = chunk.as_delta(win)
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
    if dim == reach.axis:
        return end_to_end(p, parts, reach)
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


def end_to_end(p: Prepared, parts: list[Node], reach: Reach) -> Step:
    """Positions one after the other: each part's windows where the part stands."""
    axis = reach.axis
    offsets = np.cumsum([0, *(p.context.spec(n).shape[axis] for n in parts)]).tolist()
    channels = int(np.prod(p.rest()))

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        wins = {
            n.name: chunk.expand(chunk.as_delta(window_of(chunk, states, n))) for n in p.touched
        }
        frame = chunk.frame(reach)
        like = max((win.rows for win in wins.values()), key=lambda rows: rows.element_size())
        into = p.win(frame, like.new_zeros((frame.width, *chunk.shape, channels)), True)
        for part, offset in zip(parts, offsets, strict=False):
            if part.name in wins:
                win = wins[part.name]
                moved = Frame(win.frame.start + offset, win.frame.width, reach.size)
                add_into(into, Win(win.name, moved, win.rows, True, axis, win.rest), 1.0)
        return into

    return run


def listed(p: Prepared) -> Step:
    """Rows that stand in a list, summed with its factors, or the largest of them."""
    reach, old = p.reach, p.reach_of(p.source)
    assert reach is not None
    table = table_of(p.node, p.program, old.axis)
    assert table is not None
    index, weight = table.index, table.weight
    mean = weight is not None and index.shape[1] > 1
    by_value = weight is None or bool(carried(p.node))
    counts = np.ones(len(index)) if weight is None else (weight > 0).sum(1)

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.expand(window_of(chunk, states, p.source))
        win = win if by_value else chunk.as_delta(win)
        frame = chunk.frame(reach, win.frame)
        lines = frame.rows().clip(0, frame.size - 1)
        result: torch.Tensor | None = None
        for k in range(index.shape[1]):
            read = chunk.values_at if by_value else chunk.regather
            rows = read(win, index[lines, k])
            if weight is None:
                result = rows if result is None else torch.maximum(result, rows)
                continue
            if mean:
                rows *= chunk.index(weight[lines, k] > 0).to(rows)[..., None, None, None]
            result = rows if result is None else result.add_(rows)
        assert result is not None
        if mean:  # divided, as the model does: the quotient rounds alike
            result /= chunk.index(counts[lines]).to(result)[..., None, None, None]
        made = p.win(frame, result, not by_value)
        return made if by_value else chunk.masked(made)

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
