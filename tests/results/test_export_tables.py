"""Results as tables of mutations and as plain arrays."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest
from Bio import bgzf

from tests.support.results import Made, make_result, random_sequences
from yuzu_cli.results.derived import STATISTICS
from yuzu_cli.results.export import ExportOptions, export


def test_tsv_has_one_line_per_mutation_on_the_forward_strand(mixed: Made, tmp_path: Path) -> None:
    export(mixed.path, "tsv", tmp_path / "t.tsv.gz")
    with (tmp_path / "t.tsv.gz").open("rb") as raw:
        assert next(iter(bgzf.BgzfBlocks(raw)))[0] == 0  # tabix can index it
    with gzip.open(tmp_path / "t.tsv.gz", "rt") as file:
        header, *lines = [line.rstrip("\n").split("\t") for line in file]
    assert header == ["chrom", "position_0based", "ref", "alt", "name", "strand", "first", "second"]
    expected: dict[tuple[str, ...], np.ndarray] = {}
    for i, (chrom, start, end, name, strand) in enumerate(mixed.rows):
        for m in range(mixed.start, mixed.end):
            code = mixed.codes[i, m]
            for alt in range(4):
                if code in (255, alt):
                    continue
                minus = strand == "-"
                base = end - 1 - m if minus else start + m
                ref_letter = "ACGT"[3 - code if minus else code]
                alt_letter = "ACGT"[3 - alt if minus else alt]
                key = (chrom, str(base), ref_letter, alt_letter, name, strand)
                expected[key] = mixed.delta[i, :, alt, m - mixed.start]
    assert len(lines) == len(expected)
    for *place, first, second in lines:
        np.testing.assert_allclose([float(first), float(second)], expected[tuple(place)], rtol=1e-6)


@pytest.mark.parametrize(
    ("saved", "score", "header"),
    [("l2", None, ["l2"]), ("delta", "l2", ["l2"]), ("delta", "prediction", ["first", "second"])],
)
def test_tsv_of_another_score(
    tmp_path: Path, saved: str, score: str | None, header: list[str]
) -> None:
    rows = [("MA", 0, 5, "x", ".")]
    made = make_result(tmp_path / "in.h5", rows, ["MKKAM"], letters="AKM", save=(saved,))
    export(made.path, "tsv", tmp_path / "t.tsv", ExportOptions(score=score))
    lines = (tmp_path / "t.tsv").read_text().splitlines()
    assert lines[0].split("\t")[6:] == header
    assert len(lines) == 1 + 5 * 2
    first = made.delta[0, :, 0, 0]
    value = np.sqrt((first**2).sum()) if header == ["l2"] else (first + made.reference[0])[0]
    assert lines[1].split("\t")[:4] == ["MA", "0", "M", "A"]
    assert float(lines[1].split("\t")[6]) == pytest.approx(value, rel=1e-5)


def test_npz_holds_the_arrays_as_they_are(tmp_path: Path) -> None:
    rows = [("chr1", 7, 27, "ü", "+"), ("c", 9, 29, "", "-")]
    path = tmp_path / "in.h5"
    made = make_result(path, rows, random_sequences(2, 20), save=STATISTICS, dtype="float16")
    export(path, "npz", tmp_path / "o.npz", ExportOptions(targets=("second",)))
    with np.load(tmp_path / "o.npz") as got, h5py.File(path) as file:
        for name in STATISTICS:
            stored = file[f"scores/{name}"][()]
            expected = stored if name in ("l2", "jsd") else stored[:, 1:]
            assert got[f"scores/{name}"].dtype == np.float16
            np.testing.assert_array_equal(got[f"scores/{name}"], expected)
        assert got["regions/name"].tolist() == ["ü", ""]
        assert got["regions/start"].tolist() == [7, 9]
        assert got["targets"].tolist() == ["second"]
        np.testing.assert_array_equal(got["sequences"], made.codes)
        np.testing.assert_array_equal(got["reference"], made.reference[:, 1:])
        assert '"model_sha256"' in str(got["attributes"])
