"""Plans: which strategy each operator gets, golden text, costs, and where windows are given up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.attending import Told
from tests.support.blocks import Cat, Permute, Reduce, Residual, Slice
from tests.support.case import SCALES, NeXt
from tests.support.scaled_blocks import Excite, Mix, Weigh
from tests.support.sequential import Hyena
from yuzu_cli.bench.papers import zoo
from yuzu_cli.graph.build import capture
from yuzu_cli.graph.program import Program
from yuzu_cli.operators import causal
from yuzu_cli.operators.attention import ONWARDS
from yuzu_cli.operators.convolution import CONVOLUTION
from yuzu_cli.operators.cost import CPU_RATES
from yuzu_cli.operators.dense import ACROSS
from yuzu_cli.operators.items import Whole
from yuzu_cli.operators.record import CONSTANT, WHOLE
from yuzu_cli.operators.reductions import EXTREME, TOTAL
from yuzu_cli.operators.weighing import ATTENTION
from yuzu_cli.plan.analyse import analyse
from yuzu_cli.plan.describe import advice, describe, short
from yuzu_cli.plan.plan import make_plan
from yuzu_cli.plan.tape import Script


def program_of(module: nn.Module, length: int) -> Program:
    module = module.eval().requires_grad_(False)
    return capture(
        module, letters=4, length=length, device=torch.device("cpu"), dtype=torch.float32
    )


GOLDEN = """\
node           operation    shape   reach       way                              multiply-adds  naive   bytes
convolution    convolution  8x60    5.54 of 60  convolution                      0              11.5 k  354
unsqueeze      unsqueeze    8x1x60  5.54 of 60  moved windows                    0              0       88.6
max_pool_1     max_pool     8x1x20  2.46 of 20  max pool                         0              0       473
relu_default   relu         8x1x20  2.46 of 20  position by position             0              0       315
squeeze        squeeze      8x20    2.46 of 20  moved windows                    0              0       39.4
convolution_1  convolution  6x20    4.22 of 20  convolution                      354            2.88 k  202
relu_1         relu         6x20    4.22 of 20  position by position             0              0       405
view           reshape      120     4.22 of 20  moved windows                    0              0       50.6
linear         linear       2       all         dense on the slice that changed  50.6           240     210

multiply-adds for one mutant: 405 of naive's 14.6 k, 36.1 times fewer
bytes for one mutant: 2.14 k of naive's 15.4 k"""


def toy() -> nn.Module:
    class Toy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv1d(4, 8, 6), nn.Conv1d(8, 6, 3, padding=1)
            self.pool, self.dense = nn.MaxPool1d(3), nn.Linear(120, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.pool(torch.relu(self.a(x)))
            return self.dense(torch.relu(self.b(x)).flatten(1))

    return Toy()


def test_golden_text():
    program = program_of(toy(), 65)
    found = analyse(program)
    assert describe(found, make_plan(found)) == GOLDEN


@pytest.mark.parametrize("name", ["basset", "deepsea", "bpnet4", "factorized-basset"])
def test_published_models_are_windowed_to_their_end(name):
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = zoo.build(name, 600)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.model(x)
            return y[0] if isinstance(y, tuple) else y

    plan = make_plan(program_of(First(), 600))
    assert plan.cut is None
    assert plan.naive_macs > 5 * plan.macs
    convolutions = [s for s in plan.steps if s.way == CONVOLUTION]
    assert len(convolutions) >= 3


def test_basset_has_the_multiply_adds_of_its_paper_sized_layers():
    program = program_of(zoo.build("basset", 1000), 1000)
    plan = make_plan(program)
    assert plan.naive_macs == pytest.approx(271e6, rel=0.01)  # fastISM's paper counts 271 M
    assert plan.macs < 10e6


LONG = 400
ON_WINDOWS = {
    "reflect": nn.Conv1d(6, 6, 5, padding=2, padding_mode="reflect"),
    "replicate": nn.Conv1d(6, 6, 5, padding=2, padding_mode="replicate"),
    "circular": nn.Conv1d(6, 6, 5, padding=2, padding_mode="circular"),
    "linear on a permuted tensor": nn.Sequential(
        Permute(0, 2, 1), nn.Linear(6, 6), Permute(0, 2, 1)
    ),
    "every third": Slice(0, LONG, 3),
    "uneven averages": nn.AdaptiveAvgPool1d(LONG // 3),
    "uneven maxima": nn.AdaptiveMaxPool1d(LONG // 3),
    "roll": Mix("roll"),
    "joined along positions": Cat(nn.MaxPool1d(2), nn.Identity(), dim=2),
}


@pytest.mark.parametrize("name", ON_WINDOWS)
def test_no_step_needs_a_whole_tensor(name):
    layers = [nn.Conv1d(4, 6, 7), nn.ReLU(), ON_WINDOWS[name], nn.ReLU(), nn.Conv1d(6, 2, 3)]
    plan = make_plan(program_of(nn.Sequential(*layers), LONG))
    assert WHOLE not in {s.way for s in plan.steps}
    assert plan.naive_macs > 5 * plan.macs


@pytest.mark.parametrize(
    ("pool", "way"),
    [
        (nn.AdaptiveAvgPool1d(1), TOTAL),
        (nn.AdaptiveMaxPool1d(1), EXTREME),
        (nn.MaxPool1d(LONG - 6), EXTREME),
        (nn.AvgPool1d(LONG - 6), TOTAL),
        (nn.Linear(LONG - 6, 1), ACROSS),
    ],
)
def test_pools_of_everything_end_windows(pool, way):
    layers = [nn.Conv1d(4, 6, 7), nn.ReLU(), pool, nn.Flatten(), nn.Linear(6, 2)]
    plan = make_plan(program_of(nn.Sequential(*layers), LONG))
    assert way in {s.way for s in plan.steps}
    assert plan.naive_seconds > 20 * plan.seconds


@pytest.mark.parametrize("kind", ["product", "matrix", "einsum", "profile", "strands"])
def test_attention_pooling_ends_windows_without_a_whole_tensor(kind):
    layers = [nn.Conv1d(4, 6, 7), nn.ReLU(), nn.Conv1d(6, 6, 3), Weigh(kind, 6)]
    plan = make_plan(program_of(nn.Sequential(*layers), LONG))
    assert ATTENTION in {s.way for s in plan.steps}
    whole = [s for s in plan.steps if s.way == WHOLE]
    assert sum(s.cost.bytes for s in whole) < 500  # what follows the pool has no positions


@pytest.mark.parametrize("name", [*SCALES, "convolution", "crop", "block"])
def test_what_all_positions_share_is_taken_out_of_a_mean(name):
    layers = [nn.Conv1d(4, 6, 7), nn.ReLU(), nn.Conv1d(6, 6, 3, padding=4)]
    scaled = {
        "convolution": lambda n: nn.Sequential(Excite(6), nn.Conv1d(6, 6, 9, 2, 3)),
        "crop": lambda n: nn.Sequential(nn.GroupNorm(2, 6), Slice(20, -20), nn.Conv1d(6, 6, 1)),
        "block": lambda n: Residual(NeXt(6)),
        **SCALES,
    }[name](LONG)
    plan = make_plan(
        program_of(nn.Sequential(*layers, scaled, Reduce("mean"), nn.Linear(6, 2)), LONG)
    )
    whole = [s for s in plan.steps if s.way == WHOLE]
    assert max(s.cost.bytes for s in whole) < 1000  # no value of them has positions
    assert plan.naive_seconds > 5 * plan.seconds


def test_branches_that_double_are_not_followed_for_ever():
    """Each layer reads the one before it twice, with nothing between that is not linear."""
    layers = [Excite(4), *(Residual(nn.Conv1d(4, 4, 1)) for _ in range(40))]
    program = program_of(nn.Sequential(*layers, Reduce("mean"), nn.Linear(4, 2)), 30)
    assert len(program.nodes) < 10_000


@pytest.mark.parametrize(
    ("make", "way", "least"),
    [
        (lambda n: Told(n, "mean", 64), ONWARDS, 2.5),
        (lambda n: Hyena(n, 8), causal.LONG, 10.0),
    ],
)
def test_what_reads_one_direction_is_computed_from_the_edit_on(make, way, least):
    plan = make_plan(program_of(make(300), 300))
    assert way in {s.way for s in plan.steps}
    assert plan.cut is None
    assert plan.naive_macs > least * plan.macs


def test_a_gate_ends_windows_where_what_follows_is_not_linear():
    layers = [nn.Conv1d(4, 6, 7), nn.ReLU(), Excite(6), nn.ReLU(), Reduce("mean"), nn.Linear(6, 2)]
    found = analyse(program_of(nn.Sequential(*layers), LONG))
    text = advice(found, make_plan(found), CPU_RATES, 2, 3 * LONG, {})
    assert "windows end at mul (mul): one of its arguments changes with every edit" in text


def test_only_what_a_selected_position_needs_is_computed():
    layers = [nn.Conv1d(4, 6, 7), nn.ReLU(), nn.Conv1d(6, 6, 3), Reduce("middle"), nn.Linear(6, 2)]
    plan = make_plan(program_of(nn.Sequential(*layers), LONG))
    assert plan.naive_macs > 100 * plan.macs


def test_means_over_positions_and_channels_are_of_deltas():
    plan = make_plan(program_of(nn.Sequential(nn.Conv1d(4, 6, 7), nn.ReLU(), Reduce("both")), LONG))
    assert TOTAL in {s.way for s in plan.steps}


def test_windows_as_wide_as_the_sequence_are_given_up():
    layers = [nn.Conv1d(4, 32, 31, padding=15), *(nn.GELU() for _ in range(6))]
    plan = make_plan(program_of(nn.Sequential(*layers), 30))
    assert plan.cut is not None
    after = False
    for step in plan.steps:
        after = after or step.node == plan.cut
        if after and step.way != CONSTANT:
            assert step.way == WHOLE


def test_what_has_no_window_is_whole_and_so_is_all_that_reads_it():
    class Mixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(torch.logcumsumexp(x, 2) + x).sum(2)

    plan = make_plan(program_of(Mixed(), 20))
    kept = [s.way for s in plan.steps if s.way != CONSTANT]
    assert set(kept) == {WHOLE}


def test_an_output_that_no_letter_reaches_is_still_there():
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(x.shape[0], 2)

    found = analyse(program_of(Constant(), 20))
    tape = Script(found, make_plan(found.program)).tape(np.arange(20))
    assert isinstance(tape.output, Whole)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (7, "7"), (4590, "4.59 k"), (2.71e8, "271 M"), (3e15, "3e+03 T")]
)
def test_short_counts(count, text):
    assert short(count) == text
