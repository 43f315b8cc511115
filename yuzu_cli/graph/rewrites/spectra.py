"""Convolutions that are spelled as products of spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.program import batch_size, evaluate
from yuzu_cli.graph.rewrites.rewriter import DUMMIES, VIEWS, Rewriter, slice_of

_aten = torch.ops.aten

_BETWEEN = VIEWS | DUMMIES | {
    _aten.permute.default,
    _aten.transpose.int,
    _aten.sum.dim_IntList,
    _aten.bmm.default,
    _aten.mul.Tensor,
    _aten.mul.Scalar,
    _aten.expand.default,
    _aten.clone.default,
}  # fmt: skip
"""What keeps a spectrum linear in the signal, where all else that it reads is constant."""
MOST_WORK = 3e9
"""Elements computed at most to find a kernel: one pass for each channel."""
NOTHING = 1e-9
"""Part of the largest tap below which the taps of a kernel are taken for rounding."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Taps (O, I, n) of a circular convolution, and those that matter: ``low <= lag <= high``."""

    taps: torch.Tensor
    low: int
    high: int


def spectra_of_real(r: Rewriter, node: Node) -> bool:
    """fft of real values that were given a complex type -> the transform of real values."""
    if node.target is not _aten._fft_c2c.default or not node.args[3]:
        return False
    source, pads = node.args[0], list[Node]()
    while isinstance(source, Node) and source.target is _aten.constant_pad_nd.default:
        pads.append(source)
        source = source.args[0]
    if not isinstance(source, Node) or source.target is not _aten._to_copy.default:
        return False
    real: Any = source.args[0]
    given = r.specs[real.name].dtype
    if not given.is_floating_point or r.specs[source.name].dtype is not given.to_complex():
        return False
    for pad in reversed(pads):
        if any(pad.args[2:]):
            return False
        real = r.insert(node, pad.target, (real, pad.args[1]))
    return r.replace(node, r.insert(node, _aten._fft_r2c.default, (real, *node.args[1:3], False)))


def products_of_spectra(r: Rewriter, node: Node) -> bool:
    """irfft(constant * rfft(x)) -> a convolution, if its kernel is short beside the sequence.

    So with the real part of ifft(constant * fft(x)).
    """
    back = _transform_back(r, node)
    forward = None if back is None else _transform_behind(r, back)
    if back is None or forward is None:
        return False
    x: Any = forward.args[0]
    after, before = r.specs[node.name], r.specs[x.name]
    plain = after.batch_axis == before.batch_axis == 0 and after.shape[0] == before.shape[0] == 1
    axes = [n.args[1][0] % 3 for n in (back, forward)]
    if not plain or len(after.shape) != 3 or len(before.shape) != 3 or axes != [2, 2]:
        return False
    n = after.shape[2]
    if before.shape[2] != n or before.shape[1] * (after.numel + before.numel) > MOST_WORK:
        return False
    kernel = _kernel(r, node, x)
    if kernel is None:
        return False
    begin, end = _read(r, node, n)
    if 2 * (kernel.high - kernel.low + 1) >= n:
        return _onwards(r, node, x, kernel, end)
    read = _around(r, node, x, begin - kernel.high, end - kernel.low)
    lags = torch.arange(kernel.high, kernel.low - 1, -1) % n
    weight, groups = kernel.taps[:, :, lags], 1
    alone = _alone(weight)
    if alone is not None and len(alone) > 1:
        weight, groups = alone.unsqueeze(1), len(alone)
    taps = r.add_constant(weight.to(r.like), node)
    args = (read, taps, None, [1], [0], [1], False, [0], groups)
    made = r.insert(node, _aten.convolution.default, args)
    if (begin, end) != (0, n):  # nobody reads what else there would be
        made = r.insert(node, _aten.constant_pad_nd.default, (made, [begin, n - end], 0.0))
    return r.replace(node, made)


def _onwards(r: Rewriter, node: Node, x: Node, kernel: Kernel, end: int) -> bool:
    """The same with a kernel about as long as the sequence, which is read in one direction only."""
    given: Any = x.args
    n, taps = r.specs[node.name].shape[2], _alone(kernel.taps[:, :, : kernel.high + 1])
    if x.target is not _aten.constant_pad_nd.default or any((given[2:] or [0])[:1]):
        return False
    source, around = given[0], list(given[1])
    size = r.specs[source.name].shape[2]
    behind = around[:2] == [0, n - size] and not any(around[2:]) and end <= size
    if not behind or taps is None or kernel.low < 0 or kernel.high > n - size:
        return False
    args = (source, r.add_constant(taps.to(r.like), node))
    made = r.insert(node, ops.long_convolution, args, source)
    made = r.insert(node, _aten.constant_pad_nd.default, (made, around[:2], 0.0))
    return r.replace(node, made)


def _alone(weight: torch.Tensor) -> torch.Tensor | None:
    """Taps (C, n) of channels that read themselves only; None where they mix."""
    diagonal = torch.eye(*weight.shape[:2], dtype=torch.bool)
    apart = len(weight) == weight.shape[1] and not bool(weight[~diagonal].any())
    return weight[diagonal] if apart else None


def _transform_back(r: Rewriter, node: Node) -> Node | None:
    """The transform along one axis whose value, or the real part of it, a node is."""
    back: Any = node
    wanted = _aten._fft_c2r.default
    if node.target is _aten.select.int and node.args[2] == 0:
        pairs: Any = node.args[0]
        if pairs.target is not _aten.view_as_real.default or node.args[1] not in (-1, 3):
            return None
        back, wanted = pairs.args[0], _aten._fft_c2c.default
    return back if back.target is wanted and len(back.args[1]) == 1 else None


def _transform_behind(r: Rewriter, node: Node) -> Node | None:
    """The one transform of a signal that a spectrum is linear in; None where it is not so."""
    spectrum = node
    while True:
        given: list[Node] = [n for n in spectrum.all_input_nodes if n.name in r.specs]
        moving = [n for n in given if r.constant(n) is None]
        if len(moving) != 1:
            return None
        (spectrum,) = moving
        if spectrum.target is _aten._fft_r2c.default:
            return spectrum if len(spectrum.args[1]) == 1 else None
        if spectrum.target not in _BETWEEN:
            return None


def _kernel(r: Rewriter, node: Node, x: Node) -> Kernel | None:
    """What an impulse in each channel makes, if that is all that there is to know."""
    _, channels, n = r.specs[x.name].shape
    impulses = torch.zeros((channels, 1, channels, n), dtype=torch.float64)
    impulses[range(channels), 0, range(channels), 0] = 1
    taps = torch.cat([_value(r, node, {x: one}) for one in impulses]).transpose(0, 1)
    probe = torch.randn((1, channels, n), generator=torch.Generator().manual_seed(0)).double()
    found = torch.einsum("oif,if->of", torch.fft.rfft(taps), torch.fft.rfft(probe[0]))
    told = _value(r, node, {x: probe})[0]
    if not torch.allclose(torch.fft.irfft(found, n=n), told, rtol=0, atol=1e-6 * float(told.std())):
        return None
    size = taps.abs().amax((0, 1))
    live = torch.nonzero(size > NOTHING * size.max())[:, 0].tolist()
    if not live:
        return None
    # The shortest stretch of the circle that holds all of them.
    gaps = [(b - a, b) for a, b in zip(live, [*live[1:], live[0] + n], strict=True)]
    gap, low = max(gaps)
    low = low % n if low % n <= n // 2 else low % n - n
    taps = torch.where(size > NOTHING * size.max(), taps, 0.0)
    return Kernel(taps, low, low + n - gap)


def _value(r: Rewriter, node: Node, known: dict[Node, torch.Tensor]) -> Any:
    """A node's value in double precision, from those of some nodes."""
    if node in known:
        return known[node]
    if node.target is batch_size:
        return len(next(iter(known.values())))
    if node.op == "get_attr":
        value = r.constants[node.name].cpu()
        return value.to(torch.complex128 if value.is_complex() else torch.float64)
    return evaluate(node, lambda n: _value(r, n, known))


def _read(r: Rewriter, node: Node, n: int) -> tuple[int, int]:
    """The positions that slices of a value read; all of them where something else reads it."""
    found = []
    for user in node.users:
        if user.target is not _aten.slice.Tensor or user.kwargs:
            return 0, n
        axis, begin, end, step = slice_of(user)
        whole = r.specs.get(user.name) == r.specs[node.name]
        if not whole and (axis != 2 or step != 1):
            return 0, n
        part = slice(begin, end).indices(n)
        found.append(_read(r, user, n) if whole else part[:2])
    return min(b for b, _ in found), max(e for _, e in found)


def _around(r: Rewriter, node: Node, x: Node, first: int, last: int) -> Node:
    """x from `first` to before `last`, where its ends are joined; zeros where it was padded."""
    n = r.specs[x.name].shape[2]
    given: Any = x.args
    if x.target is _aten.constant_pad_nd.default and not any((given[2:] or [0])[:1]):
        source, around = given[0], (*given[1], 0, 0)
        size = r.specs[source.name].shape[2]
        begin, end = around[0], around[0] + size
        once = last <= begin + n and first >= end - n
        if min(around[:2]) >= 0 and once and not any(around[2:]):
            pad = [begin - first, last - end]
            return r.insert(node, _aten.constant_pad_nd.default, (source, pad, 0.0))
    if (first, last) == (0, n):
        return x
    index = r.add_constant(torch.arange(first, last).to(r.like.device) % n, node)
    return r.insert(node, ops.pick, (x, 2, index))
