"""Programs between two products: the tape with them is the tape without, and Triton's kernels too.

Kernels run under Triton's interpreter; that they compile for cards is tried in
`test_compiling.py`.
"""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.support import passages
from tests.support.cases import CASES
from tests.support.conformance import (
    BY_NAME,
    REDUCED,
    Subject,
    case_subject,
    loaded,
    settings_for,
    zoo_subject,
)
from yuzu_cli.backends.windowed import WindowedRunner
from yuzu_cli.bench.papers import zoo
from yuzu_cli.kernels import between, fused
from yuzu_cli.kernels.runner import Machine
from yuzu_cli.plan.statements import Program
from yuzu_cli.plan.tape import Script

# Exponentials of padding, and of what a case is about, may overflow as they do on a card.
pytestmark = pytest.mark.filterwarnings(
    "ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning",
    "ignore:Using padding='same' with even kernel",
)  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The Triton kernels, for the interpreter."""
    pytest.importorskip("triton", reason="triton has no wheel for this platform")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return importlib.import_module("yuzu_cli.kernels.fused.writing")


# --- whole tapes --------------------------------------------------------------------------------


def results(runner: WindowedRunner, codes: Tensor, how: bool) -> tuple[Tensor, Counter[str]]:
    """Every delta, by a card's tape with or without programs; and which kernels were asked for."""
    found = runner.understood.found
    script = Script(found, runner.plan, few_starts=True, fused=how)
    asked: Counter[str] = Counter()

    def make(positions):
        tape = script.tape(positions)
        asked.update(step.kernel for step in tape.instructions)
        return tape

    runner.script = script
    runner.__dict__.pop("_probe", None)
    device, letters = runner.settings.device, runner.model.alphabet_size
    runner.machine = Machine(runner.references, device, letters, make)
    runner.reference(codes)
    blocks = list(runner.blocks(codes, np.arange(runner.settings.length)))
    index = torch.cat([b.index for b in blocks])
    return torch.cat([b.delta for b in blocks])[index.argsort()], asked


def same_tapes(subject: Subject, how: str, folder: Path) -> Counter[str]:
    model = loaded(subject, how, folder)
    runner = WindowedRunner(model, settings_for(model))
    codes = subject.sequences()
    plain, _ = results(runner, codes, False)
    made, asked = results(runner, codes, True)
    scale = float(plain.abs().nan_to_num(0.0, 0.0, 0.0).max())
    torch.testing.assert_close(made, plain, rtol=1e-4, atol=2e-5 * max(scale, 1e-6), equal_nan=True)
    return asked


CAPTURED = [case.name for case in CASES if case.captured]
SAMPLE = CAPTURED[:: max(1, len(CAPTURED) // 24)]


def of_case(name: str, folder: Path) -> Counter[str]:
    how = "scripted" if BY_NAME[name].scripted else "traced"
    return same_tapes(case_subject(name), how, folder)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in SAMPLE else pytest.mark.slow) for n in CAPTURED]
)
def test_a_tape_with_programs_is_the_tape_without(name, folder):
    of_case(name, folder)


@pytest.mark.parametrize(
    ("name", "length", "width"),
    [("basset", 131, 0.2), ("bpnet4", 121, 0.3), ("aitac-residual", 131, 0.1)],
)
def test_the_zoo_becomes_programs(name, length, width, folder):
    asked = same_tapes(zoo_subject(name, length, width), "scripted", folder)
    assert asked["between"] >= 3
    assert not set(asked) & {"mask", "rows", "pointwise", "subtract", "max pool", "softmax pool"}


# --- Triton's kernels ---------------------------------------------------------------------------


INTERPRETED = (
    "conv-same-dilated", "max-pool-overlapping", "avg-pool-ceil", "softmax-pool-learned",
    "strands-max", "pad-replicate-then-pool", "batch-norm-after-pool", "dilated-residual-stack",
)  # fmt: skip


def small(name: str, folder: Path) -> list[passages.Passage]:
    """A few positions of a case: enough for every statement, ends included."""
    return passages.of_subject(case_subject(name), folder, batch=2, positions=4)


@pytest.mark.parametrize("name", [n for n in INTERPRETED if n in BY_NAME])
def test_kernels_are_their_definition(name, folder, writing):
    found = small(name, folder)
    assert found
    same_kernels(found, writing)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.ZOO)
def test_kernels_of_the_zoo_are_their_definition(name, writing):
    found = passages.passages(name, REDUCED.get(name, 101), batch=1, positions=3, width=0.1)
    assert found or name == "onelayer"  # whose windows stay pairs of letters to their end
    same_kernels(found, writing)


def same_kernels(found: list[passages.Passage], writing: ModuleType) -> None:
    for passage in found:
        out, reads, options = passage.numbers("cpu")
        between.compute(out, *reads, **options)
        made = torch.full_like(out, torch.nan)
        writing.compute(made, *reads, **options)
        scale = float(out.abs().nan_to_num(0.0, 0.0, 0.0).max())
        torch.testing.assert_close(made, out, rtol=1e-5, atol=3e-6 * scale, equal_nan=True)


def one(program: Program, *reads: Tensor, constants: tuple[Tensor, ...] = (), tables=None):
    """Arguments of a program over four rows of one position, two letters, one sequence."""
    tables = torch.arange(4, dtype=torch.int32)[None] if tables is None else tables
    out = torch.full((4, 1, 2, 1, reads[0].shape[-1]), torch.nan)
    return out, reads, {"program": program, "tables": tables, "constants": list(constants)}


VALUES = [0.0, -0.0, 1e-6, -1e-6, 0.29, -0.31, 1.0, -1.0, 8.0, -8.0, 25.0, -25.0, 1e4, -1e4,
          float("inf"), float("-inf"), float("nan")]  # fmt: skip


@pytest.mark.parametrize("name", between.FUNCTIONS)
def test_functions_are_torch_s(name, writing):
    x = torch.tensor(VALUES).repeat(2)[:32].view(4, 1, 2, 1, 4)
    loads = (("rows", (), (0, 0)), ("rows", (), (1, 0)))
    unary = name in ("relu", "gelu", "exp", "sigmoid", "softplus", "elu", "silu", "tanh")
    program = (*loads, (name, (0,) if unary else (0, 1), ()))
    out, reads, options = one(program, x, x.flip(0, 4) + 0.5)
    between.compute(out, *reads, **options)
    made = torch.full_like(out, 1e30)
    writing.compute(made, *reads, **options)
    if name == "gelu":  # of infinities torch's own is NaN or not, by the processor
        out, made = (torch.where(x.isinf(), 0.0, y) for y in (out, made))
    torch.testing.assert_close(made, out, rtol=2e-6, atol=1e-7, equal_nan=True)


def test_the_definition_is_worked_out_in_parts(monkeypatch):
    x = torch.randn(4, 1, 2, 1, 4)
    tables = torch.tensor([[3, -1, 0, 1]], dtype=torch.int32)
    out, reads, options = one((("rows", (), (0, 0)),), x, tables=tables)
    monkeypatch.setattr(between, "AT_ONCE", 16)
    between.compute(out, *reads, **options)
    assert torch.equal(out, torch.stack([x[3], torch.zeros_like(x[0]), x[0], x[1]]))


def test_taps_are_a_convolution(writing):
    """One window of six rows read with a stride, and rows that are none."""
    x, taps = torch.randn(6, 1, 2, 1, 20), torch.randn(3, 20, 5) / 8
    tables = torch.tensor([[0, -1, 1, 2]], dtype=torch.int32)
    program = (("taps", (), (0, 0, 0, 2, 1, 2)),)
    out = torch.full((4, 1, 2, 1, 5), torch.nan)
    options: dict[str, Any] = {"program": program, "tables": tables, "constants": [taps]}
    flat = x[:, 0, :, 0].permute(1, 2, 0)
    made = F.conv1d(flat, taps.permute(2, 1, 0), stride=2, dilation=2, padding=1).permute(2, 0, 1)
    expected = torch.zeros(4, 2, 5)
    expected[[0, 2]] = made[:2]
    expected[3] = x[3, 0, :, 0] @ taps[0] + x[5, 0, :, 0] @ taps[1]
    for compute in (between.compute, writing.compute):
        compute(out, x, **options)
        torch.testing.assert_close(out[:, 0, :, 0], expected)
        out.fill_(torch.nan)


# --- what cannot be compiled --------------------------------------------------------------------


def test_a_kernel_that_cannot_be_compiled_is_said_once(writing, monkeypatch, caplog):
    calls = []

    def failing(*arguments, **options):
        calls.append(1)
        raise RuntimeError("first\nFailed to find C compiler")

    monkeypatch.setattr(writing, "compute", failing)
    x = torch.randn(4, 1, 2, 1, 4)
    call, program = fused.Guarded(), (("rows", (), (0, 0)), ("relu", (0,), ()))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            out, reads, options = one(program, x)
            call(out, *reads, **options)
            assert torch.equal(out, torch.relu(x))
    (line,) = caplog.messages
    assert "cannot be compiled here (RuntimeError: Failed to find C comp" in line
    assert calls == [1]


def test_memory_that_runs_out_is_no_fault_of_the_compiler(writing, monkeypatch):
    def failing(*arguments, **options):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(writing, "compute", failing)
    call = fused.Guarded()
    out, reads, options = one((("rows", (), (0, 0)),), torch.randn(4, 1, 2, 1, 4))
    with pytest.raises(torch.OutOfMemoryError):
        call(out, *reads, **options)
    assert not call.broken


def test_on_a_cpu_it_is_the_definition():
    assert fused.compute_on(torch.device("cpu")) is between.compute


def tf32(x: Tensor) -> Tensor:
    """Rounded to the nearest number with ten bits behind the point."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def test_three_products_of_tf32_round_like_one_of_float32():
    """As a card's kernels make them, but for how its units add up."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2000, 192, generator=draw), torch.randn(192, 64, generator=draw)
    exact, (a, b) = x.double() @ y.double(), (tf32(x), tf32(y))
    rest = tf32(x - a) @ b + a @ tf32(y - b)
    off = {
        name: float((made - exact).abs().max())
        for name, made in (("float32", x @ y), ("three", rest + a @ b), ("one", a @ b))
    }
    assert off["three"] < 1.5 * off["float32"]
    assert off["one"] > 100 * off["float32"]
