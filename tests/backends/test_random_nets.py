"""Random nets through every exact backend, against the oracle; few quickly, many when asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from torch import Tensor

from tests.support import nets, oracle
from tests.support.conformance import EXACT, SLACK, Subject, scores, settings_for
from yuzu_cli.backends import get_backend

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


def yardstick(subject: Subject, exact: Tensor, codes: Tensor, x: Tensor) -> float:
    """Error of naive float32; never finer than what float32 can tell apart in the outputs."""
    naive = subject.function(torch.float32)
    own = oracle.naive_error(naive, exact, codes, range(subject.length))
    with torch.no_grad():
        return max(own, 2**-23 * oracle.largest(naive(x)))


def check(recipe: nets.Recipe, how: str, folder: Path) -> None:
    subject = subject_of(recipe)
    codes = subject.sequences()[:2]
    exact_of = subject.function(torch.float64)
    truths = []
    for row in codes:
        exact = oracle.saturation(exact_of, row, range(subject.length))
        x = oracle.one_hot(row, 4, torch.float32).unsqueeze(0)
        truths.append((exact, yardstick(subject, exact, row, x)))
    model = subject.load(subject.save(folder / f"net-{how}.pt", how))
    for name in EXACT:
        method, options = get_backend(name), settings_for(model)
        reason = method.unsupported(model, options)
        assert reason is None, f"{name}: {reason}"
        found = scores(method.prepare(model, options), codes, range(subject.length), 4)
        for one, (exact, naive32) in zip(found, truths, strict=True):
            oracle.assert_exact(one, exact, naive32, slack=SLACK)


@settings(ALL_OF_IT, max_examples=25, derandomize=True)
@given(recipe=nets.recipes())
def test_some_nets(recipe, tmp_path):
    check(recipe, "scripted" if recipe[0] % 2 else "traced", tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_many_nets(how, tmp_path):
    @settings(ALL_OF_IT, max_examples=400)
    @given(recipe=nets.recipes())
    def many(recipe):
        check(recipe, how, tmp_path)

    many()


@settings(ALL_OF_IT, max_examples=40, derandomize=True)
@given(recipe=nets.recipes())
@example(recipe=(20, (("conv", 4, 5, 3, 1, 1, 1, 1, "zeros"),), "sum", 0))
def test_recipes_make_the_same_net_every_time(recipe):
    x = oracle.one_hot(torch.arange(recipe[0]) % 4, 4, torch.float32).unsqueeze(0)
    first, again = nets.build(recipe)(x), nets.build(recipe)(x)
    assert torch.equal(first, again)
    assert torch.isfinite(first).all()
