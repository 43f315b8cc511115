"""Windows cut out of a genome: where they lie, which strand, what is at the edges."""

from __future__ import annotations

import gzip
import hashlib
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.inputs import DNA, open_windows
from yuzu_cli.errors import InputError
from yuzu_cli.inputs.windows import Window

RNG = random.Random(7)
CHROMS = {
    name: "".join(RNG.choice("ACGTacgtN") for _ in range(size))
    for name, size in (("chr1", 403), ("chr2", 120), ("x", 31))
}
PAIRS = dict(zip("ACGTN", "TGCAN", strict=True))


def write_genome(path: Path, newline: str = "\n") -> str:
    text = ""
    for name, letters in CHROMS.items():
        rows = [letters[i : i + 50] for i in range(0, len(letters), 50)]
        text += newline.join([f">{name} described", *rows]) + newline
    path.write_bytes(text.encode())
    return str(path)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_genome(tmp_path_factory.mktemp("genome") / "genome.fa")


def naive(chrom: str, start: int, end: int, strand: str) -> str:
    """The window letter by letter, N past either end."""
    letters = CHROMS[chrom].upper()
    text = "".join(letters[i] if 0 <= i < len(letters) else "N" for i in range(start, end))
    return "".join(PAIRS[letter] for letter in reversed(text)) if strand == "-" else text


def write(tmp_path: Path, text: str, name: str = "peaks.bed") -> str:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return str(path)


def windows(bed: str, genome: str, **options: object) -> list[Window]:
    args: dict[str, Any] = {"length": 10, **options}
    with open_windows(bed=bed, genome=genome, **args) as stream:
        return list(stream.iterate())


@pytest.mark.parametrize("flank", [0, 3])
@pytest.mark.parametrize("length", [1, 8, 21])
def test_windows_against_the_definition(
    tmp_path: Path, genome: str, length: int, flank: int
) -> None:
    rows, rng = [], random.Random(length)
    for number in range(300):
        chrom = rng.choice(list(CHROMS))
        size = len(CHROMS[chrom])
        start = rng.randrange(size - 1)
        end = rng.randint(start + 1, min(size, start + 40))
        rows.append((chrom, start, end, f"p{number}", rng.choice("+-.")))
    text = "".join(f"{c}\t{s}\t{e}\t{n}\t0\t{d}\n" for c, s, e, n, d in rows)
    got = windows(write(tmp_path, text), genome, length=length, edge="pad", flank=flank)
    assert len(got) == len(rows)
    for index, (window, (chrom, start, end, name, strand)) in enumerate(
        zip(got, rows, strict=True)
    ):
        first = (start + end) // 2 - length // 2
        region = window.region
        assert (region.chrom, region.start, region.end) == (chrom, first, first + length)
        assert (region.name, region.strand, region.input_index) == (name, strand, index)
        expected = naive(chrom, first - flank, first + length + flank, strand)
        assert DNA.decode(window.codes) == expected
        unknown = "N" in expected[flank : flank + length]
        outside = first < 0 or first + length > len(CHROMS[chrom])
        assert window.status == unknown + 2 * outside


@pytest.mark.parametrize(
    ("start", "end", "length", "first"),
    [
        (100, 101, 1, 100),
        (100, 102, 2, 100),
        (100, 103, 2, 100),
        (100, 103, 3, 100),
        (100, 104, 3, 101),
        (100, 101, 4, 98),
        (100, 200, 4, 148),
    ],
)
def test_midpoint_rule(
    tmp_path: Path, genome: str, start: int, end: int, length: int, first: int
) -> None:
    [window] = windows(write(tmp_path, f"chr1 {start} {end}\n"), genome, length=length)
    assert (window.region.start, window.region.end) == (first, first + length)


LAYOUTS = {
    "bed3": "chr1\t40\t60\n",
    "bed4": "chr1\t40\t60\t.\n",
    "bed4-no-name": "chr1\t40\t60\t\n",
    "bed5": "chr1\t40\t60\t.\t900\n",
    "bed6": "chr1\t40\t60\t.\t0\t.\n",
    "bed6-numeric-name": "chr1\t40\t60\t7\t0\t.\n",
    "bed9": "chr1\t40\t60\t.\t0\t.\t40\t60\t255,0,0\n",
    "bed12": "chr1\t40\t60\t.\t0\t.\t40\t60\t0\t2\t5,5,\t0,15,\n",
    "narrowpeak": "chr1\t40\t60\t.\t0\t.\t5.5\t-1\t-1\t3\n",
    "spaces": "chr1 40   60\n",
    "crlf": "chr1\t40\t60\r\n",
    "no-newline-at-end": "chr1\t40\t60",
    "byte-order-mark": "\ufeffchr1\t40\t60\n",
    "comments": "# a\n\n   \ntrack name=x\nbrowser position chr1:1-2\n#b\nchr1\t40\t60\n\n",
    "leading-zeros": "chr1\t0040\t060\n",
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path: Path, genome: str, text: str, packed: bool) -> None:
    path = tmp_path / "peaks"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    [window] = windows(str(path), genome)
    assert (window.region.chrom, window.region.start, window.region.end) == ("chr1", 45, 55)
    assert window.region.name == ("7" if "\t7\t" in text else ".")
    assert (window.region.strand, window.region.input_index) == (".", 0)
    assert DNA.decode(window.codes) == naive("chr1", 45, 55, "+")


def test_chromosome_names_that_look_like_headers(tmp_path: Path) -> None:
    genome = tmp_path / "g.fa"
    genome.write_text(">track1\nACGTACGT\n>browser_x\nTTTTTTTT\n")
    bed = write(tmp_path, "track1\t2\t4\nbrowser_x\t2\t4\ntrack type=bed\n")
    got = windows(bed, str(genome), length=2)
    assert [DNA.decode(window.codes) for window in got] == ["GT", "TT"]


def test_duplicates_and_names_are_kept(tmp_path: Path, genome: str) -> None:
    bed = write(tmp_path, "chr1\t40\t60\tan é name\n" * 3)
    got = windows(bed, genome)
    assert [window.region.input_index for window in got] == [0, 1, 2]
    assert {window.region.name for window in got} == {"an é name"}


PEAK = "chr1\t{}\t{}\tp\t0\t-\t1\t1\t1\t{}\n"


def test_summits(tmp_path: Path, genome: str, caplog: pytest.LogCaptureFixture) -> None:
    text = PEAK.format(100, 200, 7) + PEAK.format(100, 200, -1) + PEAK.format(100, 200, 99)
    bed = write(tmp_path, text, "x.narrowPeak")
    with caplog.at_level(logging.WARNING):
        got = windows(bed, genome, center="summit")
    assert [window.region.start for window in got] == [102, 145, 194]
    assert DNA.decode(got[0].codes) == naive("chr1", 102, 112, "-")
    assert "1 regions have no summit (-1); their midpoint is taken" in caplog.text
    assert [window.region.start for window in windows(bed, genome)] == [145, 145, 145]


EDGES = "chr2\t2\t4\nchr2\t60\t62\nchr2\t117\t119\nx\t10\t20\n"


def test_edge_pad(tmp_path: Path, genome: str) -> None:
    got = windows(write(tmp_path, EDGES), genome, length=40, edge="pad")
    assert [window.status & 2 for window in got] == [2, 0, 2, 2]
    assert [window.status & 1 for window in got if window.status & 2] == [1, 1, 1]
    assert [window.region.start for window in got] == [-17, 41, 98, -5]
    assert DNA.decode(got[3].codes) == naive("x", -5, 35, "+")


def test_edge_drop(tmp_path: Path, genome: str, caplog: pytest.LogCaptureFixture) -> None:
    bed = write(tmp_path, EDGES + "chr2\t500\t900\n")
    with open_windows(bed=bed, genome=genome, length=40, edge="drop") as stream:
        assert stream.n_records == 5
        assert [window.region.input_index for window in stream.iterate()] == [1]
    assert "4 of 5 records are dropped" in caplog.text


def test_unknown_letters(tmp_path: Path) -> None:
    genome = tmp_path / "g.fa"
    genome.write_text(">c\nACGTACNTACRTACGTAC\n")
    bed = write(tmp_path, "c\t2\t4\nc\t5\t8\nc\t10\t11\nc\t15\t16\nc\t16\t18\n")
    kept = windows(bed, str(genome), length=2, unknown="uniform")
    assert [window.status for window in kept] == [0, 1, 1, 0, 0]
    dropped = windows(bed, str(genome), length=2, unknown="drop")
    assert [window.region.input_index for window in dropped] == [0, 3, 4]
    # neither flanks nor padding are letters of the input
    flanked = windows(bed, str(genome), length=2, unknown="drop", flank=2)
    assert [window.region.input_index for window in flanked] == [0, 3, 4]
    edge = write(tmp_path, "c\t17\t18\n", "edge.bed")
    [padded] = windows(edge, str(genome), length=6, unknown="error", edge="pad")
    assert padded.status == 3
    assert DNA.decode(padded.codes) == "GTACNN"


def test_ranges(tmp_path: Path, genome: str) -> None:
    """Any range equals that slice of all, on either side of the places reading can start from."""
    rng = random.Random(1)
    text = "# head\n"
    for number in range(2500):
        start = rng.randrange(20, 350)
        text += f"chr1\t{start}\t{start + 9}\tr{number}\n" + "\n# c\n" * (number % 3 == 0)
    bed = write(tmp_path, text)
    with open_windows(bed=bed, genome=genome, length=6) as stream:
        whole = [(window.region, window.codes.tobytes()) for window in stream.iterate()]
        assert [region.name for region, _ in whole] == [f"r{i}" for i in range(2500)]
        cuts = [(0, 1), (999, 1001), (1000, 1000), (1500, 2100), (2499, 9999), (2500, 2600)]
        for start, stop in cuts:
            got = [
                (window.region, window.codes.tobytes()) for window in stream.iterate(start, stop)
            ]
            assert got == whole[start:stop]
        # two at once do not disturb each other
        one, two = stream.iterate(0, 50), stream.iterate(1200, 1250)
        pairs = [(a.region, b.region) for a, b in zip(one, two, strict=True)]
        assert pairs == [(whole[i][0], whole[1200 + i][0]) for i in range(50)]


def test_hash_names_the_content(tmp_path: Path, genome: str) -> None:
    def of(bed: str, genome: str) -> str:
        with open_windows(bed=bed, genome=genome, length=6) as stream:
            return stream.sha256

    text = "chr1\t40\t60\n"
    plain = write(tmp_path, text)
    packed = tmp_path / "packed.bed.gz"
    packed.write_bytes(gzip.compress(text.encode(), mtime=1))
    moved = tmp_path / "copy"
    moved.mkdir()
    copied = write_genome(moved / "other.fa")
    reference = of(plain, genome)
    assert of(str(packed), genome) == of(plain, copied) == reference
    parts = [hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in (plain, genome)]
    told = f"bed {parts[0]}\ngenome {parts[1]}\n"
    assert reference == hashlib.sha256(told.encode()).hexdigest()
    assert of(write(tmp_path, text + text, "b.bed"), genome) != reference
    Path(copied).write_text(Path(copied).read_text().replace("chr2", "chrY"))
    Path(copied + ".fai").unlink()
    assert of(plain, copied) != reference


@pytest.mark.parametrize("which", ["bed", "genome"])
def test_a_file_changed_meanwhile(tmp_path: Path, which: str) -> None:
    genome = write_genome(tmp_path / "g.fa")
    bed = write(tmp_path, "chr1\t40\t60\n" * 5)
    with open_windows(bed=bed, genome=genome, length=6) as stream:
        with open(bed if which == "bed" else genome, "a") as file:
            file.write("\n")
        with pytest.raises(InputError, match="was changed while it was being read"):
            list(stream.iterate())


def test_closed_stream(tmp_path: Path, genome: str) -> None:
    stream = open_windows(bed=write(tmp_path, "chr1\t40\t60\n" * 2), genome=genome, length=6)
    running = stream.iterate()
    next(running)
    stream.close()
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        next(stream.iterate())


def test_codes_are_the_callers_own(tmp_path: Path, genome: str) -> None:
    one, two = windows(write(tmp_path, "chr1\t40\t60\n" * 2), genome)
    one.codes[:] = 0
    assert one.codes.dtype == np.uint8
    assert DNA.decode(two.codes) == naive("chr1", 45, 55, "+")
