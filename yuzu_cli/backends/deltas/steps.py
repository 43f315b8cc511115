"""From strategy to arithmetic: one prepared step per node of the windowed part of a graph.

A step is made once per model (weights laid out as its kernel wants them) and run once per chunk.
It reads the states of its arguments and returns its own. Strategies that need no window do not
appear here: the whole tensor is computed by the node's own call.
"""

from __future__ import annotations

from collections.abc import Callable

from yuzu_cli.backends.deltas.convolutions import (
    avg_pool,
    convolution,
    convolution_of_values,
    max_pool,
)
from yuzu_cli.backends.deltas.endings import across, attention, dense, extreme, total
from yuzu_cli.backends.deltas.moves import listed, move
from yuzu_cli.backends.deltas.positions import linear_map, matrix, pointwise
from yuzu_cli.backends.deltas.prepared import Prepared, Step
from yuzu_cli.plan import strategies as how

STEPS: dict[str, Callable[[Prepared], Step]] = {
    how.CONVOLUTION: convolution,
    how.VALUES: convolution_of_values,
    how.MAX_POOL: max_pool,
    how.AVG_POOL: avg_pool,
    how.POINTWISE: pointwise,
    how.LINEAR_MAP: linear_map,
    how.MATRIX: matrix,
    how.MOVE: move,
    how.LISTED: listed,
    how.DENSE: dense,
    how.ACROSS: across,
    how.TOTAL: total,
    how.EXTREME: extreme,
    how.ATTENTION: attention,
}
