"""Estimates of which the largest are made exact: which, to what numbers, and what is said of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.engine import config, done, fasta, sequences
from tests.support.engine_nets import L, conv, script, seeded
from yuzu_cli import engine
from yuzu_cli.cli.info import describe
from yuzu_cli.engine.exact_top import taken
from yuzu_cli.errors import UsageError
from yuzu_cli.results.reader import open_result
from yuzu_cli.results.report import report
from yuzu_cli.runs.info import info
from yuzu_cli.runs.merge import merge


class Mixed(nn.Module):
    """A convolution, then a softmax over all positions: windows end, and the rest is curved."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv1d(4, 5, 5, padding=2), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.body(x)).transpose(1, 2)
        weights = torch.softmax(4 * h @ h.transpose(1, 2), dim=2)
        return self.head(torch.tanh(weights @ h).mean(1))


def run(folder: Path, model: Path, name: str, **keys: Any) -> dict[str, np.ndarray]:
    path = folder / f"{name}.h5"
    done(engine.run(config(folder, [model], output__path=str(path), **keys)))
    with h5py.File(path) as file:
        names = ["scores/delta", "scores/exact", "estimate/correlation", "estimate/max_error"]
        return {n: file[n][:] for n in names if n in file}


ESTIMATE = {"compute__backend": "taylor", "taylor__start": "frontier"}
AVERAGED: dict[str, Any] = {"compute__reverse_complement": True, "compute__shifts": [0, 2]}


@pytest.mark.parametrize("averaged", [False, True], ids=["plain", "averaged"])
@pytest.mark.parametrize("net", [Mixed, conv], ids=["by naive", "by windows"])
def test_what_is_exact_is_the_exact_way_s(tmp_path: Path, net: Any, averaged: bool) -> None:
    texts = sequences(4, L + (4 if averaged else 0))
    fasta(tmp_path, texts)
    keys = {**(AVERAGED if averaged else {}), "input__length": L, "input__wrong_length": "crop"}
    model = script(seeded(net), tmp_path / "m.pt")
    exact = run(tmp_path, model, "exact", **keys, compute__backend="naive")["scores/delta"]
    start = "input" if net is conv else "frontier"  # where windows never end, all is exact
    keys |= {"compute__backend": "taylor", "taylor__start": start}
    plain = run(tmp_path, model, "plain", **keys)["scores/delta"]
    found = run(tmp_path, model, "top", **keys, taylor__exact_top=0.1)
    mask, delta = found["scores/exact"], found["scores/delta"]
    assert mask.dtype == bool
    assert (mask == mask[:, :1]).all()  # a mutant is computed for all targets
    np.testing.assert_allclose(delta[mask], exact[mask], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(delta[~mask], plain[~mask])
    assert np.abs(plain - exact)[mask].max() > 1e-3  # or nothing was gained
    mutants = 3 * L
    top, drawn = taken(0.1, mutants)
    assert top <= mask[0, 0].sum() <= top + drawn
    for row in (0, 1, 2):
        sizes = (np.abs(plain[row]) / np.nanmax(np.abs(plain[row]), (1, 2), keepdims=True)).max(0)
        known = np.nan_to_num(sizes).ravel()
        count = taken(0.1, int((known > 0).sum()))[0]
        assert mask[row, 0].ravel()[np.argsort(-known)[:count]].all()
    assert not mask[np.isnan(exact)].any()


def test_agreement_is_that_of_the_sample(tmp_path: Path) -> None:
    fasta(tmp_path, sequences(3))
    model = script(seeded(Mixed), tmp_path / "m.pt")
    exact = run(tmp_path, model, "exact", compute__backend="naive")["scores/delta"]
    plain = run(tmp_path, model, "plain", **ESTIMATE)["scores/delta"]
    # With all of them at the top, so many are drawn that the sample is all there are.
    found = run(tmp_path, model, "top", **ESTIMATE, taylor__exact_top=1)
    changed = plain[0, 0] != 0
    for row in range(2):
        for t in range(2):
            a, b = plain[row, t][plain[row, t] != 0], exact[row, t][plain[row, t] != 0]
            r = np.corrcoef(a, b)[0, 1]
            assert found["estimate/correlation"][row, t] == pytest.approx(r, abs=1e-5)
            worst = np.abs(a - b).max()
            assert found["estimate/max_error"][row, t] == pytest.approx(worst, rel=1e-3)
    assert changed.sum() == 3 * L
    facts = info(tmp_path / "top.h5")
    assert -1 <= facts["estimate"]["correlation_worst"] <= facts["estimate"]["correlation"] < 1
    assert f"largest error {facts['estimate']['max_error']:.2g}" in describe(facts)
    assert "/scores/exact" in facts["datasets"]
    assert facts["scores"] == ["delta"]
    page = report(tmp_path / "top.h5", tmp_path / "page.html").read_text()
    assert "Effects are estimates, but for the largest: correlation" in page
    assert (
        "Effects are estimates"
        not in report(tmp_path / "plain.h5", tmp_path / "p.html").read_text()
    )
    assert info(tmp_path / "plain.h5")["estimate"] is None


def test_shards_and_a_continued_run_have_the_same_bits(tmp_path: Path) -> None:
    fasta(tmp_path, sequences(6))
    model = script(seeded(Mixed), tmp_path / "m.pt")
    keys = {**ESTIMATE, "taylor__exact_top": 0.05, "compute__batch_size": 2, "score__save": ["l2"]}
    done(engine.run(config(tmp_path, [model], **keys)))
    asked = iter([False] * 5 + [True] * 100)
    path = str(tmp_path / "again.h5")
    again = config(tmp_path, [model], **keys, output__path=path)
    stopped = engine.run(again, should_stop=lambda: next(asked))
    assert not stopped.complete
    done(engine.run(again))
    shards = []
    for i in (1, 2):
        shards.append(tmp_path / f"s{i}.h5")
        more = {"run__shard": f"{i}/2", "output__path": str(shards[-1])}
        done(engine.run(config(tmp_path, [model], **keys, **more)))
    merge(shards, tmp_path / "merged.h5")
    merge(shards, tmp_path / "linked.h5", link=True)
    names = ["scores/l2", "scores/exact", "estimate/correlation", "estimate/max_error"]
    with h5py.File(tmp_path / "out.h5") as whole:
        for other in ("again.h5", "merged.h5", "linked.h5"):
            with h5py.File(tmp_path / other) as file:
                for name in names:
                    np.testing.assert_array_equal(file[name][:], whole[name][:])
    with open_result(tmp_path / "merged.h5") as result:
        assert result.saved == ("l2",)


def test_what_goes_with_the_estimate_is_refused_elsewhere(tmp_path: Path) -> None:
    fasta(tmp_path, sequences(1))
    model = script(seeded(conv), tmp_path / "m.pt")
    for key in ({"taylor__start": "frontier"}, {"taylor__exact_top": 0.1}):
        with pytest.raises(UsageError, match=r"taylor\.\w+: the auto backend makes no estimate"):
            engine.run(config(tmp_path, [model], **key))


def test_how_many_are_taken() -> None:
    assert taken(0.0, 1500) == (0, 32)
    assert taken(0.02, 1500) == (30, 32)
    assert taken(0.1, 1500) == (150, 150)
    assert taken(1.0, 1500) == (1500, 256)
    assert taken(0.02, 9) == (1, 9)
    assert math.isclose(sum(taken(0.02, 100_000)), 2256)
