"""Steps that slide a window along the positions: convolutions and pools."""

from __future__ import annotations

from typing import Any

import torch

from yuzu_cli.backends.deltas import kernels
from yuzu_cli.backends.deltas.fourier import Taps
from yuzu_cli.backends.deltas.frames import Frame
from yuzu_cli.backends.deltas.prepared import Prepared, State, Step, window_of
from yuzu_cli.backends.deltas.states import Chunk, Win
from yuzu_cli.plan.sensitive import carried
from yuzu_cli.reach.domain import Reach
from yuzu_cli.reach.rules import along

# --- convolution --------------------------------------------------------------------------------


def convolution(p: Prepared) -> Step:
    """Deltas convolved with the taps; letters seen straight from the input as pairs."""
    _, weight, _, stride, padding, dilation, transposed, _, _ = p.node.args
    reach, out_reach = p.reach_of(p.source), p.reach
    assert out_reach is not None
    n = len(p.spec.shape) - 2
    step, pad, gap = (along(reach, v, n) for v in (stride, padding, dilation))
    taps = lay_out_taps(p, p.constant(weight), reach)
    kernel, layer = taps.shape[0], Taps(taps, gap)
    span = (kernel - 1) * gap

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.deltas_for(window_of(chunk, states, p.source), taps)
        if win.pairs and win.frame.inside and step == 1 and not transposed:
            frame = Frame(win.frame.start - span + pad, win.frame.width + span, out_reach.size)
            rows = layer.convolve(win.rows, span, frame.width)
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
            rows = layer.convolve(win.rows, shift, frame.width)
        else:
            below = kernels.pooling_frame(frame, step, pad, kernel, gap, win.frame.size)
            rows = kernels.strided_taps(
                chunk.reframe(win, below).rows, taps, step, gap, frame.width
            )
        return chunk.masked(p.win(frame, rows, True))

    return run


def convolution_of_values(p: Prepared) -> Step:
    """Values convolved with the taps, and the bias: 0 where all that is read is 0."""
    _, weight, bias, stride, padding, dilation, _, _, _ = p.node.args
    reach, out_reach = p.reach_of(p.source), p.reach
    assert out_reach is not None
    n = len(p.spec.shape) - 2
    step, pad, gap = (along(reach, v, n) for v in (stride, padding, dilation))
    taps = lay_out_taps(p, p.constant(weight), reach)
    shape = [1] * len(p.spec.shape)
    shape[1] = -1
    shift = None if bias is None else p.constant(bias).view(shape)

    def run(chunk: Chunk, states: dict[str, State]) -> Win:
        win = chunk.expand(window_of(chunk, states, p.source))
        frame = chunk.frame(out_reach, win.frame)
        below = kernels.pooling_frame(frame, step, pad, taps.shape[0], gap, win.frame.size)
        values = chunk.values_in(win, below, 0.0)
        made = p.win(frame, kernels.strided_taps(values, taps, step, gap, frame.width), False)
        if shift is not None:
            made.logical().add_(shift)
        return made

    return run


def lay_out_taps(p: Prepared, weight: torch.Tensor, reach: Reach) -> torch.Tensor:
    """Weights as (kernel, I, O), or (kernel, G, I/G, O/G); I and O with any dummy axis flattened
    in.
    """
    _, _, _, _, padding, dilation, transposed, _, groups = p.node.args
    if weight.dim() == 4:
        other = 5 - reach.axis
        if p.context.spec(p.source).shape[other] == 1:
            pad, gap = (v[other - 2 if len(v) > 1 else 0] for v in (padding, dilation))
            tap, between = divmod(pad, gap)  # the one that lies on the only row of the dummy axis
            met = not between and tap < weight.shape[other]
            weight = weight.select(other, tap if met else 0) * float(met)
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
    shares = divisors.numpy()
    by_value = bool(carried(p.node))

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
        if (shares == shares[0]).all():  # divided, as the model does: the quotient rounds alike
            rows /= float(shares[0])
        else:
            rows /= torch.as_tensor(shares[at]).to(rows)[..., None, None, None]
        return p.win(frame, rows, False) if by_value else chunk.masked(p.win(frame, rows, True))

    return run
