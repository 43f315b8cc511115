"""Arrays for TF-MoDISco, chrombpnet and basenji, read back by the tool where it is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.results import MOTIF, Made, make_result, planted_result
from yuzu_cli.results.export import ExportOptions, export

COMPLEMENT = [3, 2, 1, 0]


def forward(made: Made, values: np.ndarray, letters: int | None = None) -> np.ndarray:
    values = values.copy()
    for i, row in enumerate(made.rows):
        if row[4] == "-":
            turned = values[i][..., ::-1]
            values[i] = turned if letters is None else np.take(turned, COMPLEMENT, letters - 1)
    return values


def whole(made: Made, values: np.ndarray) -> np.ndarray:
    """Scores of the mutated range laid into the window, zero elsewhere and where NaN."""
    out = np.zeros((*values.shape[:-1], made.codes.shape[1]), np.float32)
    out[..., made.start : made.end] = np.nan_to_num(values)
    return out


def one_hot(made: Made) -> np.ndarray:
    return (made.codes[:, None, :] == np.arange(4)[None, :, None]).astype(np.int8)


def test_modisco_arrays(mixed: Made, tmp_path: Path) -> None:
    done = export(mixed.path, "modisco", tmp_path / "m", ExportOptions(targets=("second",)))
    with np.load(tmp_path / "m/ohe.npz") as ohe, np.load(tmp_path / "m/attr.npz") as attr:
        assert ohe.files == attr.files == ["arr_0"]
        np.testing.assert_array_equal(ohe["arr_0"], one_hot(mixed))
        np.testing.assert_allclose(attr["arr_0"], whole(mixed, mixed.centered[:, 1]), atol=1e-6)
    lines = (tmp_path / "m/rows.tsv").read_text().splitlines()
    assert [line.split("\t")[:3] for line in lines[1:3]] == [["0", "0", "chr2"], ["1", "2", "chr1"]]
    assert done.rows == 5
    assert any("2:11 of 12" in note for note in done.notes)


@pytest.mark.parametrize("to", ["modisco", "chrombpnet", "basenji"])
@pytest.mark.parametrize("strand", ["+", "-"])
def test_letters_are_put_into_the_order_acgt(tmp_path: Path, to: str, strand: str) -> None:
    """Letters of the model in an order that is not its own inverse, nor its complement's mirror."""
    rows, letters = [("c", 0, 8, "x", strand)], "GUAC"
    made = make_result(tmp_path / "in.h5", rows, ["UUGCAACG"], letters=letters)
    out = tmp_path / ("m" if to == "modisco" else "x.h5")
    export(made.path, to, out, ExportOptions(targets=("0",)))
    if to == "modisco":
        with np.load(out / "ohe.npz") as ohe, np.load(out / "attr.npz") as attr:
            seq, scores = ohe["arr_0"][0], attr["arr_0"][0]
    else:
        names = ("raw/seq", "shap/seq") if to == "chrombpnet" else ("seqs", "sum")
        with h5py.File(out) as file:
            seq, scores = (file[name][0] for name in names)
        if to == "basenji":
            seq, scores = seq.T, scores[..., 0].T
    turned = to == "chrombpnet" and strand == "-"  # the one that runs along the forward strand
    expected = made.centered[0, 0][[letters.index(letter) for letter in "ACGU"]]
    if turned:
        expected = expected[::-1, ::-1]
    text = "".join("ACGT"[i] for i in seq.argmax(axis=0))
    assert text == ("CGTTGCAA" if turned else "TTGCAACG")
    np.testing.assert_allclose(scores.astype(float), expected, rtol=1e-3, atol=1e-6)


def test_chrombpnet_layout(mixed: Made, tmp_path: Path) -> None:
    done = export(mixed.path, "chrombpnet", tmp_path / "c.h5", ExportOptions(targets=("first",)))
    keep = [0, 1, 2, 3]
    seq = forward(mixed, one_hot(mixed), letters=1)[keep]
    scores = forward(mixed, whole(mixed, mixed.centered[:, 0]), letters=1)[keep]
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["raw/seq"].dtype == np.int8
        for name in ("shap/seq", "projected_shap/seq"):
            assert file[name].dtype == np.float16
            assert file[name].compression == "gzip"
        np.testing.assert_array_equal(file["raw/seq"][()], seq)
        np.testing.assert_array_equal(file["shap/seq"][()], scores.astype(np.float16))
        projected = file["projected_shap/seq"][()]
        np.testing.assert_array_equal(projected, scores.astype(np.float16) * seq)
    assert any("past a chromosome's end" in note for note in done.notes)


def test_chrombpnet_bed_points_at_the_bases_of_its_row(mixed: Made, tmp_path: Path) -> None:
    """What chrombpnet's own track writer does: start + summit - L/2 is column 0 of the row."""
    export(mixed.path, "chrombpnet", tmp_path / "c.h5", ExportOptions(targets=("first",)))
    lines = [line.split("\t") for line in (tmp_path / "c.bed").read_text().splitlines()]
    assert {len(line) for line in lines} == {10}
    with h5py.File(tmp_path / "c.h5") as file:
        values = file["projected_shap/seq"][()].sum(axis=1)
    track: dict[tuple[str, int], float] = {}
    for line, row in zip(lines, values, strict=True):
        first = int(line[1]) + int(line[9]) - len(row) // 2
        track.update({(line[0], first + i): float(value) for i, value in enumerate(row)})
    # Row b is on the minus strand of chr1:50-62: its last mutated letter is the leftmost base.
    assert track[("chr1", 51)] == pytest.approx(mixed.contribution[1, 0, -1], rel=2e-3)


def test_an_odd_window_loses_its_last_base_for_chrombpnet(tmp_path: Path) -> None:
    made = make_result(tmp_path / "in.h5", [("c", 5, 14, "x", "+")], ["ACGTACGTA"])
    done = export(made.path, "chrombpnet", tmp_path / "c.h5", ExportOptions(targets=("0",)))
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["raw/seq"].shape == (1, 4, 8)
    assert any("odd length" in note for note in done.notes)
    assert (tmp_path / "c.bed").read_text().split("\t")[9] == "4\n"


def test_basenji_layout(mixed: Made, tmp_path: Path) -> None:
    export(mixed.path, "basenji", tmp_path / "b")
    with h5py.File(tmp_path / "b/scores.h5") as file:
        assert file["seqs"].dtype == bool
        assert file["sum"].dtype == np.float16
        keep = [0, 1, 3]
        expected = whole(mixed, mixed.centered)[keep].transpose(0, 3, 2, 1)
        np.testing.assert_array_equal(file["sum"][()], expected.astype(np.float16))
        assert file["chr"][()].tolist() == [b"chr2", b"chr1", b"chr1"]
        assert file["start"][()].tolist() == [100, 50, 200]
        assert file["end"][()].tolist() == [112, 62, 212]
        assert file["strand"][()].tolist() == [b"+", b"-", b"+"]
        # What basenji's plot script does with a row.
        seqs, scores = file["seqs"][1], file["sum"][1]
        assert scores[seqs].shape == (12, 2)
        effect = scores[2:11, :, 0] - scores[seqs][2:11, [0]]
        np.testing.assert_allclose(effect.T, mixed.delta[1, 0], atol=6e-3)


def test_basenji_keeps_one_true_in_an_unknown_column(mixed: Made, tmp_path: Path) -> None:
    options = ExportOptions(unknown="keep", score="delta")
    export(mixed.path, "basenji", tmp_path / "b.h5", options)
    with h5py.File(tmp_path / "b.h5") as file:
        assert (file["seqs"][()].sum(axis=2) == 1).all()
        assert not file["delta"][2, 4].any()


@pytest.mark.parametrize(
    ("scale", "words"), [(1e-5, "coarse"), (1e6, "cut to 65504")], ids=["small", "large"]
)
def test_float16_says_what_it_cannot_hold(tmp_path: Path, scale: float, words: str) -> None:
    delta = np.full((1, 1, 4, 8), scale, np.float32)
    rows = [("c", 0, 8, "x", "+")]
    made = make_result(tmp_path / "in.h5", rows, ["ACGTACGT"], targets=("t",), delta=delta)
    done = export(made.path, "chrombpnet", tmp_path / "c.h5")
    assert any(words in note for note in done.notes)
    with h5py.File(tmp_path / "c.h5") as file:
        assert np.isfinite(file["shap/seq"][()]).all()


@pytest.mark.parametrize("to", ["modisco", "chrombpnet", "basenji"])
def test_a_batch_may_have_nothing_to_write(
    to: str, mixed: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of one row, two of which hold only a row that is left out."""
    monkeypatch.setattr("yuzu_cli.results.streaming._BATCH_BYTES", 1)
    options = ExportOptions(targets=("first",), unknown="drop")
    done = export(mixed.path, to, tmp_path / "o", options)
    assert done.rows == 3
    assert "2 rows with unknown letters are left out" in done.notes
    if to == "modisco":
        with np.load(tmp_path / "o/ohe.npz") as ohe, np.load(tmp_path / "o/attr.npz") as attr:
            np.testing.assert_array_equal(ohe["arr_0"], one_hot(mixed)[[0, 1, 3]])
            expected = whole(mixed, mixed.centered[:, 0])[[0, 1, 3]]
            np.testing.assert_allclose(attr["arr_0"], expected, atol=1e-6)


def test_modisco_finds_the_planted_motif(tmp_path: Path) -> None:
    """`modisco motifs`, from the package modisco-lite, on both layouts that it reads."""
    if importlib.util.find_spec("modiscolite") is None:
        pytest.skip("modisco-lite is not installed")
    program = shutil.which("modisco", path=str(Path(sys.executable).parent))
    assert program is not None
    made = planted_result(tmp_path / "in.h5", n=150, length=200)
    export(made.path, "modisco", tmp_path / "m")
    export(made.path, "chrombpnet", tmp_path / "c.h5")
    for inputs in (["-s", "m/ohe.npz", "-a", "m/attr.npz"], ["-i", "c.h5"]):
        command = [program, "motifs", *inputs, "-n", "2000", "-w", "200", "-o", "found.h5"]
        subprocess.run(
            command, cwd=tmp_path, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        with h5py.File(tmp_path / "found.h5") as file:
            patterns = file["pos_patterns"]
            words = [
                "".join("ACGT"[i] for i in patterns[name]["sequence"][()].argmax(axis=1))
                for name in patterns
            ]
        reverse = MOTIF.translate(str.maketrans("ACGT", "TGCA"))[::-1]
        assert any(MOTIF in word or reverse in word for word in words), words
