"""Nets of a table, each against the oracle; what the tests of faults share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.support import conformance, oracle
from tests.support.conformance import SLACK
from tests.support.written import Written

HOW = ("scripted", "traced")
LENGTH = 60
STEM: dict[str, Any] = {"stem": lambda: nn.Conv1d(4, 6, 5, padding=2)}


def check(net: Written, how: str, folder: Path) -> None:
    """Windowed takes the net, and is as exact as naive; naive is exact enough for that to count."""
    subject = net.subject()
    judged = conformance.truth(subject, tuple(range(net.length)))
    effects = [oracle.largest(exact) for exact, _ in judged]
    assert max(effects) > 0, "no edit changes anything"
    fine = [SLACK * naive < 1e-2 * of for (_, naive), of in zip(judged, effects, strict=True)]
    assert any(fine), "naive is too far off to judge by"
    conformance.LOADED.pop((subject, how), None)
    conformance.run(subject, how, "windowed", folder)


def table(*nets: Written, in_turn: bool = False, deep: Sequence[Written] = ()) -> Any:
    """Every net, scripted or traced in turn; the other way too among the long tests, unless they
    are very many. `deep` ones are among these only.
    """
    cases = [
        pytest.param(
            net,
            how,
            id=f"{net.name}-{how}",
            marks=[pytest.mark.slow] * (how != quick or net in deep),
        )
        for net, quick in zip([*nets, *deep], cycle(HOW), strict=False)
        for how in ([quick] if in_turn else HOW)
    ]
    return pytest.mark.parametrize(("net", "how"), cases)


def written(name: str, body: str, length: int = LENGTH, **parts: Callable[[], Any]) -> Written:
    return Written(name, body, parts, length)
