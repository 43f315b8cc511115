"""How configuration values may be spelt, and how faults in them are worded.

Plain functions for `yuzu_cli.config`, which owns the keys. Nothing here knows a default.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from yuzu_cli.errors import UsageError
from yuzu_cli.selection import near, split

# --- values that YAML or the command line may write in more than one way ------------------------


def _is_whole(value: Any, least: float = -math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _expect(value: Any, good: bool, what: str) -> Any:
    if not good:
        raise ValueError(f"expected {what}, found {reprlib.repr(value)}")
    return value


def spelt(value: Any, pattern: str, known: str) -> Any:
    """Text that is spelt like a pattern; `known` names the spellings."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise ValueError(f"{reprlib.repr(value)} is not one of {known}")
    return value


def paths(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def words(value: Any) -> Any:
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


def _integers(value: Any) -> Any:
    """`0,1,-1` as [0, 1, -1]."""
    if not isinstance(value, str):
        return [value] if _is_whole(value) else value
    numbers: list[int] = []
    for word in (part.strip() for part in value.split(",")):
        if not re.fullmatch(r"[+-]?\d+", word):
            raise ValueError(f"{word!r} is not a whole number; write it like 0,1,-1")
        numbers.append(int(word))
    return numbers


def _distinct(value: list[Any], what: str) -> list[Any]:
    if not value:
        raise ValueError(f"no {what} given")
    if len(set(value)) != len(value):
        twice = next(number for number in value if value.count(number) > 1)
        raise ValueError(f"{twice} is given twice")
    return value


def targets(value: Any) -> Any:
    """`all`, or numbers, names and patterns: which names there are only the model knows."""
    if value == "all":
        return value
    parts = split(value) if isinstance(value, str) else value
    parts = [parts] if _is_whole(parts) else parts
    _expect(value, isinstance(parts, list), "all, or a list like 0,3,7-9")
    for part in parts:
        good = _is_whole(part, 0) or (isinstance(part, str) and part)
        _expect(part, bool(good), "a whole number from 0")
    return _distinct(parts, "target")


def shifts(value: Any) -> Any:
    numbers = _integers(value)
    _expect(value, isinstance(numbers, list), "whole numbers like 0,1,-1")
    for number in numbers:
        _expect(number, _is_whole(number, -1_000_000), "a whole number from -1000000")
    return _distinct(numbers, "shift")


def batch_size(value: Any) -> Any:
    good = value == "auto" or _is_whole(value, 1)
    return _expect(value, good, "auto or a whole number from 1")


def alpha(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    _expect(value, value == "auto" or (number and 0 < value < math.inf), "auto or a number above 0")
    return float(value) if number else value


def model_output(value: Any) -> Any:
    good = _is_whole(value, 0) or (isinstance(value, str) and value)
    return _expect(value, bool(good), "a number from 0, a name, or all")


def extra_inputs(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError("expected a mapping of name, or position, to a value or a .npy file")
    for key, constant in value.items():
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise ValueError(f"{reprlib.repr(key)} is neither a name nor a position")
        if not isinstance(constant, int | float | str | list):
            raise ValueError(f"the value of {key} is neither a number, a list nor a .npy file")
    return dict(value)


def names(value: Any) -> Any:
    """A file's path, or names; numbers in YAML are names too."""
    if isinstance(value, list) and all(isinstance(v, str | int) for v in value):
        return [str(v) for v in value]
    good = isinstance(value, str) and value
    return _expect(value, bool(good), "a list of names or a text file")


def parse_shard(text: str) -> tuple[int, int]:
    """`I/N` as (I, N), 1-based.

    Raises
    ------
    ValueError
        The text is not of that form, or I is outside 1..N.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"{text!r} is not a shard; write I/N with 1 <= I <= N, or auto")
    return int(match[1]), int(match[2])


def shard(value: Any) -> Any:
    if value is None or value == "auto":
        return value
    index, count = parse_shard(value if isinstance(value, str) else reprlib.repr(value))
    return f"{index}/{count}"


# --- messages -----------------------------------------------------------------------------------

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text (quote what YAML reads as something else)",
    "string_unicode": "text in UTF-8",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of keys",
}


def _near_key(parts: list[str], keys: Mapping[str, list[str]]) -> str:
    """`did you mean …?` for an unknown key, or the keys there are."""
    *section, name = parts
    known = keys[section[0]] if section else list(keys)
    elsewhere = {key: f"{other}.{key}" for other, names in keys.items() for key in names}
    if hint := near(name, known) or near(name, elsewhere, elsewhere):
        return hint
    return f"known here: {', '.join(known)}"


def location(detail: ErrorDetails) -> list[str]:
    """Section, key and what is below it, of one fault that pydantic found."""
    parts = [str(part) for part in detail["loc"]]
    return [*parts, detail["ctx"]["at"]] if detail["type"] == "at" else parts


def translate(detail: ErrorDetails, where: str | None, keys: Mapping[str, list[str]]) -> UsageError:
    """One fault that pydantic found, in the words of the tool.

    Parameters
    ----------
    detail : ErrorDetails
    where : str, optional
        The option that set the value; None for its dotted path.
    keys : mapping
        Section to its keys, for near misses.
    """
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    parts = location(detail)
    where = where or ".".join(parts)
    if kind == "extra_forbidden":
        return UsageError(where, "unknown key", _near_key(parts, keys))
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        what = f"{reprlib.repr(value)} is not one of {', '.join(allowed)}"
        return UsageError(where, what, near(str(value), allowed))
    if kind in _EXPECTED:
        return UsageError(where, f"expected {_EXPECTED[kind]}, found {reprlib.repr(value)}")
    if kind in ("at", "value_error"):
        what, _, hint = detail["msg"].removeprefix("Value error, ").partition("; ")
        return UsageError(where, what, hint)
    if kind == "greater_than_equal":
        return UsageError(where, f"{value} is below {context['ge']}")
    if kind == "less_than_equal":
        return UsageError(where, f"{value} is above {context['le']:g}")
    return UsageError(where, f"{detail['msg'].lower()}, found {reprlib.repr(value)}")
