"""Hand-over formats, read back by the tools they are for where those are installed."""

from __future__ import annotations

import gzip
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.results import MOTIF, Made, make_result, planted_result, random_sequences
from yuzu_cli.errors import InputError, OutputError, UsageError
from yuzu_cli.results.derived import STATISTICS, derive, source_of
from yuzu_cli.results.export import FORMATS, ExportOptions, export
from yuzu_cli.results.export.sweep import sweep
from yuzu_cli.results.streaming import Source

COMPLEMENT = [3, 2, 1, 0]


@pytest.fixture
def mixed(tmp_path: Path) -> Made:
    """Five windows of 12 on two chromosomes: overlapping, minus strand, an N, one padded."""
    sequences = random_sequences(5, 12)
    sequences[2] = sequences[2][:4] + "N" + sequences[2][5:]
    sequences[4] = "NNN" + sequences[4][3:]
    rows = [
        ("chr2", 100, 112, "a", "+"),
        ("chr1", 50, 62, "b", "-"),
        ("chr1", 56, 68, "c", "+"),
        ("chr1", 200, 212, "d", "."),
        ("chr2", -3, 9, "e", "+"),
    ]
    path = tmp_path / "in.h5"
    return make_result(path, rows, sequences, mutate=(2, 11), status=[0, 0, 0, 0, 2])


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


# --- scores that were not saved ---------------------------------------------------------------


@pytest.mark.parametrize("want", STATISTICS)
@pytest.mark.parametrize("have", ["delta", "centered", "prediction"])
def test_a_score_is_derived_from_any_full_one(tmp_path: Path, want: str, have: str) -> None:
    rows = [("chr1", 0, 20, "x", "+")]
    sequences = ["ACGTNACGTACGTACGTNGA"]
    every = make_result(tmp_path / "all.h5", rows, sequences, save=STATISTICS)
    make_result(tmp_path / "one.h5", rows, sequences, save=(have,))
    with Source(every.path) as full, Source(tmp_path / "one.h5") as one:
        expected = full.values(want, slice(0, 1), [0, 1])
        np.testing.assert_allclose(one.values(want, slice(0, 1), [0, 1]), expected, atol=2e-6)
        assert np.isnan(expected).any()


@pytest.mark.parametrize("have", ["contribution", "l2"])
def test_nothing_is_made_up_from_a_score_that_lost_too_much(tmp_path: Path, have: str) -> None:
    made = make_result(tmp_path / "in.h5", [("c", 0, 8, "x", "+")], ["ACGTACGT"], save=(have,))
    with pytest.raises(OutputError, match=f"centered is needed here, and {have} was saved"):
        export(made.path, "modisco", tmp_path / "m", ExportOptions(targets=("0",)))
    assert not (tmp_path / "m").exists()


def test_derive_prefers_what_was_saved() -> None:
    assert source_of("contribution", ("delta", "contribution")) == "contribution"
    assert source_of("l2", ("centered", "contribution")) == "centered"
    values = np.ones((1, 1, 4, 3), np.float16)
    out = derive("delta", "delta", values, np.zeros((1, 3), np.uint8), np.zeros((1, 1)))
    assert out.dtype == np.float32


# --- targets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ((), [0, 1, 2]),
        (("2", "0"), [2, 0]),
        (("open", "open"), [1]),
        (("1",), [0]),
        (("2,0",), [2, 0]),
        (("1-2", "0"), [1, 2, 0]),
    ],
    ids=["all", "order kept", "name, once", "a name that is a number wins", "list", "range"],
)
def test_targets_by_index_or_name(
    tmp_path: Path, wanted: tuple[str, ...], indices: list[int]
) -> None:
    rows = [("c", 0, 8, "x", "+")]
    made = make_result(tmp_path / "in.h5", rows, ["ACGTACGT"], targets=("1", "open", "deep"))
    with Source(made.path) as source:
        assert source.choose(wanted) == indices
        got = source.values("delta", slice(0, 1), indices)
        np.testing.assert_array_equal(got, made.delta[:, indices])


@pytest.mark.parametrize("wanted", [("none",), ("7",), ("-1",), ("0-2",), ("0,x",), ()])
def test_a_target_that_is_not_there_or_not_clear(mixed: Made, wanted: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="first, second"):
        export(mixed.path, "modisco", mixed.path.parent / "m", ExportOptions(targets=wanted))


# --- arrays -----------------------------------------------------------------------------------


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


def test_rows_with_unknown_letters_can_be_left_out(mixed: Made, tmp_path: Path) -> None:
    options = ExportOptions(targets=("0",), unknown="drop")
    done = export(mixed.path, "modisco", tmp_path / "m", options)
    assert done.rows == 3
    assert "2 rows with unknown letters are left out" in done.notes
    with np.load(tmp_path / "m/ohe.npz") as ohe:
        np.testing.assert_array_equal(ohe["arr_0"], one_hot(mixed)[[0, 1, 3]])


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


# --- tracks -----------------------------------------------------------------------------------

SIZES = "chr2\t105\nchr10\t40\nchr1\t250\n"


def expected_track(made: Made, target: int, overlap: str) -> dict[tuple[str, int], float]:
    """Base by base, the slow way."""
    seen: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for i, (chrom, start, end, _, strand) in enumerate(made.rows):
        for m in range(made.start, made.end):
            value = made.contribution[i, target, m - made.start]
            base = end - 1 - m if strand == "-" else start + m
            limit = {"chr1": 250, "chr2": 105}[chrom]
            if 0 <= base < limit and not np.isnan(value):
                distance = abs(base + 0.5 - (start + end) / 2)
                seen.setdefault((chrom, base), []).append((distance, float(value)))
    if overlap == "mean":
        return {key: float(np.mean([v for _, v in values])) for key, values in seen.items()}
    return {key: min(values)[1] for key, values in seen.items()}


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    path = tmp_path / "sizes.tsv"
    path.write_text(SIZES)
    return path


@pytest.mark.parametrize("overlap", ["mean", "nearest"])
@pytest.mark.parametrize("saved", ["delta", "contribution"])
def test_bedgraph_is_the_contribution_of_each_base(
    tmp_path: Path, mixed: Made, sizes: Path, overlap: str, saved: str
) -> None:
    if saved != "delta":
        with h5py.File(mixed.path, "a") as file:
            file[f"scores/{saved}"] = mixed.contribution
            del file["scores/delta"]
    options = ExportOptions(targets=("1",), chrom_sizes=sizes, overlap=overlap)
    export(mixed.path, "bedgraph", tmp_path / "t.bedgraph", options)
    lines = [line.split("\t") for line in (tmp_path / "t.bedgraph").read_text().splitlines()]
    assert lines == sorted(lines, key=lambda line: (line[0], int(line[1])))
    got = {(chrom, int(start)): float(value) for chrom, start, _, value in lines}
    expected = expected_track(mixed, 1, overlap)
    assert got.keys() == expected.keys()
    assert [got[key] for key in expected] == pytest.approx(list(expected.values()), rel=1e-5)


@pytest.mark.parametrize("overlap", ["mean", "nearest"])
def test_bigwig_reads_back(tmp_path: Path, mixed: Made, sizes: Path, overlap: str) -> None:
    pyBigWig = pytest.importorskip("pyBigWig")  # noqa: N806
    options = ExportOptions(targets=("0",), chrom_sizes=sizes, overlap=overlap)
    export(mixed.path, "bigwig", tmp_path / "t.bw", options)
    file = pyBigWig.open(str(tmp_path / "t.bw"))
    assert file.chroms() == {"chr1": 250, "chr10": 40, "chr2": 105}
    expected = expected_track(mixed, 0, overlap)
    for chrom, size in (("chr1", 250), ("chr2", 105)):
        for base, value in enumerate(file.values(chrom, 0, size)):
            if (chrom, base) in expected:
                assert value == pytest.approx(expected[(chrom, base)], rel=1e-5)
            else:
                assert np.isnan(value)
    assert file.intervals("chr10") is None
    file.close()


@pytest.mark.parametrize("kind", ["fasta", "gzip", "fai", "beside", "config", "records"])
def test_where_the_sizes_come_from(tmp_path: Path, kind: str) -> None:
    pyBigWig = pytest.importorskip("pyBigWig")  # noqa: N806
    genome = tmp_path / ("g.fa.gz" if kind == "gzip" else "g.fa")
    text = ">chr1 words\n" + "ACGTACGTAC\n" * 3 + ">chr2\nACG\n"
    genome.write_bytes(gzip.compress(text.encode()) if kind == "gzip" else text.encode())
    index = tmp_path / "g.fa.fai"
    if kind in ("fai", "beside"):
        index.write_text("chr1\t30\t12\t10\t11\nchr2\t3\t50\t3\t4\n")
        genome.unlink()
    config = {"config": f"input: {{genome: {genome}}}", "records": "input: {fasta: x.fa}"}
    made = make_result(
        tmp_path / "in.h5",
        [("chr1", 0, 8, "x", ".")],
        ["ACGTACGT"],
        targets=("t",),
        config=config.get(kind, "{}"),
    )
    option = {"fai": index, "config": None, "records": None}.get(kind, genome)
    export(made.path, "bigwig", tmp_path / "t.bw", ExportOptions(genome=option))
    file = pyBigWig.open(str(tmp_path / "t.bw"))
    assert file.chroms() == ({"chr1": 8} if kind == "records" else {"chr1": 30, "chr2": 3})
    file.close()


def test_the_index_of_another_genome_is_found_out(tmp_path: Path, mixed: Made) -> None:
    """As when a genome was replaced by one of the same size, and older."""
    chrom, genome = mixed.rows[0][0], tmp_path / "g.fa"
    genome.write_text(f">{'x' * len(chrom)}\n{'ACGT' * 500}\n")
    (tmp_path / "g.fa.fai").write_text(f"{chrom}\t2000\t{len(chrom) + 2}\t2000\t2001\n")
    options = ExportOptions(targets=("0",), genome=genome)
    with pytest.raises(InputError, match=r"the index g\.fa\.fai .*delete"):
        export(mixed.path, "bedgraph", tmp_path / "t.bedgraph", options)


def test_faults_of_sizes(tmp_path: Path, mixed: Made) -> None:
    out, table = tmp_path / "t.bw", tmp_path / "s.tsv"
    with pytest.raises(UsageError, match="--genome or --chrom-sizes"):
        export(mixed.path, "bigwig", out, ExportOptions(targets=("0",)))
    table.write_text("chr1 250\n")
    with pytest.raises(InputError, match=r"s\.tsv:1: not a name and a size"):
        export(mixed.path, "bigwig", out, ExportOptions(targets=("0",), chrom_sizes=table))
    table.write_text("1\t250\n")
    with pytest.raises(InputError, match="chromosome chr1 of the result is not among the 1"):
        export(mixed.path, "bigwig", out, ExportOptions(targets=("0",), chrom_sizes=table))
    assert not out.exists()


@pytest.mark.parametrize("to", ["bigwig", "bedgraph"])
def test_records_of_one_name_are_not_averaged(tmp_path: Path, to: str) -> None:
    rows = [("a", 0, 8, "a", "."), ("b", 0, 8, "b", "."), ("a", 0, 8, "a", ".")]
    sequences = ["ACGTACGT", "TTTTACGT", "GGGGACGT"]
    fasta = make_result(
        tmp_path / "f.h5", rows, sequences, targets=("t",), config="input: {fasta: x.fa}"
    )
    with pytest.raises(OutputError, match="2 FASTA records are named a"):
        export(fasta.path, to, tmp_path / "out", ExportOptions())
    bed = make_result(
        tmp_path / "b.h5", rows, sequences, targets=("t",), config="input: {bed: x.bed}"
    )
    (tmp_path / "s.tsv").write_text("a\t8\nb\t8\n")
    options = ExportOptions(chrom_sizes=tmp_path / "s.tsv")
    assert export(bed.path, to, tmp_path / "out", options).rows == 3


@pytest.mark.parametrize("to", ["bigwig", "bedgraph"])
def test_a_result_without_rows(tmp_path: Path, to: str) -> None:
    made = make_result(tmp_path / "f.h5", [], [], targets=("t",), config="input: {fasta: x.fa}")
    (tmp_path / "s.tsv").write_text("a\t8\n")
    options = ExportOptions(chrom_sizes=tmp_path / "s.tsv")
    assert export(made.path, to, tmp_path / "given", options).rows == 0
    if to == "bedgraph":
        assert export(made.path, to, tmp_path / "out", ExportOptions()).rows == 0
        return
    with pytest.raises(OutputError, match="has no regions"):
        export(made.path, to, tmp_path / "out", ExportOptions())


def test_sweep_splits_at_gaps_and_forgets_what_is_done() -> None:
    nan, v = np.nan, np.float32
    windows = [
        (0, np.array([1, nan, 3], v), 3),
        (2, np.array([5, 7], v), 6),
        (9, np.array([nan, 2], v), 20),
    ]
    got = [(start, values.tolist()) for start, values in sweep(windows)]
    assert got == [(0, [1.0]), (2, [4.0, 7.0]), (10, [2.0])]


# --- tables -----------------------------------------------------------------------------------


def test_tsv_has_one_line_per_mutation_on_the_forward_strand(mixed: Made, tmp_path: Path) -> None:
    export(mixed.path, "tsv", tmp_path / "t.tsv.gz")
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


# --- files ------------------------------------------------------------------------------------


def out_of(to: str, folder: Path) -> Path:
    return folder / ("m" if to == "modisco" else f"out.{'h5' if to != 'npz' else 'npz'}")


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_replaces_only_when_told(
    to: str, mixed: Made, tmp_path: Path, sizes: Path
) -> None:
    out = out_of(to, tmp_path / "o")
    options = ExportOptions(targets=("first",), chrom_sizes=sizes)
    first = export(mixed.path, to, out, options)
    before = {path: path.read_bytes() for path in first.paths}
    with pytest.raises(OutputError, match="exists already; --force replaces it"):
        export(mixed.path, to, out, options)
    again = ExportOptions(targets=("first",), chrom_sizes=sizes, force=True)
    export(mixed.path, to, out, again)
    assert {path: path.read_bytes() for path in first.paths} == before
    left = [path for path in (tmp_path / "o").rglob("*") if path.is_file()]
    assert sorted(left) == sorted(first.paths)


@pytest.mark.parametrize("to", FORMATS)
def test_a_failed_export_leaves_nothing(
    to: str, mixed: Made, tmp_path: Path, sizes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> np.ndarray:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Source, "values", fail)
    options = ExportOptions(targets=("first",), chrom_sizes=sizes)
    with pytest.raises(OutputError, match="the disk is full"):
        export(mixed.path, to, out_of(to, tmp_path / "o"), options)
    assert [path for path in (tmp_path / "o").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("to", ["chrombpnet", "basenji"])
def test_a_disk_that_fills_up_under_hdf5_is_an_error(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 left to itself crashes the process here."""
    rows = [("c", i * 400, i * 400 + 400, f"r{i}", "+") for i in range(30)]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(30, 400), targets=("first",))
    room = 20_000
    write = os.pwrite

    def limited(fd: int, data: bytes, offset: int) -> int:
        if offset + len(data) > room:
            raise OSError(28, "No space left on device")
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", limited)
    with pytest.raises(OutputError, match="the disk is full"):
        export(made.path, to, tmp_path / "o.h5")
    assert list(tmp_path.iterdir()) == [made.path]


@pytest.mark.parametrize("to", FORMATS)
def test_a_result_without_rows_is_exported(to: str, tmp_path: Path, sizes: Path) -> None:
    path = tmp_path / "in.h5"
    make_result(path, [], [], targets=("first",))
    done = export(path, to, out_of(to, tmp_path / "o"), ExportOptions(chrom_sizes=sizes))
    assert done.rows == 0
    assert all(out.exists() for out in done.paths)


@pytest.mark.parametrize("to", ["modisco", "chrombpnet", "basenji"])
def test_a_batch_may_have_nothing_to_write(
    to: str, mixed: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of one row, two of which hold only a row that is left out."""
    monkeypatch.setattr("yuzu_cli.results.streaming._BATCH_BYTES", 1)
    options = ExportOptions(targets=("first",), unknown="drop")
    done = export(mixed.path, to, out_of(to, tmp_path / "o"), options)
    assert done.rows == 3
    if to == "modisco":
        with np.load(tmp_path / "o/m/attr.npz") as attr:
            expected = whole(mixed, mixed.centered[:, 0])[[0, 1, 3]]
            np.testing.assert_allclose(attr["arr_0"], expected, atol=1e-6)


@pytest.mark.parametrize("when", ["entries", "end"])
def test_a_disk_that_fills_up_under_a_bigwig_is_an_error(
    when: str, tmp_path: Path, mixed: Made, sizes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyBigWig reports a failed write as a SystemError, and crashes when it then closes."""
    pyBigWig = pytest.importorskip("pyBigWig")  # noqa: N806

    class Full:
        def __init__(self, *_: object) -> None:
            self.closed = False

        def addHeader(self, *_: object) -> None:  # noqa: N802
            pass

        def addEntries(self, *_: object, **__: object) -> None:  # noqa: N802
            if when == "entries":
                raise SystemError("returned NULL without setting an exception")

        def close(self) -> None:
            raise AssertionError("closing would crash")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyBigWig, "open", Full)
    monkeypatch.setattr(os, "posix_fallocate", full)
    options = ExportOptions(targets=("first",), chrom_sizes=sizes)
    with pytest.raises(OutputError, match="the disk is full"):
        export(mixed.path, "bigwig", tmp_path / "o" / "t.bw", options)
    assert list((tmp_path / "o").iterdir()) == []


def test_what_cannot_be_exported(tmp_path: Path, mixed: Made) -> None:
    with pytest.raises(UsageError, match="unknown format 'bed'"):
        export(mixed.path, "bed", tmp_path / "o")
    with pytest.raises(UsageError, match="is the result itself"):
        export(mixed.path, "npz", mixed.path, ExportOptions(force=True))
    with pytest.raises(OutputError, match="no such file"):
        export(tmp_path / "none.h5", "npz", tmp_path / "o")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(OutputError, match="not an HDF5 file"):
        export(tmp_path / "text.h5", "npz", tmp_path / "o")


@pytest.mark.parametrize("to", ["modisco", "bedgraph", "npz"])
def test_memory_does_not_grow_with_rows(to: str, tmp_path: Path) -> None:
    """The largest array held is that of a batch: batches of one row here, and never all of them."""
    made = make_result(
        tmp_path / "in.h5",
        [("c", i * 10, i * 10 + 8, "x", "+") for i in range(40)],
        random_sequences(40, 8),
        targets=("t",),
    )
    asked: list[int] = []
    original = Source.values

    def spy(self: Source, statistic: str, rows: slice, targets: list[int]) -> np.ndarray:
        asked.append(rows.stop - rows.start)
        return original(self, statistic, rows, targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "values", spy)
        patch.setattr("yuzu_cli.results.streaming._BATCH_BYTES", 4 * 4 * 8 * 3)
        export(made.path, to, tmp_path / "o.npz")
    assert asked == [3] * 13 + [1]


# --- the real tool ----------------------------------------------------------------------------


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
