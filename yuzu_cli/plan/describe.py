"""The plan as text: what was understood of a model, node by node. Computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import torch
from torch.fx import Node

from yuzu_cli.operators import named
from yuzu_cli.operators.attention import EXCHANGED
from yuzu_cli.operators.cost import Rates
from yuzu_cli.operators.moves import MOVE
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach, Reach
from yuzu_cli.operators.record import CONSTANT, WHOLE
from yuzu_cli.plan.analyse import Analysis
from yuzu_cli.plan.cuts import FRONTIER, INPUT, cut_at, given_up, seconds
from yuzu_cli.plan.plan import ENDINGS, Plan, Step
from yuzu_cli.plan.tape import Tape

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
    ]
    if plan.cut is not None:
        lines.append(f"from {plan.cut} on, whole tensors are cheaper than windows")
    return lines


def tape_lines(tape: Tape) -> str:
    """What is done for a chunk, a line for each node: its kernels in order, and what they make."""
    lines = [f"for the first of them it runs {len(tape.instructions)} kernels:"]
    for node, steps in groupby(tape.instructions, key=lambda step: step.node):
        kernels = list(steps)
        shape = tape.registers[kernels[-1].write].shape
        sizes = (str(n) if n > 0 else f"{-n}B".removeprefix("1") for n in shape or ())
        made = "" if shape is None else f" -> {'x'.join(sizes)}"
        lines.append(f"  {node}: {', '.join(step.kernel for step in kernels)}{made}")
    return "\n".join(lines)


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


# --- what bounds it, and what would help --------------------------------------------------------

LITTLE = 0.02
"""A share of naive's work behind the end of the windows that is not worth a word."""
MOST_ENDS, MOST_STARTS = 3, 10

_HINTS = (
    ("lstm gru rnn", "a recurrent layer carries every change to all that follows"),
    ("attention softmax bmm baddbmm", "attention lets every position read every other"),
    ("cum scan", "a running sum carries every change to all that follows"),
    (
        "mean var std norm sum",
        "a statistic over all positions changes them all a little; only before a mean over them, "
        "with nothing between that is not linear, is that taken out",
    ),
    ("fft", "a Fourier transform mixes all positions; as a convolution its windows would go on"),
    (
        "mul div add sub",
        "one of its arguments changes with every edit at all positions; a factor or term that they "
        "share is taken out of a mean over them, with nothing between that is not linear",
    ),
)

_MOVES = {"transpose", "permute", "reshape", "view", "unsqueeze", "squeeze", "clone"}
"""What only moves values ends nothing itself: what follows it does."""


def advice(
    found: Analysis,
    plan: Plan,
    rates: Rates,
    targets: int,
    mutants: int,
    weights: Mapping[str, torch.Tensor],
) -> str:
    """Sentences: what ends windows, what that bounds the gain to, and what would help.

    Parameters
    ----------
    targets, mutants : int
        T, and the mutants of one sequence.
    weights : mapping of name -> Tensor
        The model's own parameters, by which modules are named.
    """
    whole = {s.node: s.whole.seconds(rates) for s in plan.steps}
    behind = given_up(found, plan)
    share = sum(whole[n] for n in behind) / max(plan.naive_seconds, 1e-30)
    if share < LITTLE:
        return "windows reach nearly to the output, so only their own size bounds the gain"
    lines = [_end(node, weights, found) for node in _ends(found, plan, behind)[:MOST_ENDS]]
    bound = 1 / min(share, 1.0)
    lines.append(
        f"{share:.0%} of naive's work lies behind, so nothing exact is more than {bound:.3g} times "
        "faster than naive; another spelling of these operators, or an output that needs less of "
        "what follows (--targets, --reduce, model.output), moves that bound"
    )
    gain = _gain(found, plan, FRONTIER, rates, targets, mutants)
    if gain:
        lines.append(
            f"an estimate is predicted {gain:.3g} times faster than naive: exact up to "
            f"{' and '.join(cut_at(found, plan, FRONTIER)[:4])}, to first order behind "
            "(--backend taylor --taylor-from frontier; --exact-top measures how far off it is)"
        )
    return "\n".join(lines)


def starts(found: Analysis, plan: Plan, rates: Rates, targets: int, mutants: int) -> str:
    """Where an estimate can start, a line each: predicted times faster than naive, and tensors."""
    windows = _thinned([s.node for s in plan.steps if s.way not in ENDINGS and s.way != MOVE], 64)
    alone = [name for name in windows if cut_at(found, plan, name) == (name,)]
    names = [INPUT, *_thinned(alone, MOST_STARTS), FRONTIER]
    rows = []
    for name in names:
        if gain := _gain(found, plan, name, rates, targets, mutants):
            cut = cut_at(found, plan, name)
            more = f" and {len(cut) - 4} more" if len(cut) > 4 else ""
            tensors = "" if cut == (name,) else f"  ({', '.join(cut[:4])}{more})"
            rows.append(f"  {name}: {gain:.3g} times faster than naive{tensors}")
    head = "an estimate (--backend taylor) can start (--taylor-from) at, exact up to there:"
    return "\n".join([head, *rows])


def _thinned(names: list[str], most: int) -> list[str]:
    """At most so many, evenly taken, the last among them."""
    return names[::-1][:: max(1, -(-len(names) // most))][::-1]


def _gain(
    found: Analysis, plan: Plan, start: str, rates: Rates, targets: int, mutants: int
) -> float:
    """Predicted times that an estimate is faster than naive; 0 where it cannot start."""
    cut = cut_at(found, plan, start)
    if not cut:
        return 0.0
    naive = (mutants + 1) * plan.naive_seconds
    return naive / max(seconds(found, plan, cut, rates, targets, mutants), 1e-30)


def _ends(found: Analysis, plan: Plan, behind: set[str]) -> list[Node]:
    """The nodes that end windows: they read some, and none of their value can be had.

    Where windows are given up before that, because whole tensors are cheaper by then: what follows.
    """
    has = {s.node for s in plan.steps if s.way not in ENDINGS} | {found.program.input.name}
    nodes = [n for n in found.program.calls() if n.name in behind]
    ends: list[Node] = []
    for node in nodes:
        reads = {r.name for r in node.all_input_nodes}
        attention = _attention_before(node, found, has | behind)
        if attention is not None:
            ends += [attention] if attention not in ends else []
        elif reads & has and not reads & (behind - has):
            if found.way(node) not in (WHOLE, EXCHANGED) or named(node) in _MOVES:
                has.add(node.name)
            else:
                ends.append(node)
    return ends or nodes[:1]


def _attention_before(node: Node, found: Analysis, stops: set[str]) -> Node | None:
    """The attention that made a whole tensor of windows, of which a value is read."""
    for read in node.all_input_nodes:
        if read.op != "call_function" or read.name in stops:
            continue
        way = found.way(read)
        earlier = read if way == EXCHANGED else None
        if way != CONSTANT and earlier is None:
            earlier = _attention_before(read, found, stops)
        if earlier is not None:
            return earlier
    return None


def _end(node: Node, weights: Mapping[str, torch.Tensor], found: Analysis) -> str:
    name, module = named(node), _module(node, weights, found)
    where = f" {module}" if module else ""
    if found.way(node) not in (WHOLE, EXCHANGED):
        return f"windows are given up at {node.name} ({name}{where}): whole tensors are cheaper"
    why = next((text for words, text in _HINTS if any(w in name for w in words.split())), "")
    return f"windows end at {node.name} ({name}{where})" + (f": {why}" if why else "")


def _module(node: Node, weights: Mapping[str, torch.Tensor], found: Analysis) -> str:
    """The module whose weights the node reads, or the first node after it that reads any."""
    places = {w.data_ptr(): name for name, w in weights.items() if w.numel() > 1}
    queue, seen = [node], {node}
    while queue and len(seen) < 50:
        here = queue.pop(0)
        for read in here.all_input_nodes:
            value = found.program.constants.get(read.name)
            if isinstance(value, torch.Tensor) and value.data_ptr() in places:
                path = places[value.data_ptr()].rpartition(".")[0]
                return f"in {path}" if here is node else f"before {path}"
        for user in here.users:
            if user not in seen:
                seen.add(user)
                queue.append(user)
    return ""
