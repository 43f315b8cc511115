"""Windows of FASTA records: names, lengths, letters, and every way the file may come."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import sys
import tempfile
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from Bio import bgzf

from tests.support.inputs import DNA, open_windows
from yuzu_cli.alphabet import Alphabet, parse_alphabet
from yuzu_cli.inputs.windows import Window

TEXT = ">a one\nACGT\nAC\n>b\tx\nacg\nuuN\n>a\nTTTTTT\n"
EXPECTED = [("a", "ACGTAC"), ("b", "ACGTTN"), ("a", "TTTTTT")]


def read(path: str, alphabet: Alphabet = DNA, **options: Any) -> list[Window]:
    with open_windows(alphabet=alphabet, fasta=path, **options) as stream:
        return list(stream.iterate())


def seen(windows: list[Window]) -> list[tuple[str, str]]:
    return [(window.region.name, DNA.decode(window.codes)) for window in windows]


def test_regions_and_status(tmp_path: Path) -> None:
    path = tmp_path / "s.fa"
    path.write_text(TEXT)
    got = read(str(path))
    assert seen(got) == EXPECTED
    assert [window.status for window in got] == [0, 1, 0]
    for index, window in enumerate(got):
        region = window.region
        assert (region.chrom, region.start, region.end) == (region.name, 0, 6)
        assert (region.strand, region.input_index) == (".", index)


LAYOUTS = {
    "plain": TEXT,
    "crlf": TEXT.replace("\n", "\r\n"),
    "no-newline-at-end": TEXT.rstrip(),
    "blank-lines": "\n\n" + TEXT.replace("\n", "\n\n"),
    "uneven-lines": TEXT.replace("ACGT\nAC", "A\nCGTA\nC"),
    "spaces": TEXT.replace("ACGT", "AC GT "),
    "comments": "; old\n" + TEXT.replace("TTT\n", "TTT\n;more\n"),
    "byte-order-mark": "\ufeff" + TEXT,
}


@pytest.mark.parametrize("packing", ["plain", "gzip", "two-member-gzip", "bgzip"])
@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path: Path, text: str, packing: str) -> None:
    path, raw = tmp_path / "s", text.encode()
    if packing == "bgzip":
        with bgzf.BgzfWriter(str(path), "wb") as file:
            file.write(raw)
    else:
        half = len(raw) // 2
        packed = {
            "plain": raw,
            "gzip": gzip.compress(raw),
            "two-member-gzip": gzip.compress(raw[:half]) + gzip.compress(raw[half:]),
        }
        path.write_bytes(packed[packing])
    with open_windows(fasta=str(path)) as stream:
        assert seen(list(stream.iterate())) == EXPECTED
        assert (stream.length, stream.n_records) == (6, 3)
        assert stream.sha256 == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    raw = gzip.compress(TEXT.encode()) if packed else TEXT.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(raw))))
    with open_windows(fasta="-") as stream:
        assert seen(list(stream.iterate())) == EXPECTED
        assert seen(list(stream.iterate(1, 2))) == EXPECTED[1:2]
        assert stream.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_named_pipe(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    raw = gzip.compress(TEXT.encode()) if packed else TEXT.encode()
    writer = threading.Thread(target=path.write_bytes, args=(raw,))
    writer.start()
    got = read(str(path))
    writer.join()
    assert seen(got) == EXPECTED


def test_unpacked_copies_have_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run cannot leave what has no name."""
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spool))
    path = tmp_path / "s.fa.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    with open_windows(fasta=str(path)) as stream:
        assert len(list(stream.iterate())) == 3
        assert list(spool.iterdir()) == []


CROPPED = {
    # letters, wrong_length, L, flank: what the window and its flanks hold
    "crop-even": ("AACGTT", "crop", 4, 0, "ACGT"),
    "crop-odd": ("AACGTTA", "crop", 4, 0, "ACGT"),
    "crop-flank": ("AACGTTA", "crop", 4, 1, "AACGTT"),
    "crop-wide-flank": ("AACGTTA", "crop", 4, 3, "NNAACGTTAN"),
    "pad-even": ("ACGT", "pad", 6, 0, "NACGTN"),
    "pad-odd": ("ACG", "pad", 6, 0, "NACGNN"),
    "pad-flank": ("ACG", "pad", 6, 2, "NNNACGNNNN"),
    "same": ("ACGT", "error", 4, 2, "NNACGTNN"),
}


@pytest.mark.parametrize(
    ("letters", "wrong_length", "length", "flank", "expected"), CROPPED.values(), ids=CROPPED
)
def test_lengths(
    tmp_path: Path, letters: str, wrong_length: str, length: int, flank: int, expected: str
) -> None:
    path = tmp_path / "s.fa"
    path.write_text(f">a\n{letters}\n")
    [window] = read(str(path), length=length, wrong_length=wrong_length, flank=flank)
    assert DNA.decode(window.codes) == expected
    assert (window.region.start, window.region.end) == (0, length)
    padded = "N" in expected[flank : flank + length]
    assert window.status == 4 * (wrong_length != "error") + padded


def test_padding_is_no_unknown_letter(tmp_path: Path) -> None:
    path = tmp_path / "s.fa"
    path.write_text(">a\nACG\n>b\nANG\n")
    got = read(str(path), length=5, wrong_length="pad", unknown="drop")
    assert seen(got) == [("a", "NACGN")]


def test_drop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s.fa"
    path.write_text(">e\n>a\nACGT\n>b\nAC\n>c\nACNT\n>d\nTTTT\n")
    options: dict[str, Any] = {"length": 4, "wrong_length": "drop"}
    assert [w.region.input_index for w in read(str(path), **options)] == [1, 3, 4]
    assert "2 of 5 records are dropped" in caplog.text
    assert [w.region.input_index for w in read(str(path), unknown="drop", **options)] == [1, 4]


def test_wrong_alphabet_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s.fa"
    path.write_text(">a\nMKVLLAAGIE\n")
    with caplog.at_level(logging.WARNING):
        read(str(path), parse_alphabet("ACDEFGHIKLMNPQRSTVWY"))
        assert caplog.text == ""
        read(str(path))
    assert "7 of 10 letters are unknown to the model" in caplog.text


def test_rna_counts_as_dna(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s.fa"
    path.write_text(">a\nUUUUa\n")
    assert seen(read(str(path))) == [("a", "TTTTA")]
    assert caplog.text == ""


def test_ranges_and_long_lines(tmp_path: Path) -> None:
    """Any range equals that slice of all; lines longer than what is read at once are joined."""
    path = tmp_path / "s.fa"
    spelled = [f"{number:012b}".translate({48: "A", 49: "C"}) for number in range(2100)]
    with path.open("w") as file:
        for number, letters in enumerate(spelled):
            header = f">r{number} {'d' * (70_000 * (number == 5))}"
            file.write(f"{header}\n{letters[:6]}\n{letters[6:]}\n")
    with open_windows(fasta=str(path)) as stream:
        whole = seen(list(stream.iterate()))
        assert whole == [(f"r{number}", letters) for number, letters in enumerate(spelled)]
        for start, stop in [(0, 3), (999, 1002), (1000, 1001), (2050, 9999), (7, 7), (2100, 2101)]:
            assert seen(list(stream.iterate(start, stop))) == whole[start:stop]
    long = "ACGT" * 50_000
    path.write_text(f">a\n{long}\n>b\n{long[::-1]}")
    assert [letters for _, letters in seen(read(str(path)))] == [long, long[::-1]]


@pytest.mark.parametrize("kind", ["fasta", "bed"])
def test_memory_does_not_grow_with_the_input(tmp_path: Path, kind: str) -> None:
    genome = tmp_path / "g.fa"
    genome.write_text(">chr1\n" + "ACGT" * 500 + "\n")
    files: dict[str, Any] = {"genome": str(genome), "length": 100} if kind == "bed" else {}
    line = "chr1\t900\t950\tname\t0\t-\n" if kind == "bed" else ">name\nACGTACGTACGTACGT\n"

    def peak(records: int) -> int:
        path = tmp_path / f"{records}"
        path.write_text(line * records)
        tracemalloc.start()
        with open_windows(**files | {kind: str(path)}) as stream:
            assert sum(1 for _ in stream.iterate()) == records
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)  # imports
    small, large = peak(500), peak(4_000)
    assert large < small + 20_000
