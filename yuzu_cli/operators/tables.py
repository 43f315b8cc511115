"""Operators whose every output position reads listed input positions: their lists.

Reflected and circular padding, rolls, picked positions, steps, pools of uneven windows. The list
is had from the operator itself, run on a tensor that holds its own positions, or from the pool's
definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.program import Program, fill
from yuzu_cli.operators.reach import Ints, Reach

_aten = torch.ops.aten

_PADS = {
    _aten.reflection_pad1d.default,
    _aten.reflection_pad2d.default,
    _aten.replication_pad1d.default,
    _aten.replication_pad2d.default,
}
_ONE_AXIS = {
    _aten.slice.Tensor: 1,
    _aten.index_select.default: 1,
    ops.pick: 1,
    _aten.roll.default: 2,
}
"""Where each has its axis among its arguments."""
_UPSAMPLINGS = {
    _aten.upsample_nearest1d.default,
    _aten.upsample_nearest2d.default,
    _aten._upsample_nearest_exact1d.default,
    _aten._upsample_nearest_exact2d.default,
}
_POOLS = {_aten._adaptive_avg_pool2d.default, ops.adaptive_max}
TABLED = _PADS | set(_ONE_AXIS) | _UPSAMPLINGS | _POOLS


@dataclass(frozen=True, slots=True)
class Table:
    """What each position of a value is made from.

    Attributes
    ----------
    index : int64 (O, k)
        Positions of the argument; short lists repeat their last.
    weight : float64 (O, k) or None
        Factors of a sum (0 for repeats); None for a maximum.
    """

    index: Ints
    weight: np.ndarray | None


def table_of(node: Node, program: Program, axis: int) -> Table | None:
    """The list of a call on a tensor whose position axis is `axis`; None where it has none."""
    source = node.args[0]
    if node.target not in TABLED or not isinstance(source, Node):
        return None
    before, after = program.specs[source.name].shape, program.specs[node.name].shape
    if any(a != b for i, (a, b) in enumerate(zip(before, after, strict=True)) if i != axis):
        return None
    if node.target in _POOLS:
        return _uneven_windows(before[axis], after[axis], node.target is ops.adaptive_max)
    at = _ONE_AXIS.get(node.target)
    if at is not None and _axes(node.args[at] if len(node.args) > at else 0, len(after)) != [axis]:
        return None
    if node.target in _UPSAMPLINGS:
        # A factor near one moves positions of an axis that keeps its size.
        others = [a for a in range(2, len(before)) if a != axis]
        if any(_places(node, program, a, before) != list(range(before[a])) for a in others):
            return None
    return _read_off(node, program, axis, before)


def _axes(dims: Any, ndim: int) -> list[int]:
    dims = dims if isinstance(dims, (list, tuple)) else [dims]
    return [int(d) % ndim for d in dims]


def _read_off(node: Node, program: Program, axis: int, shape: tuple[int, ...]) -> Table:
    table = np.array(_places(node, program, axis, shape), dtype=np.int64).reshape(-1, 1)
    return Table(table, np.ones(table.shape))


def _places(node: Node, program: Program, axis: int, shape: tuple[int, ...]) -> list[int]:
    """The operator run on positions of an axis in the place of values."""
    device = next((c.device for c in program.constants.values()), torch.device("cpu"))
    size = [shape[axis] if i == axis else 1 for i in range(len(shape))]
    positions = torch.arange(shape[axis], dtype=torch.float64, device=device).view(size)
    rest = fill((node.args[1:], node.kwargs), lambda n: program.constants[n.name])
    index = node.target(positions, *rest[0], **rest[1])
    lines = index.movedim(axis, 0).flatten(1)  # all alike: another axis may have been repeated
    return [int(place) for place in lines[:, 0].tolist()]


def _uneven_windows(size: int, count: int, largest: bool) -> Table:
    """Adaptive pooling: window o goes from floor(o size / count) to ceil((o + 1) size / count)."""
    o = np.arange(count, dtype=np.int64)
    start, stop = o * size // count, -(-(o + 1) * size // count)
    ramp = np.arange(int((stop - start).max()))[None, :]
    index = np.minimum(start[:, None] + ramp, stop[:, None] - 1)
    if largest:
        return Table(index, None)
    inside = ramp < (stop - start)[:, None]
    return Table(index, inside / (stop - start)[:, None])


def through(table: Table, reach: Reach) -> Reach:
    """The hull of what reads any position of an interval."""
    count = table.index.shape[0]
    far = count + 1
    first, last = np.full(reach.size, far, np.int64), np.full(reach.size, -1, np.int64)
    outputs = np.repeat(np.arange(count, dtype=np.int64), table.index.shape[1])
    np.minimum.at(first, table.index.reshape(-1), outputs)
    np.maximum.at(last, table.index.reshape(-1), outputs)
    low, high = np.clip(reach.start, 0, reach.size), np.clip(reach.stop, 0, reach.size)
    start = least(first, low, high, far)
    stop = -least(-last, low, high, 1) + 1
    nothing = stop <= start
    return reach.moved(np.where(nothing, 0, start), np.where(nothing, 0, stop), size=count)


def least(values: Ints, start: Ints, stop: Ints, empty: int) -> Ints:
    """The least of values[start:stop] for each pair; `empty` where there are none.

    By the least of stretches of doubling length: any interval is covered by two of them.
    """
    width = stop - start
    result = np.full(len(start), empty, np.int64)
    level, span = values, 1
    while True:
        mine = (width >= span) & (width < 2 * span)
        a, b = start[mine], stop[mine] - span
        result[mine] = np.minimum(level[a], level[b])
        if not (width >= 2 * span).any():
            return result
        level = np.minimum(level[:-span], level[span:])
        span *= 2
