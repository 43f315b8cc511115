"""Choosing some of several named things by number, range, name or pattern: the one place for it.

`0,3,7-9`, `CTCF`, `K562_*` and `all` mean the same for the targets of a model, a result and an
export. Numbers count from 0 and ranges hold both their ends, as people write them. May not: know
what is chosen.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence

from yuzu_cli.errors import UsageError

LARGEST = 10_000_000
"""Numbers of a range; a longer one is a slip of the finger."""

_RANGE = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


def near(name: str, known: Iterable[str], shown: Mapping[str, str] | None = None) -> str:
    """`did you mean …?` for a name that is not known but nearly, as it is shown; else empty."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {(shown or {}).get(close[0], close[0])}?" if close else ""


def split(text: str) -> list[int | str]:
    """The parts of `0,3,7-9,CTCF`, ranges written out: [0, 3, 7, 8, 9, "CTCF"].

    Raises
    ------
    ValueError
        A part is empty, or a range runs backwards or is too long.
    """
    return [item for word in _words(text) for item in numbers(word) or [word]]


def _words(text: str) -> list[str]:
    words = [part.strip() for part in text.split(",")]
    if not all(words):
        raise ValueError(f"{text!r} has an empty part; write it like 0,3,7-9 or CTCF,GATA*")
    return words


def numbers(word: str) -> range | None:
    """What `3` or `7-9` counts; None for a word.

    Raises
    ------
    ValueError
        The range runs backwards or is too long.
    """
    match = _RANGE.fullmatch(word)
    if not match:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first or last - first > LARGEST:
        raise ValueError(f"the range {word} has no sensible length")
    return range(first, last + 1)


def choose(
    wanted: str | int | Iterable[str | int], names: Sequence[str], where: str, what: str = "target"
) -> list[int]:
    """Indices of the things that are asked for, in that order, each once.

    Parameters
    ----------
    wanted : str, int or several
        `all`, numbers, ranges, names, or patterns with `*`, `?` and `[...]`, in texts with commas
        or as a list. In a text, a name of digits is a name; an int is always a number.
    names : sequence of str
        Of all there are.
    where : str
        The option or key, for messages.
    what : str
        What is chosen, in the singular.

    Raises
    ------
    UsageError
        Something is asked for that there is not.
    """
    if wanted == "all":
        return list(range(len(names)))
    places: dict[str, int] = {}
    for index, name in enumerate(names):
        places.setdefault(name, index)
    parts = [wanted] if isinstance(wanted, str | int) else wanted
    found = (index for part in parts for index in _indices(part, places, names, where, what))
    return list(dict.fromkeys(found))


def _indices(
    part: str | int, places: dict[str, int], names: Sequence[str], where: str, what: str
) -> list[int]:
    """The indices that one part of a choice means."""
    if isinstance(part, int):
        return [_number(part, names, where, what)]
    found: list[int] = []
    try:
        for word in [part] if part in places else _words(part):
            if word in places:
                found.append(places[word])
            elif (counted := numbers(word)) is not None:
                found += [_number(number, names, where, what) for number in counted]
            elif matches := _matches(word, names):
                found += matches
            else:
                raise UsageError(where, f"no {what} {word}", _hint(word, names))
    except ValueError as error:
        text, _, hint = str(error).partition("; ")
        raise UsageError(where, text, hint) from None
    return found


def _number(number: int, names: Sequence[str], where: str, what: str) -> int:
    if not 0 <= number < len(names):
        raise UsageError(where, f"no {what} {number}", _count(names))
    return number


def _matches(pattern: str, names: Sequence[str]) -> list[int]:
    return [i for i, name in enumerate(names) if fnmatch.fnmatchcase(name, pattern)]


def _hint(text: str, names: Sequence[str]) -> str:
    """What there is instead: the nearest name, or the numbers and the first names."""
    return near(text, names) or _count(names)


def _count(names: Sequence[str]) -> str:
    if list(names) == [str(i) for i in range(len(names))]:
        return f"there are {len(names)}, counted from 0"
    return f"there are {len(names)}, 0 to {len(names) - 1}: {some(names)}"


def place(text: str) -> tuple[str, int, int] | None:
    """``chrom:first-last``, 1-based and closed, as (chrom, start, end), 0-based and half-open."""
    found = re.fullmatch(r"(.+):(\d[\d,]*)-(\d[\d,]*)", text)
    if found is None:
        return None
    first, last = (int(number.replace(",", "")) for number in found.groups()[1:])
    return found[1], first - 1, last


def some(names: Sequence[str], most: int = 8) -> str:
    """The first few names, and whether there are more."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
