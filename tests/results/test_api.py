"""The door for notebooks: light to import, and the numbers of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import yuzu_cli
from tests.support.results import make_result, random_sequences
from yuzu_cli import AttributionGroups, attribute, engine, open_result
from yuzu_cli.config import load_config
from yuzu_cli.errors import InputError, UsageError
from yuzu_cli.scores import SCORES

L = 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Conv1d(4, 5, 5),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(5 * (L - 4), 3),
    )
    path = tmp_path_factory.mktemp("api") / "model.pt"
    torch.jit.script(net.eval()).save(str(path))
    return path


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, yuzu_cli; dir(yuzu_cli); "
        "print([m for m in ('torch', 'numpy', 'h5py', 'click', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'atribute'"):
        yuzu_cli.atribute  # noqa: B018


def test_arrays_are_those_of_a_run(model: Path, tmp_path: Path) -> None:
    sequences = random_sequences(5, L)
    sequences[2] = sequences[2][:4] + "n" + sequences[2][5:].lower()
    fasta = tmp_path / "s.fa"
    fasta.write_text("".join(f">name{i}\n{text}\n" for i, text in enumerate(sequences)))
    names = ("delta", "l2", "contribution", "centered", "prediction")
    mutate = {"mutate.start": 3, "mutate.end": 20}
    config = {"model.path": str(model), "input.fasta": str(fasta), "score.save": list(names)}
    engine.run(load_config(None, config | mutate | {"output.path": str(tmp_path / "o.h5")}))
    found = attribute(model, sequences, scores=names, mutate=(3, 20))
    from_file = attribute([model], fasta, scores=names, settings=mutate)
    assert found.names == [f"sequence_{i}" for i in range(5)]
    assert from_file.names == [f"name{i}" for i in range(5)]
    with open_result(tmp_path / "o.h5") as result:
        assert len(result) == len(found) == 5
        assert found.targets == result.targets
        for name in names:
            stored = result.read(f"scores/{name}")
            np.testing.assert_array_equal(found[name], stored)
            np.testing.assert_array_equal(from_file[name], stored)
        np.testing.assert_array_equal(found.reference, result.read("reference"))
        np.testing.assert_array_equal(found.codes, result.read("sequences"))
    assert found["delta"].shape == (5, 3, 4, 17)
    assert found.text(2) == sequences[2].upper()
    assert found.mutated == (3, 20)
    assert found.max_abs_error < 1e-5 or found.backend == "naive"


def test_names_targets_and_settings(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yuzu_cli.api.BATCH", 2)
    texts = random_sequences(3, L)
    given = dict(zip(("a b", "ü", ">"), texts, strict=True))
    found = attribute(model, given, targets=[2, 0], settings={"score.dtype": "float16"})
    assert found.names == list(given)
    whole = attribute(model, texts)
    assert found["delta"].dtype == np.float16
    np.testing.assert_allclose(found["delta"], whole["delta"][:, [2, 0]], atol=1e-3)


def test_what_numpy_and_torch_call_numbers_and_devices_is_taken(model: Path) -> None:
    texts = random_sequences(1, L)
    expected = attribute(model, texts, targets=[2, 0])["delta"]
    for targets in (np.array([2, 0]), [np.int64(2), 0], torch.tensor([2, 0])):
        found = attribute(model, texts, targets=targets, device=torch.device("cpu"))
        np.testing.assert_array_equal(found["delta"], expected)
    one = attribute(model, texts, targets=np.int64(2), scores="l2", mutate=[3, 5])
    assert one["l2"].shape == (1, 4, 2)


def test_a_sequence_may_be_wrapped(model: Path) -> None:
    (text,) = random_sequences(1, L)
    found = attribute(model, [f" {text[:9]}\r\n{text[9:]}\n"])
    assert found.text(0) == text


def test_bed(model: Path, tmp_path: Path) -> None:
    (text,) = random_sequences(1, 100)
    (tmp_path / "g.fa").write_text(f">c\n{text}\n")
    (tmp_path / "p.bed").write_text("c\t40\t60\tpeak\t0\t+\n")
    settings = {"input.genome": str(tmp_path / "g.fa"), "input.length": L}
    found = attribute(model, tmp_path / "p.bed", settings=settings)
    assert found.names == ["peak"]
    assert found.text(0) == text[35:65]


@pytest.mark.parametrize(
    ("sequences", "more", "kind", "words"),
    [
        ([], {}, InputError, "there are none"),
        (["ACGT", 3], {}, UsageError, "not text"),
        ([""], {}, UsageError, "not text"),
        (["ACGT\n>x\nACGT"], {}, UsageError, r"sequences\[sequence_0\]: '>' is not a letter"),
        ([">ACGT"], {}, UsageError, "'>' is not a letter"),
        ([";ACGT"], {}, UsageError, "';' is not a letter"),
        (["AC\u0100T"], {}, UsageError, "is not a letter"),
        ("ACGT", {}, InputError, "ACGT: no such file; give a list"),
        (["ACGT" * 8, "ACG"], {"settings": {"input.length": 32}}, InputError, "letters"),
        (np.zeros((2, 5, L)), {}, UsageError, r"one-hot of shape \(5, 30\), and the model has 4"),
        (np.zeros((2, L, 4)), {}, UsageError, "letters come before positions"),
        (
            np.full((2, 4, L), 0.3) + np.eye(4, L),
            {},
            UsageError,
            r"sequences\[sequence_0\]: is not",
        ),
        (np.full((2, L), 7), {}, UsageError, "code 7 is no letter; codes are 0 to 3"),
        (np.zeros((1, 2, 3, 4)), {}, UsageError, r"an array of shape \(1, 2, 3, 4\)"),
        (
            np.eye(4, dtype=int)[:, [0, 2, 1]],
            {},
            UsageError,
            r"may be one-hot, or codes of 4; give",
        ),
        (None, {}, UsageError, "sequences: None holds none; give text"),
        (
            {"a": "A" * 8, "b": "C"},
            {"settings": {"input.length": 8}},
            InputError,
            r"sequences\[b\]: record '1' has 1 letters, not 8; set",
        ),
        (["A" * L], {"mutate": 5}, UsageError, r"mutate: 5 is not \(start, end\); 0-based"),
        (["A" * L], {"mutate": (1, 2, 3)}, UsageError, r"\(1, 2, 3\) is not \(start, end\)"),
        ([None], {}, UsageError, "None is not text with letters; give text, codes"),
        (["A" * L], {"scores": ["dleta"]}, UsageError, "score.save"),
        (["A" * L], {"settings": {"compute.batchsize": 3}}, UsageError, "batchsize"),
        (["A" * 29 + "N"], {"settings": {"input.unknown": "drop"}}, InputError, "dropped"),
    ],
)
def test_faults(
    model: Path, sequences: list[str], more: dict[str, Any], kind: type, words: str
) -> None:
    with pytest.raises(kind, match=words):
        attribute(model, sequences, **more)


def net() -> torch.nn.Module:
    torch.manual_seed(1)
    layers = (torch.nn.Conv1d(4, 5, 5), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool1d(1))
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(5, 3))


def test_models_in_memory_are_those_of_files_and_stay_as_they_are(tmp_path: Path) -> None:
    module = net().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    texts = random_sequences(2, L)
    scripted = torch.jit.script(module)
    shapes = ({0: torch.export.Dim("rows")},)
    exported = torch.export.export(net().eval(), (torch.zeros(2, 4, L),), dynamic_shapes=shapes)
    torch.export.save(exported, tmp_path / "m.pt2")
    expected = attribute(tmp_path / "m.pt2", texts)
    for model in (module, scripted, exported, [module, module]):
        found = attribute(model, texts, settings={"compute.precision": "float32"})
        np.testing.assert_allclose(found["delta"], expected["delta"], atol=1e-6)
    assert module.training
    assert next(module.parameters()).requires_grad
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(UsageError, match="model: int is no model; give a path"):
        attribute(3, texts)
    with pytest.raises(UsageError, match="str among models in memory"):
        attribute([module, "m.pt2"], texts)


def test_text_codes_and_one_hot_mean_the_same() -> None:
    texts = random_sequences(3, L)
    texts[1] = texts[1][:7] + "N" + texts[1][8:]
    expected = attribute(net(), texts)
    codes = np.array([["ACGT".find(c) for c in text] for text in texts])
    one_hot = (codes[:, None] == np.arange(4)[:, None]).astype(np.float32)
    given = [
        codes,
        torch.as_tensor(codes),
        one_hot,
        torch.as_tensor(one_hot, dtype=torch.float64).requires_grad_(),
        one_hot.astype(bool),
        [codes[0].astype(np.uint8), one_hot[1], texts[2]],
        np.where(one_hot.sum(1, keepdims=True) == 0, 0.25, one_hot),
    ]
    for sequences in given:
        np.testing.assert_array_equal(attribute(net(), sequences)["delta"], expected["delta"])
    single = attribute(net(), one_hot[0])
    np.testing.assert_allclose(single["delta"], expected["delta"][:1], atol=1e-6)


def test_sequences_of_several_lengths() -> None:
    short, long = random_sequences(2, L), random_sequences(1, L + 5)
    found = attribute(net(), {"a": short[0], "b": long[0], "c": short[1]})
    assert isinstance(found, AttributionGroups)
    assert len(found) == 3
    assert found[L].names == ["a", "c"]
    alone = attribute(net(), long)
    np.testing.assert_array_equal(found[L + 5]["delta"], alone["delta"])
    table = found.to_dataframe()
    assert len(table) == 3 * (2 * L + L + 5)
    assert "b" in found._repr_html_()


def test_axes_are_known() -> None:
    texts = random_sequences(2, L)
    texts[0] = texts[0][:9] + "N" + texts[0][10:]
    names = ["x", "y", "z"]
    found = attribute(
        net(),
        dict(zip(("one", "<two>"), texts, strict=True)),
        scores=["delta", "l2", "contribution"],
        mutate=(5, 25),
        settings={"model.target_names": names},
    )
    labelled = found.to_xarray()
    assert labelled["delta"].dims == ("region", "targets", "letter", "position")
    assert labelled["contribution"].dims == ("region", "targets", "position")
    assert labelled["l2"].dims == ("region", "letter", "position")
    one = labelled["delta"].sel(region="one", targets="y", letter="G", position=12)
    assert float(one) == found["delta"][0, 1, 2, 7]
    assert str(labelled["sequence"].sel(region="one").item()) == texts[0]
    table = found.to_dataframe()
    assert list(table.columns) == ["name", "position", "ref", "alt", *names]
    assert len(table) == 3 * (2 * 20 - 1)
    line = table[(table.name == "<two>") & (table.position == 12)].iloc[0]
    assert line.ref == texts[1][12]
    assert line.y == found["delta"][1, 1, "ACGT".index(line.alt), 7]
    assert list(found.to_dataframe("l2").columns)[4:] == ["l2"]
    assert "&lt;two&gt;" in found._repr_html_()
    with pytest.raises(UsageError, match="contribution has no mutations"):
        found.to_dataframe("contribution")


def test_scores_that_were_not_asked_for_are_made() -> None:
    texts = random_sequences(2, L)
    every = attribute(net(), texts, scores=SCORES)
    one = attribute(net(), texts)
    for name in SCORES:
        np.testing.assert_allclose(one[name], every[name], atol=1e-6)
    with pytest.raises(UsageError, match="no dleta; computed: delta"):
        one["dleta"]
    with pytest.raises(UsageError, match="no delta; computed: l2"):
        attribute(net(), texts, scores=["l2"])["delta"]


def test_pictures_in_a_notebook() -> None:
    found = attribute(net(), {"peak": random_sequences(1, L)[0]})
    for options in ({}, {"sequence": "peak", "target": [0, 2], "stretch": "3:20"}):
        figure = found.plot(**options)
        assert figure._repr_png_()[:4] == b"\x89PNG"
    only_l2 = attribute(net(), random_sequences(1, L), scores=["l2"])
    assert only_l2.plot().axes
    with pytest.raises(UsageError, match="sequence: no sequence peek; did you mean peak"):
        found.plot("peek")


def test_progress_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    attribute(net(), random_sequences(3, L), progress=True)
    assert "3/3" in capsys.readouterr().err
    attribute(net(), random_sequences(3, L))
    assert capsys.readouterr().err == ""


def test_rows_are_read_when_asked_for(tmp_path: Path) -> None:
    rows = [("chr1", i, i + 20, f"r{i}", "+") for i in range(3)]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(3, 20))
    with open_result(made.path) as result:
        assert [row.name for row in result] == ["r0", "r1", "r2"]
        row = result.row(result.find("r1"))
        assert (row.chrom, row.start) == ("chr1", 1)
        np.testing.assert_array_equal(result.scores("delta", row.index, 1), made.delta[1, 1])
