"""Tracks along the genome: bigWig, bedGraph, and where the sizes of chromosomes come from."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.results import Made, make_result
from yuzu_cli.errors import InputError, OutputError, UsageError
from yuzu_cli.results.export import ExportOptions, export
from yuzu_cli.results.export.sweep import sweep


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


def test_a_track_of_nothing_needs_a_genome_for_its_header(tmp_path: Path) -> None:
    made = make_result(tmp_path / "f.h5", [], [], targets=("t",), config="input: {fasta: x.fa}")
    assert export(made.path, "bedgraph", tmp_path / "out").rows == 0
    with pytest.raises(OutputError, match="has no regions"):
        export(made.path, "bigwig", tmp_path / "out.bw")


def test_sweep_splits_at_gaps_and_forgets_what_is_done() -> None:
    nan, v = np.nan, np.float32
    windows = [
        (0, np.array([1, nan, 3], v), 3),
        (2, np.array([5, 7], v), 6),
        (9, np.array([nan, 2], v), 20),
    ]
    got = [(start, values.tolist()) for start, values in sweep(windows)]
    assert got == [(0, [1.0]), (2, [4.0, 7.0]), (10, [2.0])]


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
