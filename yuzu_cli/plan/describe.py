"""The plan as text: what was understood of a model, node by node. Computes nothing."""

from __future__ import annotations

from torch.fx import Node

from yuzu_cli.operators import named
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach, Reach
from yuzu_cli.operators.record import CONSTANT
from yuzu_cli.plan.analyse import Analysis
from yuzu_cli.plan.plan import Plan, Step

_HEAD = ("node", "operation", "shape", "reach", "way", "multiply-adds", "naive", "bytes")


def describe(found: Analysis, plan: Plan) -> str:
    """A table with one line per node, and totals for one mutant.

    Shapes are of one sequence, its batch axis left out; `reach` is the mean number of positions
    that an edit changes; multiply-adds and bytes are for one mutant, as planned and the naive
    way.
    """
    nodes = {n.name: n for n in found.program.calls()}
    rows = [_row(nodes[step.node], step, found) for step in plan.steps if step.way != CONSTANT]
    table = [_HEAD, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    return "\n".join([*lines, "", *totals(plan)])


def totals(plan: Plan) -> list[str]:
    """The sums, for one mutant."""
    bytes_planned = sum(s.cost.bytes for s in plan.steps)
    bytes_naive = sum(s.whole.bytes for s in plan.steps)
    share = plan.naive_macs / plan.macs if plan.macs else float("inf")
    lines = [
        f"multiply-adds for one mutant: {short(plan.macs)} of naive's {short(plan.naive_macs)}"
        + (f", {share:.3g} times fewer" if plan.macs else ""),
        f"bytes for one mutant: {short(bytes_planned)} of naive's {short(bytes_naive)}",
        f"predicted speed-up over naive: {plan.naive_seconds / max(plan.seconds, 1e-30):.3g}",
    ]
    if plan.cut is not None:
        lines.append(f"from {plan.cut} on, whole tensors are cheaper than windows")
    return lines


def _row(node: Node, step: Step, found: Analysis) -> tuple[str, ...]:
    spec = found.program.specs.get(step.node)
    shape = "x".join(str(s) for s in spec.shape[1:]) if spec is not None else ""
    return (
        step.node,
        named(node),
        shape,
        _reach(found.reaches[step.node]),
        step.way,
        short(step.cost.macs),
        short(step.whole.macs),
        short(step.cost.bytes),
    )


def _reach(reach: AnyReach) -> str:
    if reach is EVERYWHERE:
        return "all"
    if not isinstance(reach, Reach):
        return "none"
    start, stop = reach.clip()
    return f"{float((stop - start).mean()):.3g} of {reach.size}"


def short(count: float) -> str:
    """A count with three digits and its thousands as a letter: 4.59 M."""
    if count == 0:
        return "0"
    for unit in ("", " k", " M", " G", " T"):
        if count < 1000 or unit == " T":
            return f"{count:.3g}{unit}"
        count /= 1000
    raise AssertionError
