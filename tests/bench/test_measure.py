"""One case by several methods: a backend that is wrong is seen to be, others are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from yuzu_cli.bench.backends import NaiveMethod, backend_method, every_backend
from yuzu_cli.bench.measure import Row, measure
from yuzu_cli.bench.papers.suites import SUITES, cases_of
from yuzu_cli.bench.report import notes as report_notes
from yuzu_cli.bench.run import example_files
from yuzu_cli.bench.subject import Case, ready

TINY = Case("basset", 60, width=0.02)


def measured(*names: str, case: Case = TINY) -> dict[str, Row]:
    methods = [backend_method(name) for name in names]
    rows = measure(case, methods, rounds=2, seconds=0.2)
    return {row.method: row for row in rows}


def test_an_estimate_starts_where_its_name_says() -> None:
    rows = measured("naive", "taylor", "taylor:frontier")
    seen = {name: row.agreement for name, row in rows.items()}
    assert seen["taylor"] is not None
    assert seen["taylor:frontier"] is not None
    assert seen["taylor:frontier"].pearson > 0.999999 > seen["taylor"].pearson


@pytest.mark.usefixtures("spoilt")
def test_what_is_wrong_is_seen_to_be() -> None:
    names = ("naive", "windowed", "taylor", "wrong", "forgetful", "raising", "refusing")
    rows = measured(*names)
    assert list(rows) == list(names)
    assert {name: (row.status, row.verdict) for name, row in rows.items()} == {
        "naive": ("ok", "exact"),
        "windowed": ("ok", "exact"),
        "taylor": ("ok", "estimate"),
        "wrong": ("ok", "wrong"),
        "forgetful": ("ok", "wrong"),
        "raising": ("failed", ""),
        "refusing": ("cannot", ""),
    }
    errors = {name: row.agreement for name, row in rows.items()}
    assert errors["wrong"] is not None
    assert errors["wrong"].relative == pytest.approx(1e-3, rel=0.05)
    assert errors["forgetful"] is not None
    assert errors["forgetful"].missing > 0
    assert rows["raising"].error.startswith(
        "RuntimeError: the cat sat on the keyboard (spoil, line"
    )
    assert rows["refusing"].error == "it has too many layers"
    for name in ("naive", "windowed", "taylor", "wrong"):
        row = rows[name]
        assert 1 <= len(row.samples) <= 4
        assert 0 < row.seconds_low <= row.seconds <= row.seconds_high
        assert row.mutants_per_second == pytest.approx(180 / row.per_sequence)
        assert row.speedup > 0
    assert rows["naive"].speedup == 1
    assert 0 < rows["windowed"].useful_share < 1


def test_naive_finds_a_pass_size_and_is_cut_to_the_time_there_is() -> None:
    method = NaiveMethod()
    with ready(TINY) as subject:
        method.prepare(subject)
        share = method.plan(1e-9)
        assert share == len(method.positions) / 60
        assert len(method.positions) * 3 >= min(method.tried, key=lambda n: method.tried[n])
        assert method.plan(1e9) == 1.0
        assert method.positions.tolist() == list(range(60))
        assert method.macs() > 0


def test_several_sequences_are_compared_each_and_timed_by_batches() -> None:
    case = Case("toynet", 30, sequences=5, batch=2, width=0.1)
    row = measured("naive", "windowed", case=case)["windowed"]
    assert row.verdict == "exact"
    assert row.share in (0.4, 0.8, 1.0)
    assert row.per_sequence == row.seconds / 5


def test_large_outputs_are_scored_as_l2() -> None:
    with ready(Case("onelayer", 1000)) as subject:
        assert subject.score == "l2"
    with ready(TINY) as subject:
        assert subject.score == "delta"


def test_the_truth_is_naive_in_double_precision() -> None:
    with ready(Case("toynet", 20, sequences=2, width=0.1)) as subject:
        truth = subject.truth
        module = subject.module
    assert truth.double
    assert module is not None
    module = module.double()
    table = torch.eye(4, dtype=torch.float64)
    assert len(truth.index) == 120  # all of them
    for row in (0, 55, 119):
        flat = int(truth.index[row])
        sequence, position, letter = flat // 80, flat // 4 % 20, flat % 4
        codes = truth.codes[sequence].long()
        mutant = codes.clone()
        mutant[position] = letter
        x = table[torch.stack([codes, mutant])].transpose(1, 2)
        with torch.no_grad():
            before, after = module(x).flatten(1)
        assert letter != codes[position]
        np.testing.assert_allclose(truth.delta[row], (after - before).numpy(), atol=1e-15)


def test_a_lower_precision_is_held_against_its_own_rounding() -> None:
    case = Case("toynet", 30, width=0.2, precision="bfloat16")
    rows = measured("naive", "windowed", case=case)
    assert rows["naive"].verdict == "exact"
    assert rows["naive"].agreement is not None
    assert rows["naive"].agreement.relative > 1e-4


def test_a_model_that_will_not_load_is_told_in_every_row() -> None:
    rows = measured("naive", "windowed", case=Case("nowhere.pt", 30))
    for row in rows.values():
        assert row.status == "cannot"
        assert row.error.startswith("nowhere.pt: ")


class Single(torch.nn.Module):
    """A model that makes its input float32, and so runs in no other precision."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv1d(4, 3, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.to(torch.float32)).amax(2)


@pytest.mark.usefixtures("spoilt")
def test_without_double_precision_there_is_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "single.pt"
    torch.jit.script(Single().eval()).save(str(path))
    rows = measured("naive", "wrong", "forgetful", "taylor", case=Case(str(path), 30))
    assert [row.verdict for row in rows.values()] == ["", "", "wrong", "estimate"]
    assert rows["wrong"].agreement is not None
    (said, *_) = report_notes(list(rows.values()))
    assert "does not run in double precision" in said
    assert "there is no verdict" in said


def test_sensing_matrices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A matrix that is too small for its alpha is an estimate, and its plan is not kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = ("naive", "yuzu:interleaved", "yuzu:gaussian", "yuzu:gaussian@1")
    rows = measured(*names, case=Case("toynet", 40, width=0.2))
    claims = {name: (row.status, row.verdict) for name, row in rows.items()}
    exact, estimate = ("ok", "exact"), ("ok", "estimate")
    assert claims == dict(zip(names, (exact, exact, exact, estimate), strict=True))
    found, naive = rows["yuzu:gaussian@1"].agreement, rows["naive"].agreement
    assert found is not None
    assert naive is not None
    assert found.largest > naive.largest
    assert list(tmp_path.iterdir()) == []
    assert set(every_backend()) == {
        *("naive", "windowed", "taylor"),
        *("yuzu:interleaved", "yuzu:orthogonal"),
    }


def test_concordance_suite_with_the_trained_model() -> None:
    suite = SUITES["tism-fig1a"]
    *_, case = cases_of(suite, False, "cpu", example_files())
    methods = [backend_method(name) for name in ("naive", "taylor")]
    rows = measure(case, methods, keep=True, rounds=1, seconds=0.2)
    taylor = rows[1]
    assert taylor.verdict == "estimate"
    assert len(taylor.extra["pearson_by_sequence"]) == 2 * 4
    assert len(taylor.extra["truth"]) == len(taylor.extra["said"]) > 100
    assert rows[0].verdict == "exact"


def test_every_convolution_on_probes() -> None:
    names = ("naive", "yuzu:interleaved!", "yuzu:gaussian!")
    rows = measured(*names, case=Case("two-layers-8x5", 40, score="l2"))
    for name in names[1:]:
        assert (rows[name].status, rows[name].verdict) == ("ok", "exact")
        assert len(rows[name].extra["probes"]) == 2
    assert rows["yuzu:gaussian!"].extra["alpha"] >= 1
