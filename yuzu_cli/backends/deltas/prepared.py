"""What every step shares: the node it was made for, and how it gets at windows of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.fx import Node

from yuzu_cli.backends.deltas.frames import Frame
from yuzu_cli.backends.deltas.states import Chunk, Full, Win
from yuzu_cli.graph.program import Program
from yuzu_cli.plan import strategies as how
from yuzu_cli.plan.sensitive import carried
from yuzu_cli.reach.domain import UNTOUCHED, AnyReach, Reach
from yuzu_cli.reach.rules import Context

State: TypeAlias = Win | Full
Step: TypeAlias = Callable[[Chunk, dict[str, State]], State]


class Prepared:
    """What making a step may look at: the node, its place in the graph, the constants."""

    def __init__(self, node: Node, program: Program, reaches: dict[str, AnyReach]) -> None:
        self.node, self.program, self.context = node, program, Context(program, reaches)
        self.name = node.name
        self.spec = program.specs[node.name]
        reach = reaches[node.name]
        self.reach = reach if isinstance(reach, Reach) else None
        self.exact = bool(carried(node)) or how.vast(node, self.context)
        self.touched = [n for n in node.all_input_nodes if self.context.of(n) is not UNTOUCHED]

    @property
    def source(self) -> Node:
        """The first argument."""
        first = self.node.args[0]
        assert isinstance(first, Node)
        return first

    def reach_of(self, node: Node) -> Reach:
        reach = self.context.of(node)
        assert isinstance(reach, Reach)
        return reach

    def constant(self, arg: Any) -> torch.Tensor:
        return self.program.constants[arg.name]

    def rest(self) -> tuple[int, ...]:
        """The value's axes without batch and position."""
        assert self.reach is not None
        shape = (1, *self.reach.flat) if self.reach.flat is not None else self.spec.shape
        return tuple(s for i, s in enumerate(shape) if i not in (0, self.reach.axis))

    def win(
        self,
        frame: Frame,
        rows: torch.Tensor,
        is_delta: bool,
        pairs: bool = False,
        owned: bool = True,
    ) -> Win:
        assert self.reach is not None
        axis, rest = self.reach.axis, self.rest()
        return Win(self.name, frame, rows, is_delta, axis, rest, pairs, owned, self.exact)


def window_of(chunk: Chunk, states: dict[str, State], node: Node) -> Win:
    state = states[node.name]
    assert isinstance(state, Win)
    return state


def common_frame(chunk: Chunk, wins: list[Win], reach: Reach) -> Frame:
    """The frame of a result: the operand's own when there is but one."""
    first = wins[0].frame
    if all(w.frame.same(first) for w in wins) and first.size == reach.size:
        return first
    return chunk.frame(reach, next((w.frame for w in wins if w.frame.common), None))


def in_frame(chunk: Chunk, win: Win, frame: Frame) -> Win:
    """Values in a frame; rows outside the tensor hold finite numbers nobody reads."""
    if frame.same(win.frame):
        return chunk.as_value(win)
    rows = chunk.values_in(win, frame, 0.0)
    return Win(win.name, frame, rows, False, win.axis, win.rest)
