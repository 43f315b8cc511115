"""MODEL.json beside a model: written by `init-model`, read by everything, told when it is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.cli import invoke
from tests.support.results import random_sequences
from yuzu_cli import attribute, open_result
from yuzu_cli.config import load_config
from yuzu_cli.errors import UsageError

L = 41


class TwoOutputs(nn.Module):
    """Takes sequences of one length, its channels last, letters ACGU; two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4 * L, 2), nn.Linear(4 * L, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flat = (x * torch.arange(1.0, 5)).flatten(1)
        return self.first(flat), self.second(flat)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.pt2"
    shapes = ({0: torch.export.Dim("rows")},)
    program = torch.export.export(
        TwoOutputs().eval(), (torch.zeros(2, L, 4),), dynamic_shapes=shapes
    )
    torch.export.save(program, path)
    return path


def test_what_a_model_wants_is_written_and_read(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\n")
    line = ["init-model", "-m", str(model), "--alphabet", "acgu", "--model-output", "1"]
    code, out, err = invoke([*line, "--target-names", str(names)], capsys)
    assert code == 0, err
    written = json.loads((tmp_path / "m.pt2.json").read_text())
    assert (
        json.loads(out)
        == written
        == {
            "length": L,
            "alphabet": "ACGU",
            "layout": "NLC",
            "output": 1,
            "target_names": ["a", "b", "c"],
        }
    )
    assert "returns 0: (2), 1: (3); using 1" in err
    code, _, err = invoke(line, capsys)
    assert (code, "exists already; --force" in err) == (1, True)
    code, out, err = invoke([*line, "--force"], capsys)
    assert code == 0
    assert "target_names" not in json.loads(out)
    (tmp_path / "m.pt2.json").write_text(json.dumps(written))
    (tmp_path / "s.fa").write_text(f">x\n{random_sequences(1, L)[0]}\n")
    run = ["run", "-m", str(model), "-f", str(tmp_path / "s.fa"), "-o", str(tmp_path / "o.h5")]
    assert invoke([*run, "--targets", "c,a"], capsys)[0] == 0
    with open_result(tmp_path / "o.h5") as result:
        assert (result.targets, result.alphabet) == (["c", "a"], "ACGU")
    code, out, _ = invoke(["explain", "-m", str(model)], capsys)
    assert code == 0
    assert f"4 letters x {L} positions -> 3 targets" in out
    other = attribute(model, random_sequences(1, L), settings={"model.output": 0})
    assert (other.targets, other.letters) == (["0[0]", "0[1]"], "ACGU")
    code, _, err = invoke(["explain", "-m", str(model), "-l", "50"], capsys)
    assert code == 1
    assert f"it takes length {L} (layout NLC)" in err


def test_a_length_is_asked_for_where_there_are_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = (nn.Conv1d(4, 2, 9), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    torch.jit.script(nn.Sequential(*layers)).save(str(tmp_path / "m.pt"))
    code, _, err = invoke(["init-model", "-m", str(tmp_path / "m.pt")], capsys)
    assert code == 2
    assert "takes several, such as 1000, 1001 and 1024; give the one it was trained for" in err
    assert not (tmp_path / "m.pt.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"lenght": 3}', "m.pt.json: lenght: unknown key; known here: length"),
        ('{"length": "x"}', "m.pt.json: length: expected a whole number, found 'x'"),
        ('{"layout": "NCX"}', "m.pt.json: layout: 'NCX' is not one of"),
        ("[3]", "m.pt.json: is not a mapping"),
        ('{"length": 3', "m.pt.json:"),
    ],
)
def test_faults_of_the_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.pt.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_config(None, {"model.path": str(tmp_path / "m.pt")})
    assert message in str(caught.value)


def test_options_win_and_models_of_a_run_agree(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.pt", "b.pt")]
    Path(f"{paths[0]}.json").write_text('{"length": 9, "target_names": ["x"]}')
    both = {"model.path": paths}
    assert load_config(None, both).input.length == 9
    assert load_config(None, both | {"input.length": 7}).input.length == 7
    assert load_config(None, both).model.target_names == ["x"]
    assert load_config(None, both | {"score.reduce": "sum"}).model.target_names == []
    Path(f"{paths[1]}.json").write_text('{"length": 8}')
    with pytest.raises(
        UsageError, match=r"b\.pt\.json: length: 8, and .*a\.pt\.json: length says 9"
    ):
        load_config(None, both)
