"""Every operator with random attributes: reach is sound, need is declared, windows are exact.

A few random examples of every family run always, many with `-m slow`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st

from tests.support import programs, properties
from tests.support.families import FAMILIES, recipes
from tests.support.families.base import Small, filled
from tests.support.programs import Span
from tests.support.properties import judge, prepared

FEW, MANY = 2, 100
OPTIONS = settings(
    deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck)
)
FIRST = [
    pytest.param(name, options, id=f"{name}-{i}")
    for name, family in FAMILIES.items()
    for i, options in enumerate(family.first)
]


@pytest.mark.parametrize(("name", "options"), FIRST)
def test_examples(name, options):
    judge(filled(name, options))


def search(name: str, settings: settings) -> None:
    @settings
    @given(recipe=recipes(name), small=st.booleans())
    def run(recipe, small):
        if not prepared(recipe):
            reject()
        try:
            judge(recipe, small)
        except programs.Refused:  # then there are no windows to be wrong
            reject()

    run()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_few_random_ones(name):
    phases = (Phase.explicit, Phase.generate)  # finding the smallest takes minutes
    search(name, settings(OPTIONS, max_examples=FEW, derandomize=True, phases=phases))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FAMILIES)
def test_many_random_ones(name):
    search(name, settings(OPTIONS, max_examples=MANY, derandomize=True))


def test_every_operator_with_a_rule_has_a_family():
    covered = {operator for family in FAMILIES.values() for operator in family.covers}
    assert sorted(programs.operators() - covered) == []


# It would drop a batch of one too.
WITHOUT_WINDOWS = {"aten.squeeze.default"}


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.covers])
def test_families_hold_what_they_cover_on_windows(name):
    missing = set(FAMILIES[name].covers)
    for options in FAMILIES[name].first:
        if not missing:
            break
        recipe = filled(name, options)
        seen = programs.captured(Small(recipe), recipe["length"])
        for node, operator in seen.operators.items():
            if node in seen.windows | seen.endings or operator in WITHOUT_WINDOWS:
                missing.discard(operator)
    assert not missing


RECIPE = filled("convolution", dict(FAMILIES["convolution"].first[0], suffix="part"))


def seen_of(recipe: dict[str, Any]) -> programs.Captured:
    return programs.captured(Small(recipe), recipe["length"])


def test_a_reach_too_narrow_is_told():
    seen = seen_of(RECIPE)
    properties.check_reach(seen, RECIPE)
    for name, span in seen.reach.items():
        if isinstance(span, Span):
            less = span.may.copy()
            less[5, less[5].argmax()] = False  # the first position that an edit at 5 reaches
            narrow = {**seen.reach, name: dataclasses.replace(span, may=less)}
            with pytest.raises(AssertionError, match=f"{name} .* an edit at 5 changes what"):
                properties.check_reach(dataclasses.replace(seen, reach=narrow), RECIPE)
    untouched = dict.fromkeys(seen.reach, "nothing")
    with pytest.raises(AssertionError, match="said to be untouched"):
        properties.check_reach(dataclasses.replace(seen, reach=untouched), RECIPE)


def test_a_need_too_narrow_is_told():
    seen = seen_of(RECIPE)
    properties.check_need(seen, RECIPE)
    name, span = next((n, s) for n, s in seen.reach.items() if isinstance(s, Span))
    assert 0 < span.need.sum() < len(span.need)
    less = span.need.copy()
    less[less.argmax()] = False
    narrow = {**seen.reach, name: dataclasses.replace(span, need=less)}
    with pytest.raises(AssertionError, match=f"{name} .* reads more than its need"):
        properties.check_need(dataclasses.replace(seen, reach=narrow), RECIPE)


def test_wrong_windows_are_told(monkeypatch):
    right = programs.windowed
    monkeypatch.setattr(programs, "windowed", lambda *a: right(*a) * (1 + 1e-5))
    with pytest.raises(AssertionError, match="windows are off by"):
        judge(RECIPE)
