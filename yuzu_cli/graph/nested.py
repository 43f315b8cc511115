"""Loops and branches of exported programs, said again as the calls that they come to.

Each function takes the mode that its calls are seen by, what decides a condition (given a text for
where it cannot), and the arguments of torch's operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import torch

Mode: TypeAlias = AbstractContextManager[Any]
Decided: TypeAlias = Callable[[Any, str], bool]
Values: TypeAlias = Sequence[Any]

_ENDLESS = (
    "how often its while_loop runs depends on the data; let a counter end it after a number of "
    "rounds that is the same for all sequences"
)
_EITHER = "the data choose the branch of its cond; compute both and choose with torch.where"


def while_loop(
    mode: Mode, decided: Decided, goes_on: Any, body: Any, carried: Values, fixed: Values, **_: Any
) -> tuple[Any, ...]:
    """Rounds as long as a condition holds."""
    while True:
        with mode:
            more = goes_on(*carried, *fixed)
        if not decided(more, _ENDLESS):
            return tuple(carried)
        with mode:
            carried = body(*carried, *fixed)


def scan(
    mode: Mode, decided: Decided, body: Any, begin: Values, rows: Values, fixed: Values
) -> tuple[Any, ...]:
    """A round for each row of some tensors: what is carried at the end, and what rounds give."""
    carried, made = list(begin), []
    with mode:
        for i in range(len(rows[0])):
            found = body(*carried, *(x[i] for x in rows), *fixed)
            carried = list(found[: len(begin)])
            made.append(found[len(begin) :])
        return (*carried, *(torch.stack(parts) for parts in zip(*made, strict=True)))


def mapped(mode: Mode, decided: Decided, body: Any, rows: Values, fixed: Values) -> tuple[Any, ...]:
    """A round for each row, none of which knows of another."""
    return scan(mode, decided, body, (), rows, fixed)


def cond(mode: Mode, decided: Decided, holds: Any, first: Any, second: Any, given: Values) -> Any:
    """One of two branches."""
    chosen = first if decided(holds, _EITHER) else second
    with mode:
        return chosen(*given)


NESTED: dict[str, Callable[..., Any]] = {
    "cond": cond,
    "map_impl": mapped,
    "scan": scan,
    "while_loop": while_loop,
}
"""By the names of torch's operators."""
