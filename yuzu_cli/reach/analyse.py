"""One walk over a program: the reach of every node. Writes nothing into the graph."""

from __future__ import annotations

import numpy as np

from yuzu_cli.graph.program import Program, batch_size
from yuzu_cli.reach.domain import EVERYWHERE, UNTOUCHED, AnyReach, Reach
from yuzu_cli.reach.rules import Context, rule_for


def analyse(program: Program) -> dict[str, AnyReach]:
    """What an edit at each letter can change, for every node of the program by name.

    Returns
    -------
    dict
        `Reach` where it is an interval of one axis, `UNTOUCHED` or `EVERYWHERE` otherwise.
    """
    letters = np.arange(program.length, dtype=np.int64)
    reaches: dict[str, AnyReach] = {
        program.input.name: Reach(2, program.length, letters, letters + 1)
    }
    context = Context(program, reaches)
    for node in program.calls():
        reaches[node.name] = UNTOUCHED
        if all(context.of(n) is UNTOUCHED for n in node.all_input_nodes):
            continue
        spec = program.specs.get(node.name)
        rule = rule_for(node.target)
        known = spec is not None and spec.batch_axis == 0 and spec.shape[0] == 1
        if node.target is batch_size:
            continue  # a number, the same for every mutant
        reaches[node.name] = rule(context, node) if known and rule is not None else EVERYWHERE
    return reaches
