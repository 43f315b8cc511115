"""The door for notebooks: light to import, and the numbers of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import yuzu_cli
from tests.support.results import make_result, random_sequences
from yuzu_cli import attribute, engine, open_result
from yuzu_cli.config import load_config
from yuzu_cli.errors import InputError, UsageError

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
        (["ACGT" * 8, "ACG"], {}, InputError, "letters"),
        (["A" * L], {"scores": ["dleta"]}, UsageError, "score.save"),
        (["A" * L], {"settings": {"compute.batchsize": 3}}, UsageError, "batchsize"),
        (["A" * 29 + "N"], {"settings": {"input.unknown": "drop"}}, InputError, "dropped"),
    ],
)
def test_faults(model: Path, sequences: list, more: dict, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        attribute(model, sequences, **more)


def test_rows_are_read_when_asked_for(tmp_path: Path) -> None:
    rows = [("chr1", i, i + 20, f"r{i}", "+") for i in range(3)]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(3, 20))
    with open_result(made.path) as result:
        assert [row.name for row in result] == ["r0", "r1", "r2"]
        row = result.row(result.find("r1"))
        assert (row.chrom, row.start) == ("chr1", 1)
        np.testing.assert_array_equal(result.scores("delta", row.index, 1), made.delta[1, 1])
