"""What a node costs per mutant, whole or on a window: multiply-adds and bytes moved.

Only counting from shapes and reach; no tensor is made. Rates turn counts into comparable time,
and are needed for choices between exact ways only, so rough ones do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.program import Program
from yuzu_cli.plan import fourier
from yuzu_cli.plan import strategies as how
from yuzu_cli.reach.domain import AnyReach, Reach

_aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Rates:
    """Multiply-adds and bytes a device gets through in a second, and seconds to start one
    operator.
    """

    macs: float
    bytes: float
    start: float


CPU_RATES = Rates(40e9, 8e9, 4e-6)
GPU_RATES = Rates(12e12, 1.5e12, 8e-6)


def rates_of(device: torch.device) -> Rates:
    """Rates of a kind of device."""
    return CPU_RATES if device.type == "cpu" else GPU_RATES


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiply-adds and bytes for one mutant."""

    macs: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.bytes + other.bytes)

    def seconds(self, rates: Rates) -> float:
        """Time of one mutant, operators' start aside."""
        return self.macs / rates.macs + self.bytes / rates.bytes


def mean_width(reach: AnyReach) -> float:
    """Mean number of positions an edit changes, of those that exist."""
    assert isinstance(reach, Reach)
    start, stop = reach.clip()
    return float(np.mean(stop - start))


def whole_cost(node: Node, program: Program) -> Cost:
    """The node's own call for one mutant."""
    spec = program.specs.get(node.name)
    if spec is None:
        return Cost()
    item = spec.dtype.itemsize
    reads = sum(
        program.specs[n.name].numel
        for n in node.all_input_nodes
        if n.name in program.specs and program.specs[n.name].batch_axis is not None
    )
    return Cost(spec.numel * _macs_per_element(node, program), (spec.numel + reads) * item)


def _macs_per_element(node: Node, program: Program) -> float:
    """Multiply-adds for one element of the value."""
    if node.target is _aten.convolution.default:
        weight = program.specs[node.args[1].name].shape
        per_output = float(np.prod(weight[1:]))
        if not node.args[6]:
            return per_output
        ratio = program.specs[node.args[0].name].numel / program.specs[node.name].numel
        return ratio * float(np.prod(weight[1:]))
    if node.target is ops.linear:
        return float(program.specs[node.args[1].name].shape[0])
    if node.target in (_aten.bmm.default, _aten.mm.default, _aten.addmm.default):
        at = 1 if node.target is _aten.addmm.default else 0
        return float(program.specs[node.args[at].name].shape[-1])
    return 0.0


def window_cost(
    node: Node, strategy: str, program: Program, reaches: dict[str, AnyReach], first: bool
) -> Cost:
    """The node on windows for one mutant; `first`: letters are looked up, not multiplied."""
    spec = program.specs[node.name]
    item = spec.dtype.itemsize
    source: Any = node.args[0]
    if strategy == how.CONSTANT:
        return Cost()
    before = reaches.get(source.name) if isinstance(source, Node) else None
    rows_in = mean_width(before) if isinstance(before, Reach) else 0.0
    if strategy == how.DENSE:
        assert isinstance(before, Reach)
        assert isinstance(source, Node)
        share = rows_in / before.size
        inputs = program.specs[source.name].numel * share
        return Cost(inputs * spec.shape[-1], (2 * inputs + spec.shape[-1]) * item)
    if strategy == how.ACROSS:
        assert isinstance(before, Reach)
        channels = program.specs[source.name].numel / before.size
        macs = channels * rows_in * spec.shape[-1]
        return Cost(macs, (2 * channels * rows_in + spec.numel) * item)
    if strategy in (how.TOTAL, how.EXTREME, how.ATTENTION):
        assert isinstance(before, Reach)
        assert isinstance(source, Node)
        again = {how.TOTAL: 1, how.EXTREME: 4, how.ATTENTION: 12}[strategy]
        elements = max(program.specs[n.name].numel for n in node.all_input_nodes) / before.size
        return Cost(0, again * elements * rows_in * item)
    reach = reaches[node.name]
    assert isinstance(reach, Reach)
    rows = mean_width(reach)
    elements = spec.numel / reach.size * rows
    macs = 0.0
    if strategy == how.CONVOLUTION and not first:
        assert isinstance(before, Reach)
        macs = _convolution_macs(node, before, rows_in, program)
    elif strategy in (how.MATRIX, how.VALUES) or node.target is ops.linear:
        macs = elements * _macs_per_element(node, program)
    passes = {how.POINTWISE: 4, how.MAX_POOL: 6, how.LINEAR_MAP: 2, how.MOVE: 0.5}.get(strategy, 2)
    return Cost(macs, passes * elements * item)


def _convolution_macs(node: Node, before: Reach, rows: float, program: Program) -> float:
    """A convolution of a window: tap by tap, or by transforms where those are fewer."""
    whole = program.specs[node.name].numel * _macs_per_element(node, program)
    direct = whole * rows / before.size
    _, weight, _, stride, _, dilation, transposed, _, groups = node.args
    if transposed or groups != 1 or max(*stride, *dilation) > 1 or rows == 0:
        return direct
    kernel = program.specs[weight.name].shape[before.axis]
    channels = program.specs[node.args[0].name].numel / before.size
    outputs = direct / (rows * kernel * channels)
    count = math.ceil(rows)
    if not fourier.pays(count, kernel, int(channels), max(1, int(outputs))):
        return direct
    return min(direct, fourier.fourier_macs(count, kernel, int(channels), int(outputs)))


def materialise_cost(name: str, program: Program) -> Cost:
    """Laying a window into the whole tensor."""
    spec = program.specs[name]
    return Cost(0, 3 * spec.numel * spec.dtype.itemsize)
