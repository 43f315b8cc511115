"""The oracle against numbers worked out by hand, and proof that its judgement can fail."""

from __future__ import annotations

import math

import pytest
import torch

from tests.support import oracle
from tests.support.cases import CASES
from tests.support.published import PUBLISHED

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
WEIGHT = torch.tensor([[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]])  # two letters, three positions


def weigh(x: torch.Tensor) -> torch.Tensor:
    """Sum of weights of the letters there, and its square."""
    total = (x * WEIGHT.to(x)).sum((1, 2))
    return torch.stack([total, total**2], dim=1)


@pytest.mark.parametrize(
    ("per_pass", "apart"), [(1, False), (2, False), (3, False), (1, True), (2, True)]
)
def test_saturation_by_hand(per_pass, apart):
    codes = torch.tensor([0, 1, oracle.UNKNOWN])
    delta = oracle.saturation(weigh, codes, [0, 1, 2], letters=2, per_pass=per_pass, apart=apart)
    # The sequence itself weighs 1 + 20 + 0 = 21.
    nan = math.nan
    first = [[0.0, -18.0, nan], [9.0, 0.0, nan]]
    second = [[0.0, 9.0 - 441.0, nan], [900.0 - 441.0, 0.0, nan]]
    torch.testing.assert_close(
        delta, torch.tensor([first, second], dtype=torch.float64), rtol=0, atol=0, equal_nan=True
    )


def test_unknown_letters_are_columns_of_the_value_asked_for():
    codes = torch.tensor([oracle.UNKNOWN, 1, 1])
    delta = oracle.saturation(weigh, codes, [1], letters=2, unknown=0.5)
    # (1 + 10) / 2 + 20 + 40 = 65.5 before, 47.5 after.
    assert delta[:, 0, 0].tolist() == [-18.0, 47.5**2 - 65.5**2]


def test_positions_may_be_some_in_any_order():
    codes = torch.tensor([0, 1, 1])
    both = oracle.saturation(weigh, codes, [2, 0], letters=2)
    assert torch.equal(both[:, :, 1:], oracle.saturation(weigh, codes, [0], letters=2))


@pytest.fixture
def judged():
    """Exact scores of a small net, and the yardstick for them."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 4, 12, generator=draw, dtype=torch.float64)

    def net(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(torch.einsum("ncl,kcl->nk", x, weight.to(x)))

    codes = torch.randint(4, (12,), generator=draw)
    codes[3] = oracle.UNKNOWN
    exact = oracle.saturation(net, codes, range(12))
    return exact, oracle.naive_error(net, exact, codes, range(12))


def test_the_judgement_accepts_what_is_as_good_as_naive(judged):
    exact, naive32 = judged
    assert 0 < naive32 < 1e-5
    oracle.assert_exact(exact, exact, naive32)
    oracle.assert_exact(exact.float(), exact, naive32)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.__setitem__((2, 1, 7), d[2, 1, 7] + 3e-5 * oracle.largest(d)), "error"),
        (lambda d: d.__setitem__((0, 0, 0), math.nan), "NaN"),
        (lambda d: d.__setitem__((0, 0, 0), math.inf), "error inf"),
        (lambda d: d.__setitem__((slice(None), slice(None), 3), 0.0), "NaN"),
        (lambda d: d.mul_(1 + 1e-4), "error"),
        (lambda d: d.copy_(d.roll(1, 0)), "error"),
        (lambda d: d.copy_(d.flip(1)), "error"),
    ],
    ids=["one-cell", "nan", "infinite", "unknown-as-zero", "scaled", "targets", "letters"],
)
def test_the_judgement_can_fail(judged, spoil, message):
    exact, naive32 = judged
    spoiled = exact.clone()
    spoil(spoiled)
    with pytest.raises(AssertionError, match=message):
        oracle.assert_exact(spoiled, exact, naive32)


def test_the_judgement_refuses_other_shapes_and_no_yardstick(judged):
    exact, naive32 = judged
    with pytest.raises(AssertionError, match="shape"):
        oracle.assert_exact(exact[:, :, 1:], exact, naive32)
    with pytest.raises(AssertionError, match="yardstick"):
        oracle.assert_exact(exact, exact, math.nan)


def test_the_yardstick_wins_where_naive_itself_is_bad(judged):
    exact, _ = judged
    off = exact + 1e-3
    oracle.assert_exact(off, exact, naive32=1.1e-3)
    with pytest.raises(AssertionError, match="over the limit"):
        oracle.assert_exact(off, exact, naive32=0.9e-3)


def test_cases_have_names_of_their_own_and_there_are_many():
    names = [case.name for case in [*CASES, *PUBLISHED]]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize("case", [*CASES, *PUBLISHED], ids=lambda case: case.name)
def test_cases_repeat_and_live(case):
    """The same seed gives the same net, another seed another, and mutations change its output."""
    draw = torch.Generator().manual_seed(1)
    codes = torch.randint(case.letters, (case.length,), generator=draw)
    x = oracle.one_hot(codes, case.letters, torch.float64).unsqueeze(0)
    f, again, other = (case.function(torch.float64, seed) for seed in (0, 0, 1))
    assert torch.equal(f(x), again(x))
    assert not torch.allclose(f(x), other(x))
    positions = range(0, case.length, 5)
    effects = oracle.saturation(f, codes, positions, letters=case.letters)
    assert oracle.largest(effects) > 1e-3 * oracle.largest(f(x))
    assert (effects.abs().amax((1, 2)) > 0).float().mean() > 0.5
