"""The tables and figures of the papers again, and cases of one's own.

A suite is a list of cases with methods. Those of the papers stand in `suites.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from yuzu_cli.bench.papers.zoo import architecture
from yuzu_cli.bench.subject import Case
from yuzu_cli.engine.device import DTYPES, resolve_device
from yuzu_cli.errors import UsageError
from yuzu_cli.yaml12 import read_yaml


@dataclass(frozen=True, slots=True)
class Suite:
    """A table or figure."""

    name: str
    title: str
    cases: Callable[[bool], list[Case]]  # in full, or small
    backends: Sequence[str] = ()  # none: all there are
    peers: Sequence[str] = ()  # other tools' methods that belong to it
    chart: str = "bars"  # a name in `charts.CHARTS`
    paper: str = ""  # in a word; suites of one paper share a picture
    keep: bool = False  # the compared values are needed for the chart


def _grid(
    models: Sequence[str],
    lengths: Sequence[int],
    sequences: Sequence[int] = (1,),
    batches: Sequence[int | None] = (None,),
    **same: Any,
) -> list[Case]:
    return [Case(*sizes, **same) for sizes in product(models, lengths, sequences, batches)]


def _cases(grids: Mapping[bool, Sequence[dict[str, Any]]], full: bool) -> list[Case]:
    return [case for grid in grids[full] for case in _grid(**grid)]


def _suites() -> dict[str, Suite]:
    text = Path(__file__).with_name("suites.yaml").read_text(encoding="utf-8")
    made: dict[str, Suite] = {}
    for name, said in read_yaml(text).items():
        cases = partial(_cases, {True: said.pop("full"), False: said.pop("small")})
        made[name] = Suite(name=name, cases=cases, **said)
    return made


SUITES = _suites()


def get_suites(name: str) -> list[Suite]:
    """The suite of that name, or `all` of them.

    Raises
    ------
    UsageError
        There is none.
    """
    if name == "all":
        return list(SUITES.values())
    if name not in SUITES:
        raise UsageError("--suite", f"no suite {name!r}", "one of all, " + ", ".join(SUITES))
    return [SUITES[name]]


def cases_of(suite: Suite, full: bool, device: str, example: tuple[str, str] | None) -> list[Case]:
    """The cases of a suite on a device.

    Parameters
    ----------
    example : (model, fasta) or None
        A trained model with sequences, for suites that ask for one.
    """
    cases = [replace(case, device=device) for case in suite.cases(full)]
    if suite.keep and example:
        model, fasta = example
        own = {"input": {"fasta": fasta}}
        cases.append(Case(model, 500, 8 if full else 2, device=device, config=own))
    return cases


def custom(
    models: Sequence[str],
    lengths: Sequence[int],
    *,
    sequences: Sequence[int] = (1,),
    batches: Sequence[int | None] = (None,),
    precisions: Sequence[str] = ("float32",),
    devices: Sequence[str] = ("auto",),
    **same: Any,
) -> Suite:
    """A suite of cases of one's own: every combination; what else a case has is the `same` in all.

    Raises
    ------
    UsageError
        No model is given, a file's length is missing, or there is no such precision or device.
    """
    if not models:
        raise UsageError("yuzu bench", "no model", "give --model or --arch")
    for name in precisions:
        if name not in DTYPES:
            raise UsageError("--precision", f"no precision {name!r}", "one of " + ", ".join(DTYPES))
    places = [_place(name) for name in devices]
    cases = [
        Case(model, *sizes, **same)
        for model in models
        for sizes in product(_lengths(model, lengths), sequences, batches, precisions, places)
    ]
    return Suite("bench", "The methods side by side", lambda full: cases)


def _place(device: str) -> str:
    """The device that is meant; `cuda` is the same case whichever card it is."""
    kind = resolve_device(device)
    return str(kind) if kind.type != "cuda" or ":" in device else "cuda"


def _lengths(model: str, given: Sequence[int]) -> Sequence[int]:
    """Those that are given, else the one that its paper gives an architecture."""
    if Case(model, 1).is_file:
        if not given:
            raise UsageError("--length", f"is needed for {model}", "like -l 1000")
        return given
    try:
        own = architecture(model).length
    except UsageError as error:
        raise UsageError("--arch", f"no architecture {model!r}", error.hint) from None
    return given or [own]
