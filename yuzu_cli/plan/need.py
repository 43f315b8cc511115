"""Which positions of each tensor the output depends on at all: the walk against the arrows.

A model that crops its profile never uses most of what an edit reaches in the layers before the
crop; windows need not hold it. Operators this walk does not know need everything, as those
without windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.program import Program
from yuzu_cli.plan import strategies as how
from yuzu_cli.reach.domain import AnyReach, Reach
from yuzu_cli.reach.rules import (
    Context,
    along,
    axes_of,
    cat_axis,
    keep_axis,
    pads_of,
    slice_of,
)
from yuzu_cli.reach.tables import table_of

_aten = torch.ops.aten
Interval = tuple[int, int]


def narrow(
    program: Program, reaches: dict[str, AnyReach], strategies: dict[str, str]
) -> dict[str, AnyReach]:
    """The reaches with `need` set wherever the output uses a part of a tensor only."""
    context = Context(program, reaches)
    needs: dict[str, Interval] = {}

    def ask(node: Node, interval: Interval) -> None:
        reach = reaches.get(node.name)
        if not isinstance(reach, Reach):
            return
        low, high = max(interval[0], 0), min(interval[1], reach.size)
        old = needs.get(node.name)
        needs[node.name] = (low, high) if old is None else (min(old[0], low), max(old[1], high))

    whole = (0, program.length)
    ask(program.output, _all(reaches[program.output.name], whole))
    for node in reversed(list(program.calls())):
        mine = needs.get(node.name)
        for source in node.all_input_nodes:
            reach = context.of(source)
            if isinstance(reach, Reach):
                read = (0, reach.size)
                if mine is not None and strategies[node.name] in _KNOWN:
                    if strategies[node.name] == how.LISTED:
                        read = _from_list(node, reach, mine, context)
                    elif node.target is _aten.cat.default:
                        read = _from_parts(node, source, mine, context)
                    else:
                        read = _before(node, reach, mine, context)
                ask(source, read)
    return {name: _with_need(reach, needs.get(name)) for name, reach in reaches.items()}


def _all(reach: AnyReach, otherwise: Interval) -> Interval:
    return (0, reach.size) if isinstance(reach, Reach) else otherwise


def _with_need(reach: AnyReach, need: Interval | None) -> AnyReach:
    if not isinstance(reach, Reach) or need is None or need[1] <= need[0]:
        return reach
    return replace(reach, need=need)


_KNOWN = {
    how.POINTWISE,
    how.LINEAR_MAP,
    how.MATRIX,
    how.CONVOLUTION,
    how.VALUES,
    how.MAX_POOL,
    how.AVG_POOL,
    how.MOVE,
    how.LISTED,
}


def _from_list(node: Node, source: Reach, mine: Interval, context: Context) -> Interval:
    table = table_of(node, context.program, source.axis)
    assert table is not None
    read = table.index[mine[0] : mine[1]]
    return (int(read.min()), int(read.max()) + 1) if read.size else (0, source.size)


def _from_parts(node: Node, source: Node, mine: Interval, context: Context) -> Interval:
    """What of a part of a concatenation is needed, wherever it stands in it."""
    reach = context.of(source)
    assert isinstance(reach, Reach)
    if cat_axis(node, context) != reach.axis:
        return mine
    parts: list[Node] = list(node.args[0])
    at = np.cumsum([0, *(context.spec(part).shape[reach.axis] for part in parts)]).tolist()
    low = [mine[0] - offset for offset, part in zip(at, parts, strict=False) if part is source]
    high = [mine[1] - offset for offset, part in zip(at, parts, strict=False) if part is source]
    return min(low), max(high)


def _before(node: Node, source: Reach, mine: Interval, context: Context) -> Interval:
    """Positions of the argument that the needed positions of the node's value read."""
    low, high = mine
    target = node.target
    if target is _aten.convolution.default or target in (ops.max_pool, ops.avg_pool):
        return _window(node, source, mine, context)
    if target is _aten.slice.Tensor:
        axis, begin, step = slice_of(node, context)
        if axis != source.axis:
            return mine
        return low * step + begin, (high - 1) * step + begin + 1
    if target is _aten.constant_pad_nd.default:
        shift = pads_of(node, context)[source.axis]
        return low - shift, high - shift
    if target is _aten.flip.default:
        mirrored = source.axis in axes_of(node, context, 1)
        return (source.size - high, source.size - low) if mirrored else mine
    if target is _aten.reshape.default:
        after = context.spec(node).shape
        before = context.spec(node.args[0]).shape if source.flat is None else (1, *source.flat)
        found = keep_axis(before, after, source.axis)
        if found is None:
            return 0, source.size
        _, blocks, repeats = found
        return low * blocks // repeats, -(-high * blocks // repeats)
    own = context.reaches[node.name]
    same = isinstance(own, Reach) and own.size == source.size
    return mine if same else (0, source.size)


def _window(node: Node, source: Reach, mine: Interval, context: Context) -> Interval:
    if node.target is _aten.convolution.default:
        _, weight, _, stride, padding, dilation, transposed, _, _ = node.args
        kernel = context.spec(weight).shape[source.axis]
        s, p, d = (along(source, v, 0) for v in (stride, padding, dilation))
        if transposed:
            span = (kernel - 1) * d
            return -((span - mine[0] - p) // s), (mine[1] - 1 + p) // s + 1
    else:
        kernels, strides, paddings = node.args[1:4]
        at = source.axis - len(context.spec(node).shape)
        kernel, s, p = (_entry(v, at) for v in (kernels, strides, paddings))
        dilations = node.args[4] if node.target is ops.max_pool else [1]
        d = _entry(dilations, at)
    return mine[0] * s - p, (mine[1] - 1) * s - p + (kernel - 1) * d + 1


def _entry(values: Sequence[int], at: int) -> int:
    """A pooling option's entry for an axis counted from the right."""
    return values[at] if len(values) > 1 else values[0]
