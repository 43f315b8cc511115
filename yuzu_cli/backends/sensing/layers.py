"""Which convolutions of a model get codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.sensing.codes import PUBLISHED, probes_needed
from yuzu_cli.backends.sensing.slots import Slots, assign_slots
from yuzu_cli.backends.windowed import Understood
from yuzu_cli.operators.convolution import CONVOLUTION
from yuzu_cli.operators.moves import MOVE
from yuzu_cli.operators.reach import Reach

LAYER_BYTES = 1 << 30
"""A layer whose decoders would take more than this goes the windowed way."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One convolution on windows: which edits meet in its output; whether it sees the letters."""

    node: str
    slots: Slots
    first: bool


def layers_of(understood: Understood) -> list[Layer]:
    """The convolutions on windows, in order."""
    program, reaches = understood.program, understood.reaches
    ways = understood.plan.ways
    letters = {program.input.name}
    found = []
    for node in program.calls():
        source = node.all_input_nodes[0].name if node.all_input_nodes else ""
        if ways[node.name] == MOVE and source in letters:
            letters.add(node.name)
        reach = reaches[node.name]
        if ways[node.name] == CONVOLUTION and isinstance(reach, Reach):
            slots = assign_slots(reach.start, reach.stop, reach.size)
            found.append(Layer(node.name, slots, source in letters))
    return found


def worth_coding(
    layers: list[Layer], settings: Settings, letters: int, slack: float
) -> tuple[list[Layer], dict[str, str]]:
    """The layers that get codes; and those that do not, each with the reason."""
    taken, left = [], {}
    for layer in layers:
        probes = probes_needed(layer.slots, letters, settings.alpha or 1.0)
        table = layer.slots.size * layer.slots.count * letters * probes * settings.dtype.itemsize
        if layer.first and not math.isinf(slack):
            left[layer.node] = "its deltas are columns of its weight"
        elif settings.matrix not in PUBLISHED or math.isinf(slack):
            taken.append(layer)
        elif probes >= letters * len(layer.slots.start):
            left[layer.node] = "as many probes as mutants"
        elif table > LAYER_BYTES:
            left[layer.node] = f"its decoders would take {table / 1e9:.2g} GB"
        else:
            taken.append(layer)
    return taken, left
