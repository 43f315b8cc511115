"""Random nets through every exact backend, against the oracle; few quickly, many when asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings

from tests.programs import random_nets
from tests.support import nets, oracle, wide
from tests.support.conformance import Subject
from tests.support.random_nets import check, truth_of

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

ALL_OF_IT = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def subject_of(recipe: nets.Recipe) -> Subject:
    def function(dtype: torch.dtype):
        module = nets.build(recipe).to(dtype)
        return lambda x: module(x).reshape(len(x), -1)

    return Subject(f"net{recipe[-1]}", recipe[0], lambda: nets.build(recipe), function)


def judge(recipe: nets.Recipe, how: str, folder: Path) -> None:
    subject = subject_of(recipe)
    refused = check(subject, truth_of(subject), how, folder)
    assert refused == []


@settings(ALL_OF_IT, max_examples=20, derandomize=True)
@given(recipe=nets.recipes())
def test_some_nets(recipe, tmp_path):
    judge(recipe, "scripted" if recipe[0] % 2 else "traced", tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_many_nets(how, tmp_path):
    @settings(ALL_OF_IT, max_examples=400)
    @given(recipe=nets.recipes())
    def many(recipe):
        judge(recipe, how, tmp_path)

    many()


@settings(ALL_OF_IT, max_examples=12, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(recipe=wide.recipes())
def test_some_wide_nets(recipe, tmp_path):
    """Many of them: `make random-nets`."""
    subject = wide.subject_of(recipe)
    check(subject, truth_of(subject), "traced" if recipe[0] % 2 else "scripted", tmp_path)


@settings(ALL_OF_IT, max_examples=12, derandomize=True)
@given(recipe=wide.recipes())
def test_wide_recipes_make_the_same_net_every_time(recipe):
    subject = wide.subject_of(recipe)
    first, again = (subject.function(torch.float64) for _ in range(2))
    x = oracle.one_hot(subject.sequences()[0], 4, torch.float64).unsqueeze(0)
    assert torch.equal(first(x), again(x))
    assert torch.isfinite(first(x)).all()


@settings(ALL_OF_IT, max_examples=40, derandomize=True)
@given(recipe=nets.recipes())
@example(recipe=(20, (("conv", 4, 5, 3, 1, 1, 1, 1, "zeros"),), "sum", 0))
def test_recipes_make_the_same_net_every_time(recipe):
    x = oracle.one_hot(torch.arange(recipe[0]) % 4, 4, torch.float32).unsqueeze(0)
    first, again = nets.build(recipe)(x), nets.build(recipe)(x)
    assert torch.equal(first, again)
    assert torch.isfinite(first).all()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (AssertionError("error 1 over the limit"), "wrong, scripted: (12, 'none',"),
        (KeyError("select"), "ended by an error, scripted: (12, 'none',"),
    ],
)
def test_the_program_tells_what_is_wrong(error, told, tmp_path, monkeypatch, capsys):
    def fails(*_arguments):
        raise error

    tally = random_nets.Tally(tmp_path, 10, show=False)
    recipe = (12, "none", (("units", 4, 2, 3),), "sum", 0)
    tally.take(recipe)
    assert not tally.failed
    assert tally.counts == {"exact on windows": 2}
    tally.done.clear()
    monkeypatch.setattr(random_nets, "check", fails)
    tally.take(recipe)
    assert tally.failed
    assert told in capsys.readouterr().out
