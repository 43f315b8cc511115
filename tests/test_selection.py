"""Choosing by number, range, name and pattern: one rule for models, results and exports."""

from __future__ import annotations

import pytest

from yuzu_cli.errors import UsageError
from yuzu_cli.selection import choose, place, some, split

NAMES = ["CTCF", "GATA1", "GATA2", "a,b", "7", "K562[1]", "x-1"]

CHOICES = {
    "all": [0, 1, 2, 3, 4, 5, 6],
    "0": [0],
    "2,0": [2, 0],
    "0-2": [0, 1, 2],
    "0,2-3": [0, 2, 3],
    "CTCF": [0],
    "GATA*": [1, 2],
    "GATA2,GATA*": [2, 1],
    "*,CTCF": [0, 1, 2, 3, 4, 5, 6],
    "GATA?,0": [1, 2, 0],
    "[CG]*": [0, 1, 2],
    "a,b": [3],
    "7": [4],
    "K562[1]": [5],
    "x-1": [6],
    " CTCF , 1 ": [0, 1],
    "1,0-1,CTCF": [1, 0],
}


@pytest.mark.parametrize(("text", "indices"), CHOICES.items())
def test_choices(text: str, indices: list[int]) -> None:
    assert choose(text, NAMES, "--targets") == indices


def test_choices_in_a_list() -> None:
    assert choose([0, "GATA*", "a,b"], NAMES, "x") == [0, 1, 2, 3]
    assert choose((3,), NAMES, "x") == [3]
    assert choose(5, NAMES, "x") == [5]
    assert choose(["7", 1], NAMES, "x") == [4, 1]
    digits = ["2", "0", "1"]
    assert choose("1", digits, "x") == [2], "a name of digits is a name"
    assert choose(1, digits, "x") == choose("1-1", digits, "x") == [1]
    assert choose("2,0", digits, "x") == [0, 1]


FAULTS = {
    "9": r"no target 9; there are 7, 0 to 6: CTCF, GATA1",
    "0-9": r"no target 7; there are 7",
    "2-1": r"the range 2-1 has no sensible length",
    "0-99999999999": "no sensible length",
    "CTFC": r"no target CTFC; did you mean CTCF\?",
    "gata*": r"no target gata\*",
    "0,,1": r"'0,,1' has an empty part",
    "": "has an empty part",
    "-1": "no target -1",
}


@pytest.mark.parametrize(("text", "message"), FAULTS.items())
def test_faults(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        choose(text, NAMES, "--targets")
    assert str(caught.value).startswith("--targets: ")


def test_numbered_targets_are_told_by_their_count() -> None:
    with pytest.raises(UsageError, match="no target 5; there are 3, counted from 0"):
        choose("5", ["0", "1", "2"], "score.targets")


def test_parts_are_written_out() -> None:
    assert split("0,3,7-9, CTCF*") == [0, 3, 7, 8, 9, "CTCF*"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chr1:101-130", ("chr1", 100, 130)),
        ("chr1:1,101-1,130", ("chr1", 1100, 1130)),
        ("HLA:A:1-1", ("HLA:A", 0, 1)),
        ("chr1", None),
        ("chr1:5", None),
        (":1-2", None),
        ("chr1:,-,", None),
        ("5:12", None),
    ],
)
def test_places_count_from_1_and_hold_both_their_ends(
    text: str, expected: tuple[str, int, int] | None
) -> None:
    assert place(text) == expected


def test_many_names_are_cut_short() -> None:
    assert some(["a", "b", "c"], 2) == "a, b, …"
    assert some(["a", "b"], 2) == "a, b"
