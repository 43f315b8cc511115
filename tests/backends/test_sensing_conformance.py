"""The yuzu backend against the oracle, every convolution of every case sent through probes.

Each case with one of the matrices in the quick suite, with all of them in the slow one.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import oracle
from tests.support.cases import CASES
from tests.support.conformance import (
    BY_NAME,
    REDUCED,
    Subject,
    case_subject,
    judge,
    loaded,
    scores,
    settings_for,
    truth,
    zoo_subject,
)
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.sensing.codes import MATRICES, PUBLISHED, Code
from yuzu_cli.backends.sensing.design import make_design
from yuzu_cli.backends.sensing.probes import YuzuRunner
from yuzu_cli.bench.papers import zoo
from yuzu_cli.model import Model
from yuzu_cli.operators.convolution import Convolver

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

USEFUL = ("interleaved", "orthogonal")
PUBLISHED_ERROR = 1e-4
"""Share of the largest effect that the published forms may be off at the alpha they accepted."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def runner_of(subject: Subject, matrix: str, folder: Path, **options: Any) -> YuzuRunner:
    how = "scripted" if subject.name not in BY_NAME or BY_NAME[subject.name].scripted else "traced"
    model = loaded(subject, how, folder)
    settings = dataclasses.replace(settings_for(model), matrix=matrix, **options)
    assert get_backend("yuzu").unsupported(model, settings) is None
    return YuzuRunner(model, settings, codes_of(model, settings), slack=math.inf)


def codes_of(model: Model, settings: Settings) -> dict[str, Code]:
    return make_design(model, settings, slack=math.inf).codes


def check(
    subject: Subject, matrix: str, folder: Path, positions: range | None = None, **options: object
) -> YuzuRunner:
    runner = runner_of(subject, matrix, folder, **options)
    if not runner.probed:  # all is as by windows, which has its own tests
        assert not any(isinstance(step, Convolver) for step in runner.script.steps.values())
        return runner
    if matrix in PUBLISHED:
        where = positions or range(subject.length)
        exact = truth(subject, tuple(where))
        found = scores(runner, subject.sequences(), where, subject.letters)
        for one, (expected, naive32) in zip(found, exact, strict=True):
            oracle.assert_exact(one, expected, naive32, floor=PUBLISHED_ERROR, slack=1.5)
    else:
        judge(subject, runner, positions)
    assert all(step.taken and not step.left for step in runner.probed.values())
    return runner


CAPTURED = [case.name for case in CASES if case.captured]
QUICK = [(name, USEFUL[i % 2]) for i, name in enumerate(CAPTURED)]
SLOW = [(name, matrix) for name in CAPTURED for matrix in MATRICES if (name, matrix) not in QUICK]


@pytest.mark.parametrize(("name", "matrix"), QUICK, ids=lambda text: text)
def test_cases(name, matrix, folder):
    check(case_subject(name), matrix, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "matrix"), SLOW, ids=lambda text: text)
def test_cases_with_every_matrix(name, matrix, folder):
    check(case_subject(name), matrix, folder)


@pytest.mark.parametrize("matrix", PUBLISHED)
@pytest.mark.parametrize("name", ["conv-stride-3", "strands-max", "dilated-residual-stack"])
def test_published_forms(name, matrix, folder):
    check(case_subject(name), matrix, folder)


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        pytest.param(name, matrix, id=f"{name}-{matrix}", marks=marks)
        for name in zoo.ZOO
        for matrix in MATRICES
        for marks in [() if matrix == "interleaved" else pytest.mark.slow]
    ],
)
def test_reduced_zoo(name, matrix, folder):
    check(zoo_subject(name, REDUCED.get(name, 101), 0.08), matrix, folder)


@pytest.mark.parametrize("matrix", MATRICES)
def test_little_memory_and_some_positions(matrix, folder):
    """Small chunks that begin anywhere use part of the slots."""
    subject = case_subject("dilated-residual-stack")
    part = range(7, subject.length - 9, 2)
    runner = check(subject, matrix, folder, part, memory=1 << 17)
    assert runner.positions_per_chunk(3) < subject.length // 4


def test_the_default_takes_windows_where_they_are_cheaper(folder):
    subject = case_subject("dilated-residual-stack")
    model = loaded(subject, "scripted", folder)
    runner = get_backend("yuzu").prepare(model, settings_for(model))
    judge(subject, runner)
    assert isinstance(runner, YuzuRunner)
    assert sum(step.left for step in runner.probed.values())


def test_a_batch_is_its_sequences(folder):
    """Sequences have probes of their own: what is beside them changes nothing."""
    subject = case_subject("conv-stride-3")
    runner = runner_of(subject, "orthogonal", folder)
    codes, positions = subject.sequences(), range(subject.length)
    together = scores(runner, codes, positions, subject.letters)
    alone = scores(runner, codes[2:], positions, subject.letters)
    torch.testing.assert_close(alone[0], together[2], rtol=0, atol=2e-6, equal_nan=True)
