"""Sites of motifs, as TF-MoDISco writes them, in a result and on its page."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.results import Made, make_result, random_sequences
from yuzu_cli.errors import InputError
from yuzu_cli.results.motifs import Motifs
from yuzu_cli.results.report import report
from yuzu_cli.results.streaming import Source

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def motif_file(tmp_path: Path, made: Made, window: int) -> Path:
    """As TF-MoDISco writes it: sites of width 4 in rows 1 and 2, the second one reversed."""
    path = tmp_path / "motifs.h5"
    first = 20 - window // 2
    table = np.eye(4, dtype=bool)[made.codes[1:3, first + 2 : first + 6]]
    table[1] = table[1][::-1, ::-1]
    scores = np.zeros((4, 4))
    scores[1, 1] = scores[2, 2] = 1
    with h5py.File(path, "w") as file:
        file.attrs["window_size"] = window
        for name in ("pos_patterns/pattern_0", "pos_patterns/pattern_1", "neg_patterns/pattern_0"):
            pattern = file.create_group(name)
            pattern["contrib_scores"] = scores
            seqlets = pattern.create_group("seqlets")
            for key, values in (("example_idx", [1, 2]), ("start", [2, 2]), ("end", [6, 6])):
                seqlets[key] = values
            seqlets["sequence"] = table
    return path


def test_motifs_are_placed_in_the_windows_and_told(odd: Made, tmp_path: Path) -> None:
    path = motif_file(tmp_path, odd, window=20)
    with Source(odd.path) as source:
        found = Motifs(path, source)
        sites = found.of(source.row(1))  # bases of the forward strand, of 300 to 340
    assert [(one.name, one.letters, one.sites) for one in found.patterns] == [
        ("pos 0", "CG", 2),
        ("pos 1", "CG", 2),
        ("neg 0", "CG", 2),
    ]
    assert sites == [(324, 328, "neg 0"), (324, 328, "pos 0"), (324, 328, "pos 1")]
    text = report(odd.path, tmp_path / "r.html", motifs=path, top=1).read_text()
    assert 'id="motifs"' in text
    assert "<td>neg 0, pos 0, pos 1</td>" in text


def test_motifs_of_another_result_are_refused(odd: Made, tmp_path: Path) -> None:
    path = motif_file(tmp_path, odd, window=20)
    rows = [("c", 0, 40, "x", "+")] * 4
    other = make_result(tmp_path / "other.h5", rows, random_sequences(4, 40, seed=9))
    with pytest.raises(InputError, match="its sites are not those of"):
        report(other.path, tmp_path / "r.html", motifs=path)
    with pytest.raises(InputError, match="has no patterns"):
        report(odd.path, tmp_path / "r.html", motifs=odd.path)
