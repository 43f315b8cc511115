"""Every exact backend against the oracle, over the zoo and the awkward cases, scripted and traced.

The whole table is here; what takes minutes (the zoo at its papers' sizes) is marked slow.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support import conformance
from tests.support.case import Case
from tests.support.cases import CASES
from tests.support.conformance import (
    EXACT,
    LOADED,
    REDUCED,
    case_subject,
    judge,
    loaded,
    run,
    settings_for,
    zoo_subject,
)
from tests.support.published import PUBLISHED
from yuzu_cli.backends import get_backend
from yuzu_cli.bench.papers import zoo

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
]

HOW = ("scripted", "traced", "exported")
KINDS = (*HOW, "alone")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def possible(case: Case, how: str) -> bool:
    return (
        case.scripted if how == "scripted" else case.traced and (how == "traced" or case.captured)
    )


def quick(case: Case, number: int, how: str, backend: str) -> bool:
    """Whether it is of the quick suite: windows of files scripted and traced in turn, and some
    exported; naive runs any file as it is, so one kind will do.
    """
    if how == "exported":
        return backend == "windowed" and number % 4 == 0
    both = case.scripted and case.traced
    first = "scripted" if case.scripted and (backend == "naive" or number % 2) else "traced"
    return not both or how == first


TABLE = [
    pytest.param(
        case.name,
        how,
        backend,
        id=f"{case.name}-{how}-{backend}",
        marks=() if quick(case, i, how, backend) else pytest.mark.slow,
    )
    for i, case in enumerate(CASES)
    for how in HOW
    if possible(case, how)
    for backend in EXACT
    if case.captured or backend == "naive"
]


@pytest.mark.parametrize(("name", "how", "backend"), TABLE)
def test_cases(name, how, backend, folder):
    run(case_subject(name), how, backend, folder)


PUBLISHED_TABLE = [
    pytest.param(case.name, how, backend, id=f"{case.name}-{how}-{backend}")
    for case in PUBLISHED
    for how in KINDS
    if possible(case, how)
    for backend in EXACT
]
# Quickly, every family as one kind of file, in turn; long scans not.
QUICK = [
    pytest.param(case.name, KINDS[i % 4], "windowed", id=f"{case.name}-{KINDS[i % 4]}")
    for i, case in enumerate(PUBLISHED)
    if not case.name.startswith("like-mamba")
]


@pytest.mark.parametrize(("name", "how", "backend"), QUICK)
def test_published_families_at_some_positions(name, how, backend, folder):
    """Both ends, and a stretch in the middle that sees every phase of the pools."""
    subject = case_subject(name)
    middle = subject.length // 2
    ends = [0, 1, subject.length - 2, subject.length - 1]
    run(subject, how, backend, folder, positions=[*ends, *range(middle, middle + 14, 2)])


def test_windows_that_meet_no_weights(folder):
    """Of few positions, some at an end: their part of a layer over positions is empty."""
    subject = case_subject("like-explainn")
    positions = [0, 1, subject.length // 2, subject.length - 1]
    run(subject, "traced", "windowed", folder, positions=positions)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how", "backend"), PUBLISHED_TABLE)
def test_published_families(name, how, backend, folder):
    run(case_subject(name), how, backend, folder)


ZOO_TABLE = [
    pytest.param(
        name,
        how,
        backend,
        id=f"{name}-{how}-{backend}",
        marks=pytest.mark.slow if (how, backend) == ("traced", "naive") else (),
    )
    for name in zoo.ZOO
    for how in HOW[:2]
    for backend in EXACT
]


@pytest.mark.parametrize(("name", "how", "backend"), ZOO_TABLE)
def test_reduced_zoo(name, how, backend, folder):
    run(zoo_subject(name, REDUCED.get(name, 101), 0.08), how, backend, folder)


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("name", ["bpnet4", "bpnet9"])
def test_reduced_zoo_counts(name, backend, folder):
    run(zoo_subject(name, REDUCED.get(name, 101), 0.08, 1), "scripted", backend, folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "how", "backend"), ZOO_TABLE)
def test_zoo_at_its_papers_sizes(name, how, backend, folder):
    length = zoo.ZOO[name].length
    if (zoo_subject(name, length, 1.0), how) not in LOADED:
        LOADED.clear()  # hundreds of megabytes each
    # Both ends, and a stretch in the middle that sees every phase of the poolings.
    middle = range(length // 2, length // 2 + 49, 7)
    positions = sorted({0, 1, 2, 9, *middle, length // 3, length - 10, length - 2, length - 1})
    run(zoo_subject(name, length, 1.0), how, backend, folder, positions=positions)


@pytest.mark.parametrize("backend", [name for name in EXACT if name != "naive"])
@pytest.mark.parametrize("name", [case.name for case in CASES if not case.captured])
def test_what_depends_on_the_data_is_refused_with_a_reason(name, backend, folder):
    model = loaded(case_subject(name), "scripted", folder)
    reason = get_backend(backend).unsupported(model, settings_for(model))
    assert reason
    assert "\n" not in reason


SOME = ["conv-stride-3", "max-pool-padded-dilated", "strands-max", "dilated-residual-stack"]
SOME += ["global-logsumexp", "mix-cumsum", "lstm", "outputs-all", "enformer"]


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("name", SOME)
def test_some_positions_only(name, backend, folder):
    subject = case_subject(name)
    run(subject, "scripted", backend, folder, positions=range(7, subject.length - 9))
    run(subject, "scripted", backend, folder, positions=[subject.length // 2])


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("name", SOME)
def test_little_memory(name, backend, folder):
    run(case_subject(name), "scripted", backend, folder, memory=1 << 17)


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("name", SOME)
def test_unknown_letters_as_uniform_columns(name, backend, folder):
    run(case_subject(name), "scripted", backend, folder, unknown=0.25)


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("name", SOME)
def test_a_runner_keeps_nothing_of_other_batches(name, backend, folder):
    subject = case_subject(name)
    model = loaded(subject, "scripted", folder)
    method = get_backend(backend)
    runner = method.prepare(model, settings_for(model))
    codes, positions = subject.sequences(), range(subject.length)
    first = conformance.scores(runner, codes, positions, subject.letters)
    for i in (2, 0):
        alone = conformance.scores(runner, codes[i : i + 1], positions, subject.letters)[0]
        scale = first[i].nan_to_num().abs().max()
        torch.testing.assert_close(
            alone, first[i], rtol=0, atol=2e-5 * float(scale), equal_nan=True
        )


def test_the_harness_can_fail(folder):
    """A backend with one mutant wrong, and one with a mutant missing, are told."""
    subject = case_subject("conv-stride-3")
    model = loaded(subject, "scripted", folder)
    runner = get_backend("naive").prepare(model, settings_for(model))

    class Spoiled:
        reference = staticmethod(runner.reference)

        def __init__(self, factor: float | None) -> None:
            self.factor = factor

        def blocks(self, codes, positions):
            for block in runner.blocks(codes, positions):
                if self.factor is None:
                    keep = block.index != block.index[3]
                    yield type(block)(block.index[keep], block.delta[keep], block.targets)
                else:
                    delta = block.delta.clone()
                    delta[delta.abs().amax(1).argmax()] *= self.factor
                    yield type(block)(block.index, delta, block.targets)

    judge(subject, Spoiled(1.0))
    with pytest.raises(AssertionError, match="over the limit"):
        judge(subject, Spoiled(1.0 + 1e-4))
    with pytest.raises(AssertionError, match="missing"):
        judge(subject, Spoiled(None))
