"""Every way an input can be wrong: what the user is told, and where the fault is said to lie."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.support.inputs import DNA, open_windows
from yuzu_cli.alphabet import parse_alphabet
from yuzu_cli.errors import InputError

GENOME = ">chr1 first\n" + "ACGTACGTAC\n" * 20 + ">2\n" + "N" * 10 + "\n" + "ACGTACGTAC\n" * 3
ARABIC_ONE = "\u0661"
BASE = "; BED is 0-based, half-open"
GOOD = "chr1\t40\t60\n"


def message(run: Any) -> str:
    with pytest.raises(InputError) as caught:
        run()
    return str(caught.value)


@pytest.fixture
def genome(tmp_path: Path) -> str:
    path = tmp_path / "genome.fa"
    path.write_text(GENOME)
    return str(path)


BED_CASES = {
    "end-before-start": (
        "#c\ntrack x\n" + GOOD + "chr1\t120\t90\n",
        {},
        ":4: end 90 is not after start 120" + BASE,
    ),
    "empty-interval": ("chr1\t50\t50\n", {}, ":1: end 50 is not after start 50" + BASE),
    "negative": (
        "chr1\t-5\t50\n",
        {},
        ":1: start -5 is before the chromosome's first base" + BASE,
    ),
    "decimal": ("chr1\t1e2\t500\n", {}, ":1: start '1e2' is not a whole number; columns 2 and 3"),
    "underscore": ("chr1\t1_0\t50\n", {}, ":1: start '1_0' is not a whole number"),
    "other-digits": (f"chr1\t{ARABIC_ONE}\t50\n", {}, ":1: start '\u0661' is not a whole number"),
    "header-line": ("chrom\tstart\tend\n" + GOOD, {}, "a header line begins with #"),
    "huge": ("chr1\t1\t4294967296\n", {}, ":1: end 4294967296 is beyond any chromosome"),
    "very-huge": ("chr1\t1\t" + "9" * 5000 + "\n", {}, "is beyond any chromosome"),
    "one-column": ("chr1\n", {}, ":1: 1 column, and a BED has at least 3"),
    "two-columns": ("\n" + GOOD + "chr1\t5\n", {}, ":3: 2 columns, and a BED has at least 3"),
    "ragged": (
        GOOD + "chr1\t40\t60\tx\n",
        {},
        ":2: 4 columns, and the lines before have 3; every line",
    ),
    "strand": ("chr1\t40\t60\tx\t0\t1\n", {}, ":1: strand '1' is not +, - or .; the strand is"),
    "binary": ("chr1\t40\t60\tx\0y\n", {}, ":1: holds binary data"),
    "long-line": ("c" * (1 << 20), {}, ":1: over a megabyte without a line end"),
    "empty": ("", {}, ": has no regions; a BED line is"),
    "only-comments": ("# x\n\ntrack y\nbrowser z\n", {}, ": has no regions"),
    "unknown-contig": (
        GOOD + "chr9\t40\t60\n",
        {},
        ":2: no sequence 'chr9' in GENOME; the genome has chr1, 2",
    ),
    "chr-prefix-missing": ("1\t40\t60\n", {}, "; the genome calls it 'chr1'"),
    "chr-prefix-extra": ("chr2\t10\t20\n", {}, "; the genome calls it '2'"),
    "case": ("CHR1\t40\t60\n", {}, "; the genome calls it 'chr1'"),
    "past-start": (
        "chr1\t2\t4\n",
        {},
        ":1: window -1 to 8 goes past the start of chr1 (200 bases); set input.edge to pad or drop",
    ),
    "past-end": ("chr1\t197\t199\n", {}, ":1: window 194 to 203 goes past the end of chr1 (200"),
    "end-outside": ("chr1\t100\t201\n", {}, ":1: end 201 is past the end of chr1 (200 bases); is"),
    "outside": ("chr1\t500\t600\n", {"edge": "pad"}, "chr1:501-600 lies past the end of chr1"),
    "window-outside": ("chr1\t199\t900\n", {"edge": "pad"}, "chr1:200-900 lies past the end"),
    "unknown-letter": (
        "chr1\t40\t60\n2\t12\t14\n",
        {"unknown": "error"},
        ":2: the letter at 2:9 is unknown to the model; set input.unknown",
    ),
    "no-summit-column": (GOOD, {"center": "summit"}, ":1: no summit: 3 columns, and a narrowPeak"),
    "bed12-summit": (
        "chr1\t40\t60\tx\t0\t+\t40\t60\t0\t1\t20\t0\n",
        {"center": "summit"},
        ":1: no summit: 12 columns",
    ),
    "summit-text": (
        "chr1\t40\t60\tx\t0\t.\t1\t1\t1\tx\n",
        {"center": "summit"},
        ":1: summit 'x' is not a whole number",
    ),
    "summit-outside": (
        "chr1\t40\t60\tx\t0\t.\t1\t1\t1\t20\n",
        {"center": "summit"},
        ":1: summit 20 is outside the region, which is 20 bases wide",
    ),
}


@pytest.mark.parametrize(("content", "options", "expected"), BED_CASES.values(), ids=BED_CASES)
def test_bad_bed(
    tmp_path: Path, genome: str, content: str, options: dict[str, str], expected: str
) -> None:
    path = tmp_path / "peaks.bed"
    path.write_text(content, "utf-8")
    args: dict[str, Any] = {"alphabet": DNA, "length": 10, **options}
    told = message(lambda: open_windows(bed=str(path), genome=genome, **args))
    assert told.startswith(f"{path}:")
    assert expected.replace("GENOME", genome) in told


def test_bad_bed_in_gzip_names_the_line_too(tmp_path: Path, genome: str) -> None:
    path = tmp_path / "peaks.bed.gz"
    path.write_bytes(gzip.compress(b"# x\r\nchr1\t9\t2\r\n"))
    told = message(lambda: open_windows(bed=str(path), genome=genome, length=10))
    assert told == f"{path}:2: end 2 is not after start 9{BASE}"


def test_minus_strand_needs_a_complement(tmp_path: Path, genome: str) -> None:
    path = tmp_path / "peaks.bed"
    path.write_text("chr1\t40\t60\tx\t0\t-\n")
    protein = parse_alphabet("ACDEFGHIKLMNPQRSTVWY")
    told = message(lambda: open_windows(alphabet=protein, bed=str(path), genome=genome, length=10))
    assert f"{path}:1: strand -, and the letters ACDEF" in told


FASTA_CASES = {
    "empty": ("", {}, ": has no records; a FASTA record begins with >name"),
    "blank": ("\n\n", {}, ": has no records"),
    "no-header": ("ACGT\n", {}, ":1: text before the first header line, which begins with >; is"),
    "fastq": ("@r1\nACGT\n+\nIIII\n", {}, ":1: text before the first header line"),
    "no-name": (">a\nACGT\n>\nACGT\n", {}, ":3: the record has no name; write >name"),
    "space-before-name": ("> a\nACGT\n", {}, ":1: the record has no name"),
    "empty-record": (">a\nAC\n>b\n>c\nAC\n", {}, ":3: record 'b' has no letters"),
    "last-empty": (">a\nAC\n>b\n", {"wrong_length": "pad"}, ":3: record 'b' has no letters"),
    "all-empty": (">a\n>b\n", {"wrong_length": "drop"}, ": has no record with letters"),
    "lengths-differ": (
        ">a\nACGT\n>b x\nACG\n",
        {},
        ":3: record 'b' has 3 letters, those before have 4; set input.length and",
    ),
    "lengths-differ-crop": (
        ">a\nACGT\n>b\nACG\n",
        {"wrong_length": "crop"},
        ":3: record 'b' has 3 letters, those before have 4",
    ),
    "too-long": (
        ">a\nAC\nGT\n",
        {"length": 3},
        ":1: record 'a' has 4 letters, not 3; set input.wrong_length to crop or drop",
    ),
    "too-short": (">a\nAC\n", {"length": 3}, ":1: record 'a' has 2 letters, not 3; set"),
    "too-short-to-crop": (
        ">a\nAC\n",
        {"length": 3, "wrong_length": "crop"},
        "set input.wrong_length to pad or drop",
    ),
    "too-long-to-pad": (
        ">a\nACGT\n",
        {"length": 3, "wrong_length": "pad"},
        "set input.wrong_length to crop or drop",
    ),
    "digit": (">a\nACGT\nAC1T\n", {}, ":3: '1' in a sequence is not a letter"),
    "numbered": (">a\n1 ACGT\n", {}, ":2: '1' in a sequence is not a letter"),
    "not-ascii": (">a\nACéT\n", {}, ":2: '\\\\xc3' in a sequence is not a letter"),
    "binary": (">a\nAC\0T\n", {}, ":2: '\\x00' in a sequence is not a letter"),
    "binary-name": (">a\0b\nACGT\n", {}, ":1: holds binary data"),
    "old-mac": (">a\rACGT\r>b\rACGT\r", {}, ":1: lines end in carriage returns alone"),
    "unknown-letter": (
        ">a\nACGT\n>b\nACNT\n",
        {"unknown": "error"},
        ":3: the letter at b:3 is unknown to the model",
    ),
    "unknown-letter-cropped": (
        ">b\nNACGTNA\n",
        {"unknown": "error", "length": 5, "wrong_length": "crop"},
        ":1: the letter at b:6 is unknown to the model",
    ),
}


@pytest.mark.parametrize(("content", "options", "expected"), FASTA_CASES.values(), ids=FASTA_CASES)
def test_bad_fasta(tmp_path: Path, content: str, options: dict[str, Any], expected: str) -> None:
    path = tmp_path / "seqs.fa"
    path.write_bytes(content.encode())
    told = message(lambda: open_windows(fasta=str(path), **options))
    assert told.startswith(f"{path}:")
    assert expected in told


FILE_CASES = {
    "missing": (None, "no such file"),
    "directory": ("", "is a directory, not a file"),
    "truncated-gzip": (gzip.compress(b">a\nACGT\n" * 99)[:-12], "the gzip data end too early"),
    "damaged-gzip": (
        gzip.compress(b">a\nACGT\n")[:10] + b"\xff" * 20,
        "damaged gzip data",
    ),
    "wrong-checksum": (gzip.compress(b">a\nACGT\n")[:-8] + b"\0" * 8, "damaged gzip data"),
    "bzip2": (b"BZh91AY", "is bzip2, which is not read; unpack it"),
    "zip": (b"PK\x03\x04abc", "is a zip archive"),
    "2bit": (b"\x43\x27\x41\x1a\0\0", "is a 2bit genome, which is not read; convert it"),
}


@pytest.mark.parametrize("role", ["fasta", "bed", "genome"])
@pytest.mark.parametrize(("content", "expected"), FILE_CASES.values(), ids=FILE_CASES)
def test_bad_files(
    tmp_path: Path, role: str, content: bytes | str | None, expected: str, genome: str
) -> None:
    path = tmp_path / "input"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    bed = tmp_path / "good.bed"
    bed.write_text(GOOD)
    files: dict[str, Any] = {"bed": str(bed), "genome": genome} if role != "fasta" else {}
    files[role] = str(path)
    told = message(lambda: open_windows(length=10, **files))
    assert told.startswith(f"{path}: {expected}")


def test_no_room_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "seqs.fa.gz"
    path.write_bytes(gzip.compress(b">a\nACGT\n"))
    with Path("/dev/full").open("wb") as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda: full)
        told = message(lambda: open_windows(fasta=str(path)))
    assert "No space left on device; point TMPDIR at a disk with room" in told


GENOME_CASES = {
    "empty": ("", "is not a FASTA; a FASTA begins with >name"),
    "no-header": ("ACGT\n", ":1: is not a FASTA"),
    "uneven-lines": (
        ">chr1\nACGT\nAC\nACGT\n",
        "lines of sequence 'chr1' differ in length, so positions cannot be found; wrap",
    ),
    "twice": (">chr1\nACGT\n>chr1\nACGT\n", ": two sequences are named 'chr1'"),
}


@pytest.mark.parametrize(("content", "expected"), GENOME_CASES.values(), ids=GENOME_CASES)
def test_bad_genome(tmp_path: Path, content: str, expected: str) -> None:
    bed, genome = tmp_path / "good.bed", tmp_path / "bad.fa"
    bed.write_text(GOOD)
    genome.write_text(content)
    told = message(lambda: open_windows(bed=str(bed), genome=str(genome), length=4))
    assert told.startswith(f"{genome}:")
    assert expected in told
