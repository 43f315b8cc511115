"""`yuzu bench` on one's own model as a run would call it: config, FASTA, targets, positions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.cli import invoke
from tests.support.results import random_sequences
from yuzu_cli.bench.subject import Case, ready

L = 40


class Profile(nn.Module):
    """Two outputs of RNA, the second a profile."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 3, 5)
        self.second = nn.Conv1d(3, 2, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.relu(self.first(x))
        return x.mean(2), self.second(x)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    torch.jit.script(Profile()).save(str(tmp_path / "m.pt"))
    texts = random_sequences(2, L)
    (tmp_path / "s.fa").write_text("".join(f">s{i}\n{t}\n" for i, t in enumerate(texts)))
    (tmp_path / "c.yaml").write_text(
        f"model: {{path: {tmp_path}/m.pt, alphabet: ACGU, output: 1}}\ninput: {{length: {L}}}\n"
    )
    return tmp_path


def test_settings_of_a_run_are_those_of_the_benchmark(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["bench", "-c", str(folder / "c.yaml"), "-f", str(folder / "s.fa"), "--targets", "1"]
    line += ["--reduce", "sum", "--mutate-center", "6", "--sequences", "2", "--device", "cpu"]
    line += ["--rounds", "1", "--seconds", "0.05", "--peers", "none", "-o", str(folder / "o")]
    code, _out, err = invoke(line, capsys)
    assert code == 0, err
    rows = json.loads((folder / "o/bench.json").read_text())["sections"][0]["rows"]
    assert {row["verdict"] for row in rows if row["method"] in ("naive", "windowed")} == {"exact"}
    case = Case(**rows[0]["case"])
    assert case.config is not None
    assert (case.config["input"], case.length) == ({"fasta": str(folder / "s.fa")}, L)
    with ready(case) as subject:
        assert subject.model.target_names == ["1[1]"]
        assert subject.positions.tolist() == list(range(17, 23))
        assert len(subject.truth.index) == 2 * 6 * 3
        first = int(subject.truth.index[0])
        codes = subject.truth.codes[0].long()
        mutant = codes.clone()
        mutant[17 + first // 4] = first % 4
        x = torch.eye(4)[torch.stack([codes, mutant])].transpose(1, 2)
        before, after = subject.model(x)[:, 0]
    np.testing.assert_allclose(float(after - before), subject.truth.delta[0, 0], atol=1e-5)


def test_settings_of_outputs_are_of_models_of_ones_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["bench", "--arch", "basset", "--targets", "1", "-o", str(folder / "o")]
    code, _, err = invoke(line, capsys)
    assert (code, "--arch: takes no settings of outputs" in err) == (2, True)
    line = ["bench", "-m", "no.pt", "-l", "9", "-o", str(folder / "o")]
    code, _, err = invoke(line, capsys)
    assert (code, "no.pt: no such file" in err) == (1, True)
