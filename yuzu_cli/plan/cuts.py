"""Where a first-order estimate may start: sets of tensors that every path to the output crosses.

Deltas are computed exactly up to a cut; behind it only the gradient of the output is needed.
Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import Node

from yuzu_cli.graph.program import Program
from yuzu_cli.operators.cost import Cost, Rates
from yuzu_cli.operators.moves import MOVE
from yuzu_cli.operators.reach import UNTOUCHED, Reach
from yuzu_cli.operators.record import WHOLE
from yuzu_cli.plan.analyse import Analysis
from yuzu_cli.plan.plan import ENDINGS, Plan

INPUT, FRONTIER = "input", "frontier"


def cut_at(found: Analysis, plan: Plan, start: str) -> tuple[str, ...]:
    """The tensors from which an estimate goes that starts at `start`, in order; () if nowhere.

    `frontier` is where windows end: the last tensors whose deltas are exact without a whole pass.
    A node's name stands for that tensor and those that lie beside it, made before and read after.
    """
    program, order = found.program, {n.name: i for i, n in enumerate(found.program.nodes)}
    if start == FRONTIER:
        behind, ways = given_up(found, plan), plan.ways
        # What is linear in one tensor comes to the same as that tensor, and is wider.
        linear = {
            n.name for n in program.calls() if n is not program.output
            and (ways[n.name] == MOVE or found.operators[n.name].linear) and _reads_one(found, n)
        }  # fmt: skip
        return _crossed(found, lambda node: node.name in behind | linear)
    place = order.get(program.input.name if start == INPUT else start)
    return () if place is None else _crossed(found, lambda node: order[node.name] > place)


def given_up(found: Analysis, plan: Plan) -> set[str]:
    """Nodes whose value takes a whole pass for each mutant: windows ended before them."""
    program, ways = found.program, plan.ways
    windows, behind = {program.input.name}, set[str]()
    for node in program.calls():
        reads = {n.name for n in node.all_input_nodes}
        if ways[node.name] not in ENDINGS:
            windows.add(node.name)
        elif ways[node.name] == WHOLE and reads & (windows | behind):
            behind.add(node.name)
    return behind


def _crossed(found: Analysis, behind: Callable[[Node], bool]) -> tuple[str, ...]:
    """The first tensors on every way back from the output that do not lie behind the cut."""
    program, cut, seen = found.program, set[str](), set[Node]()
    queue = [program.output]
    while queue:
        node = queue.pop()
        if node in seen or found.reaches.get(node.name, UNTOUCHED) is UNTOUCHED:
            continue
        seen.add(node)
        if behind(node) or not _has_gradient(program, node):
            queue += node.all_input_nodes
        else:
            cut.add(node.name)
    return tuple(n.name for n in program.nodes if n.name in cut)


def _reads_one(found: Analysis, node: Node) -> bool:
    reads = node.all_input_nodes
    return sum(found.reaches.get(n.name, UNTOUCHED) is not UNTOUCHED for n in reads) == 1


def _has_gradient(program: Program, node: Node) -> bool:
    spec = program.specs.get(node.name)
    if node is program.input:
        return True
    return spec is not None and spec.by_sequence and (
        spec.dtype.is_floating_point
    )  # fmt: skip


def before(program: Program, cut: tuple[str, ...]) -> set[str]:
    """The nodes from which the tensors of a cut are computed, themselves among them."""
    queue, found = [n for n in program.nodes if n.name in cut], set[str]()
    while queue:
        node = queue.pop()
        if node.name not in found:
            found.add(node.name)
            queue += node.all_input_nodes
    return found


def after(program: Program, cut: tuple[str, ...]) -> list[Node]:
    """The calls from the tensors of a cut to the output, in order."""
    queue, found = [program.output], set[Node]()
    while queue:
        node = queue.pop()
        if node.name not in cut and node not in found:
            found.add(node)
            queue += node.all_input_nodes
    return [n for n in program.calls() if n in found]


def seconds(
    found: Analysis, plan: Plan, cut: tuple[str, ...], rates: Rates, targets: int, mutants: int
) -> float:
    """Predicted time of an estimate for one sequence with so many mutants."""
    program, head = found.program, before(found.program, cut)
    each = sum(s.cost.seconds(rates) for s in plan.steps if s.node in head)
    for name in cut:
        spec, reach = program.specs[name], found.reaches[name]
        numel = float(spec.numel)
        if isinstance(reach, Reach):
            start, stop = reach.clip()
            numel *= float((stop - start).mean()) / reach.size
        each += Cost(targets * numel, 2 * numel * spec.dtype.itemsize).seconds(rates)
    behind = {n.name for n in after(program, cut)}
    backward = sum(s.whole.seconds(rates) for s in plan.steps if s.node in behind)
    return plan.naive_seconds + backward * (1 + 2 * targets) + mutants * each
