"""A gate for speed that no load of the machine moves: counted work and the backend `auto` takes."""

from __future__ import annotations

import pytest

from tests.programs.speed import RENEW, Counted, counted, golden
from yuzu_cli.bench.papers import zoo

TOLERANCE = 0.01


def compare(name: str, found: Counted, kept: Counted) -> None:
    """Refuse another backend, and more or less work than is kept."""
    hint = f"if that is meant, write the numbers anew: {RENEW}"
    assert found["backend"] == kept["backend"], (
        f"{name}: auto takes {found['backend']}, not {kept['backend']}; {hint}"
    )
    for what in ("multiply_adds", "naive_multiply_adds"):
        a, b = found[what], kept[what]
        more = "more" if a > b else "fewer"
        words = what.replace("_", " ").replace("multiply adds", "multiply-adds")
        assert abs(a - b) <= TOLERANCE * b, f"{name}: {a:.4g} {words}, {more} than {b:.4g}; {hint}"


def test_every_model_of_the_zoo_is_counted():
    assert list(golden()) == list(zoo.ZOO)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_the_work_is_what_it_was(name, tmp_path):
    compare(name, counted(name, tmp_path), golden()[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "naive"}, "auto takes naive, not windowed"),
        ({"multiply_adds": 1030}, "1030 multiply-adds, more than 1000"),
        ({"multiply_adds": 970}, "970 multiply-adds, fewer than 1000"),
        ({"naive_multiply_adds": 20}, "20 naive multiply-adds, fewer than 9000"),
    ],
)
def test_the_gate_can_fail(change, message):
    kept: Counted = {
        "backend": "windowed",
        "multiply_adds": 1000,
        "naive_multiply_adds": 9000,
    }
    compare("a model", kept, kept)
    with pytest.raises(AssertionError, match=message):
        compare("a model", {**kept, **change}, kept)
