"""What an operator is: one class that knows how its calls pass an edit on, what they read and
cost, and how they are computed on windows.

An operator's class is made for one call of a program, with the call's arguments decoded under their
names (axes non-negative, sizes clamped). What a class does not say is safe: everywhere, everything,
whole. A use that it does not know raises `Unfamiliar`, and then it counts as an operator without a
class. Adding an operator is adding a class; `OPERATORS` is the table of all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.graph.ops import OpOverload
from yuzu_cli.graph.program import Program, TensorSpec, fill
from yuzu_cli.operators.cost import Cost, call_macs
from yuzu_cli.operators.reach import EVERYWHERE, UNTOUCHED, AnyReach, Reach

if TYPE_CHECKING:
    from yuzu_cli.operators.items import Item
    from yuzu_cli.operators.windows import Sketch

Interval: TypeAlias = tuple[int, int]
Step: TypeAlias = "Callable[[Sketch, Mapping[str, Item]], Item]"

NONE, STEEP, JUMP = 0, 1, 2
"""What a function makes of a rounding error: no more than it is; much, by a slope without bound
near 0; another value altogether."""

WHOLE = "whole tensor"
CONSTANT = "constant"


class Unfamiliar(Exception):  # noqa: N818
    """The operator does not know this use of it."""


class Call:
    """One call of a program, with what is known of what it reads.

    Parameters
    ----------
    node : Node
    program : Program
    reaches : mapping of node name -> reach
        Of all nodes before this one at least.
    """

    def __init__(self, node: Node, program: Program, reaches: Mapping[str, AnyReach]) -> None:
        self.node, self.program, self.reaches = node, program, reaches
        self.name = node.name

    @property
    def spec(self) -> TensorSpec:
        return self.spec_of(self.node)

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape for one sequence."""
        return self.spec.shape

    @property
    def source(self) -> Node:
        """The first argument."""
        first = self.node.args[0]
        if not isinstance(first, Node):
            raise Unfamiliar
        return first

    def spec_of(self, arg: Any) -> TensorSpec:
        """Shape and type of an argument; `Unfamiliar` where it is no tensor."""
        found = self.program.specs.get(arg.name) if isinstance(arg, Node) else None
        if found is None:
            raise Unfamiliar
        return found

    def shape_of(self, arg: Any) -> tuple[int, ...]:
        return self.spec_of(arg).shape

    def reach_of(self, arg: Any) -> AnyReach:
        """Reach of an argument; constants and numbers are untouched."""
        return self.reaches.get(arg.name, UNTOUCHED) if isinstance(arg, Node) else UNTOUCHED

    def constant(self, arg: Any) -> torch.Tensor:
        """The value of an argument that is the same for every sequence."""
        value = self.program.constants.get(arg.name) if isinstance(arg, Node) else None
        if not isinstance(value, torch.Tensor):
            raise Unfamiliar
        return value

    def shapes(self) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
        """Arguments and value of the call as tensors without contents."""
        specs, constants = self.program.specs, self.program.constants

        def empty(node: Node) -> Any:
            if node.name in constants:
                return constants[node.name]
            spec = specs.get(node.name)
            return node if spec is None else torch.empty(spec.shape, device="meta")

        args, kwargs = (fill(a, empty) for a in (self.node.args, self.node.kwargs))
        return args, kwargs, empty(self.node)

    @property
    def touched(self) -> list[Node]:
        """The arguments that an edit can change."""
        return [n for n in self.node.all_input_nodes if self.reach_of(n) is not UNTOUCHED]

    def only_source(self, flat: bool = False) -> Reach:
        """The reach of the first argument: an interval, with nothing else touched.

        Raises
        ------
        Unfamiliar
            It is none, or flattened while `flat` is false.
        """
        reach = self.reach_of(self.source)
        others = [n for n in self.touched if n is not self.source]
        if not isinstance(reach, Reach) or others or (reach.flat is not None and not flat):
            raise Unfamiliar
        return reach

    def window_of(self, arg: Any) -> Reach:
        """The reach of an argument that is known to have windows."""
        reach = self.reach_of(arg)
        assert isinstance(reach, Reach)
        return reach

    @property
    def reach(self) -> Reach:
        """The value's own reach, where it is an interval."""
        return self.window_of(self.node)

    def rest(self) -> tuple[int, ...]:
        """The value's axes without batch and position."""
        shape = (1, *self.reach.flat) if self.reach.flat is not None else self.shape
        return tuple(s for i, s in enumerate(shape) if i not in (0, self.reach.axis))


@cache
def _parameters(target: Any) -> tuple[tuple[str, Any], ...]:
    """Names and defaults of an operator's arguments."""
    if isinstance(target, OpOverload):
        return tuple((a.name, a.default_value) for a in target._schema.arguments)
    found = inspect.signature(target).parameters.values()
    return tuple((p.name, None if p.default is p.empty else p.default) for p in found)


def arguments(node: Node) -> dict[str, Any]:
    """Every argument of a call by its name, defaults filled in."""
    known = _parameters(node.target)
    values = dict(known)
    values.update(zip((name for name, _ in known), node.args, strict=False))
    values.update(node.kwargs)
    return values


def axes_of(dims: Any, ndim: int) -> list[int]:
    """Axes as non-negative numbers; all of them when none are named."""
    if dims is None or (isinstance(dims, (list, tuple)) and not dims):
        return list(range(ndim))
    listed = dims if isinstance(dims, (list, tuple)) else [dims]
    return [int(d) % ndim for d in listed]


class Operator:
    """One call, decoded. Subclasses say what they know; see the module's text.

    Attributes
    ----------
    linear
        The whole call takes deltas as they are, but for a bias.
    makes
        What it makes of a rounding error in what it reads. What is not known jumps.
    through
        An error in what it reads passes through it unmixed with other values' errors.
    weighted
        Linear by a constant weight, argument 1, and maybe a bias, argument 2.
    ends
        It has ways to a value without positions.
    """

    linear: bool = False
    makes: int = JUMP
    through: bool = False
    weighted: bool = False
    ends: bool = False

    def __init__(self, call: Call) -> None:
        self.call = call
        self.exact = NONE
        """What a later operator makes of an error in its value: then it must come from values."""
        given = arguments(call.node)
        given.pop("self", None)  # what torch calls the first argument
        self.decode(**given)

    def decode(self, **arguments: Any) -> None:
        """Keep the call's arguments under their names."""

    def makes_of(self, source: Node) -> int:
        """What it makes of a rounding error in one argument."""
        return self.makes

    def reach(self) -> AnyReach:
        """What an edit changes in the value."""
        return EVERYWHERE

    def way(self) -> str:
        """How the value is had from windows; where it is not, `WHOLE` or `Unfamiliar`."""
        return WHOLE

    def reads_windows(self) -> list[Node]:
        """The arguments that must be windows where the value is had from windows."""
        return self.call.touched

    def need(self, source: Node, mine: Interval) -> Interval:
        """The positions of an argument with windows that the positions `mine` of the value read."""
        return 0, self.call.window_of(source).size

    def macs(self) -> float:
        """Multiply-adds of the whole call for one sequence."""
        return float(call_macs(self.call.node.target, *self.call.shapes()))

    def cost(self, letters: bool) -> Cost:
        """One mutant's cost on windows; `letters`: the source is the one-hot input, moved."""
        return self.passes(2)

    def lower(self) -> Step:
        """The call on windows: what it adds to a chunk's tape."""
        raise NotImplementedError(type(self).__name__)

    # --- shared counting --------------------------------------------------------------------------

    @property
    def item(self) -> int:
        return self.call.spec.dtype.itemsize

    def elements(self) -> float:
        """Elements of the value's window, for one mutant."""
        reach = self.call.reach
        return self.call.spec.numel / reach.size * mean_width(reach)

    def passes(self, count: float, macs: float = 0.0) -> Cost:
        """A cost of so many times reading or writing the value's window."""
        return Cost(macs, count * self.elements() * self.item)


def mean_width(reach: AnyReach) -> float:
    """Mean number of positions an edit changes, of those that exist."""
    assert isinstance(reach, Reach)
    start, stop = reach.clip()
    return float(np.mean(stop - start))


OPERATORS: dict[Any, type[Operator]] = {}
Kind = TypeVar("Kind", bound=type[Operator])


def operator(*targets: Any) -> Callable[[Kind], Kind]:
    """Register a class for operators; an operator has one class only."""

    def register(kind: Kind) -> Kind:
        for target in targets:
            if target in OPERATORS:
                raise ValueError(f"{target} has a class already")
            OPERATORS[target] = kind
        return kind

    return register
