"""Effects of variants: a VCF of every awkward case, against passes made here and against a run."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests.support.cli import invoke
from yuzu_cli import engine
from yuzu_cli.config import RunConfig, load_config
from yuzu_cli.errors import InputError, UsageError
from yuzu_cli.variants import variants
from yuzu_cli.variants.records import Vcf

L = 24
T = ("target_0", "target_1")
HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
CHR1 = "ACGTTGCAACCGGTTACGATCGATTAGGCCATATCGGCTAACGTTAGCNGATTACAGGCATCCGTAA"
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def net() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 8, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.MaxPool1d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * L // 2, len(T)),
    ).eval()


@dataclass
class World:
    folder: Path

    def config(self, **settings: object) -> RunConfig:
        """Model, genome and length, and what else a case sets."""
        basic = {
            "model.path": [str(self.folder / "model.pt")],
            "input.genome": str(self.folder / "genome.fa"),
            "input.length": L,
        }
        return load_config(None, basic | {k.replace("__", "."): v for k, v in settings.items()})

    def vcf(self, *lines: str, name: str = "in.vcf") -> str:
        """A file of records `CHROM POS REF ALT`, spaces for tabs."""
        text = HEADER
        for line in lines:
            chrom, pos, ref, alt = line.split()
            text += f"{chrom}\t{pos}\tid\t{ref}\t{alt}\t.\tPASS\tDP=3\n"
        path = self.folder / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        return str(path)

    def table(
        self, *lines: str, config: RunConfig | None = None, **options: object
    ) -> list[list[str]]:
        """Rows of the table for these records."""
        out = self.folder / "out.tsv"
        variants(config or self.config(run__force=True), self.vcf(*lines), out, **options)  # type: ignore[arg-type]
        return [line.split("\t") for line in out.read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("variants")
    torch.jit.script(net()).save(str(folder / "model.pt"))
    soft = CHR1[:20] + CHR1[20:30].lower() + CHR1[30:]
    (folder / "genome.fa").write_text(f">chr1\n{soft}\n>chr2\n{CHR1[::-1]}\n>short\nACGTACGT\n")
    return World(folder)


def outputs(text: str) -> np.ndarray:
    """The model, written out: one-hot, N a column of zeros."""
    assert len(text) == L
    x = torch.tensor([[[float(letter == a) for letter in text] for a in "ACGT"]])
    with torch.no_grad():
        return net()(x)[0].numpy()


def expected(pos: int, ref: str, alt: str, chrom: str = CHR1, reverse: bool = False) -> np.ndarray:
    """Two passes of the window around the first letter of REF."""
    padded = "N" * L + chrom + "N" * L
    at = pos - 1 + L
    assert padded[at : at + len(ref)] == ref
    changed = padded[:at] + alt + padded[at + len(ref) :]
    start = at - L // 2
    windows = [text[start : start + L] for text in (padded, changed)]
    if reverse:
        windows = [text.translate(COMPLEMENT)[::-1] for text in windows]
    return outputs(windows[1]) - outputs(windows[0])


CASES: dict[str, tuple[str, list[str], list[Any]]] = {
    # name: record, for each ALT the method, and the effect as (REF, ALT) of a capital genome
    "letter": ("chr1 32 T C", ["edit"], [("T", "C")]),
    "several letters": ("chr1 32 T A,C,G", ["edit"] * 3, [("T", "A"), ("T", "C"), ("T", "G")]),
    "lower case in the VCF": ("chr1 32 t c", ["edit"], [("T", "C")]),
    "lower case in the genome": ("chr1 25 T G", ["edit"], [("T", "G")]),
    "the letter that is there": ("chr1 32 T T", ["edit"], [("T", "T")]),
    "insertion": ("chr1 32 T TGGA", ["pass"], [("T", "TGGA")]),
    "deletion": ("chr1 32 TATC T", ["pass"], [("TATC", "T")]),
    "replacement": ("chr1 32 TA GC", ["pass"], [("TA", "GC")]),
    "letter and indels": (
        "chr1 32 TA T,GA,TAC,*,<DEL>",
        ["pass", "pass", "pass", "symbolic", "symbolic"],
        [("TA", "T"), ("TA", "GA"), ("TA", "TAC"), None, None],
    ),
    "first letter": ("chr1 1 A G", ["edit"], [("A", "G")]),
    "last letter": (f"chr1 {len(CHR1)} A G", ["edit"], [("A", "G")]),
    "window with an N": ("chr1 45 T A", ["edit"], [("T", "A")]),
    "ref mismatch": ("chr1 32 G C", ["ref_mismatch"], [None]),
    "ref N": ("chr1 32 N C", ["ref_mismatch"], [None]),
    "genome N": ("chr1 49 N C", ["unknown_reference"], [None]),
    "alt N": ("chr1 32 T N", ["unknown_allele"], [None]),
    "no alt": ("chr1 32 T .", ["no_alternative"], [None]),
    "breakend": ("chr1 32 T T[chr2:5[", ["symbolic"], [None]),
    "unknown contig": ("chr9 32 T C", ["unknown_contig"], [None]),
    "past the end": (f"chr1 {len(CHR1) + 1} A C", ["outside"], [None]),
    "across the end": (f"chr1 {len(CHR1)} AC A", ["outside"], [None]),
    "telomere": ("chr1 0 A C", ["outside"], [None]),
    "longer than half a window": ("chr1 32 T " + "T" * 13, ["too_long"], [None]),
}


@pytest.fixture(scope="module", params=["windowed", "naive"])
def scored(world: World, request: pytest.FixtureRequest) -> dict[str, list[list[str]]]:
    """Rows of the table of every case, all scored together."""
    config = world.config(run__force=True, compute__backend=request.param)
    rows = iter(world.table(*(line for line, _, _ in CASES.values()), config=config))
    return {name: [next(rows) for _ in methods] for name, (_, methods, _) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_every_case(scored: dict[str, list[list[str]]], name: str) -> None:
    line, methods, effects = CASES[name]
    chrom, pos, ref, alts = line.split()
    rows = scored[name]
    assert [row[:5] for row in rows] == [[chrom, pos, ref, alt, "id"] for alt in alts.split(",")]
    assert [row[5] for row in rows] == methods
    for row, effect in zip(rows, effects, strict=True):
        got = np.array(row[6:], float)
        if effect is None:
            assert np.isnan(got).all()
        else:
            np.testing.assert_allclose(got, expected(int(pos), *effect), atol=1e-6)


def test_a_window_past_both_ends(world: World) -> None:
    (row,) = world.table("short 3 G T")
    np.testing.assert_allclose(
        np.array(row[6:], float), expected(3, "G", "T", "ACGTACGT"), atol=1e-6
    )


@pytest.mark.parametrize("alt", ["G", "TGG"], ids=["edit", "pass"])
def test_the_minus_strand(world: World, alt: str) -> None:
    (row,) = world.table(f"chr1 32 T {alt}", strand="-")
    want = expected(32, "T", alt, reverse=True)
    np.testing.assert_allclose(np.array(row[6:], float), want, atol=1e-6)


@pytest.mark.parametrize("backend", ["windowed", "naive"])
@pytest.mark.parametrize("alt", ["G", "TGG"], ids=["letter", "insertion"])
def test_both_strands_and_shifts_are_averaged(world: World, alt: str, backend: str) -> None:
    config = world.config(
        run__force=True,
        compute__reverse_complement=True,
        compute__shifts=[0, 2],
        compute__backend=backend,
    )
    (row,) = world.table(f"chr1 32 T {alt}", config=config)
    padded = "N" * L + CHR1 + "N" * L
    at = 31 + L
    changed = padded[:at] + alt + padded[at + 1 :]
    total = np.zeros(len(T))
    for shift in (0, 2):
        start = at - L // 2 + shift
        for text, sign in ((changed, 1), (padded, -1)):
            window = text[start : start + L]
            total += sign * outputs(window)
            total += sign * outputs(window.translate(COMPLEMENT)[::-1])
    np.testing.assert_allclose(np.array(row[6:], float), total / 4, atol=1e-6)


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("backend", ["windowed", "naive"])
def test_effects_are_the_delta_of_a_run(world: World, strand: str, backend: str) -> None:
    positions = range(14, 40, 3)
    bed = world.folder / "around.bed"
    bed.write_text("".join(f"chr1\t{p}\t{p + 1}\tv{p}\t0\t{strand}\n" for p in positions))
    out = world.folder / "run.h5"
    config = world.config(
        input__bed=str(bed), output__path=str(out), run__force=True, compute__backend=backend
    )
    engine.run(config)
    lines = [
        f"chr1 {p + 1} {CHR1[p]} " + ",".join(sorted({*"ACGT"} - {CHR1[p]})) for p in positions
    ]
    rows = world.table(
        *lines, strand=strand, config=world.config(run__force=True, compute__backend=backend)
    )
    at = L // 2 if strand == "+" else L - 1 - L // 2
    with h5py.File(out) as file:
        delta = file["scores/delta"][..., at]
    for number, row in enumerate(rows):
        assert row[1] == str(positions[number // 3] + 1)  # that of the VCF
        letter = "ACGT".index(row[3].translate(COMPLEMENT) if strand == "-" else row[3])
        want = delta[number // 3, :, letter]
        np.testing.assert_allclose(np.array(row[6:], float), want, rtol=1e-5, atol=2e-7)


def test_vcf_out_is_read_by_htslib(world: World) -> None:
    pysam = pytest.importorskip("pysam")
    path = world.folder / "a.vcf.gz"
    text = (
        "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n##contig=<ID=chr2>\n"
        '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        "#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT S1\n"
        "chr1 32 . T C,TGG,* . PASS DP=3 GT 0/1\n"
        "chr1 33 . G C . PASS . GT 0/1\n"
        "chr2 8 . A T . PASS DP=3 GT 0/1\n"
    )
    path.write_bytes(gzip.compress(text.replace(" ", "\t").encode()))
    out = world.folder / "out.vcf.gz"
    summary = variants(world.config(), str(path), out)
    assert summary.methods == {"edit": 2, "pass": 1, "symbolic": 1, "ref_mismatch": 1}
    pysam.tabix_index(str(out), preset="vcf", force=True)
    with pysam.VariantFile(str(out)) as file:
        assert "per target: 0|1" in file.header.info["YUZU"].description
        first, second, third = list(file)
        assert [record.pos for record in file.fetch("chr2", 7, 8)] == [8]
    assert first.info["DP"] == 3
    assert first.samples["S1"]["GT"] == (0, 1)
    assert first.info["YUZU_METHOD"] == ("edit", "pass", "symbolic")
    got = [float(value) for value in first.info["YUZU"][1].split("|")]
    np.testing.assert_allclose(got, expected(32, "T", "TGG"), atol=1e-6)
    assert first.info["YUZU"][2] is None or first.info["YUZU"][2] == "."
    assert second.info["YUZU_METHOD"] == ("ref_mismatch",)
    assert third.info["YUZU_METHOD"] == ("edit",)


def test_effects_are_replaced_when_scored_again(world: World) -> None:
    first, second = world.folder / "1.vcf", world.folder / "2.vcf"
    variants(world.config(run__force=True), world.vcf("chr1 32 T C"), first)
    variants(world.config(run__force=True), str(first), second)
    assert first.read_text() == second.read_text()
    assert second.read_text().count("YUZU=") == 1


@pytest.mark.parametrize(
    ("options", "settings", "method"),
    [
        ({"indels": False}, {}, "indel"),
        ({"edge": "drop"}, {}, "edge"),
        ({}, {"input__unknown": "drop"}, "unknown_letters"),
    ],
)
def test_what_can_be_left_out(
    world: World, options: dict[str, Any], settings: dict[str, Any], method: str
) -> None:
    lines = {"indel": "chr1 32 TA T", "edge": "chr1 2 C G", "unknown_letters": "chr1 45 T A"}
    config = world.config(run__force=True, **settings)
    rows = world.table(lines[method], "chr1 32 T C", config=config, **options)
    assert [row[5] for row in rows] == [method, "edit"]


def test_unknown_letters_as_a_uniform_column(world: World) -> None:
    (zero,) = world.table("chr1 45 T A")
    config = world.config(run__force=True, input__unknown="uniform")
    (uniform,) = world.table("chr1 45 T A", config=config)
    assert zero[6:] != uniform[6:]


BAD = {
    "no names": ("chr1\t3\t.\tA\tC\t.\t.\t.\n", 1, "1: a line of column names"),
    "empty": ("", 1, "1: a line of column names"),
    "columns": (HEADER + "chr1\t3\t.\tA\tC\n", 1, "3: has 5 columns, not 8"),
    "spaces": (HEADER + "chr1 3 . A C . . .\n", 1, "3: has 1 columns"),
    "position": (HEADER + "chr1\tx\t.\tA\tC\t.\t.\t.\n", 1, "3: POS 'x' is not a number"),
    "no ref": (HEADER + "chr1\t3\t.\t\tC\t.\t.\t.\n", 1, "not a variant"),
    "late fault": (HEADER + "chr1\t32\t.\tT\tC\t.\t.\t.\n" * 600 + "chr1\n", 1, "603: has 1 col"),
    "another genome": (HEADER + "chr1\t32\t.\tG\tC\t.\t.\t.\n" * 3, 1, "is it the genome of this"),
    "other names": (HEADER + "1\t32\t.\tT\tC\t.\t.\t.\n" * 3, 1, "the genome calls it 'chr1'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_vcfs_are_refused_before_anything_is_written(world: World, name: str) -> None:
    text, _, words = BAD[name]
    path, out = world.folder / "bad.vcf", world.folder / "bad.tsv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        variants(world.config(), str(path), out)
    assert words in str(error.value)
    assert not list(world.folder.glob("*bad.tsv*"))


def test_an_empty_vcf_gives_an_empty_table(world: World) -> None:
    assert world.table() == []


@pytest.mark.parametrize(
    ("settings", "out", "words"),
    [
        ({"model__path": []}, "x.tsv", "no model"),
        ({"input__genome": None}, "x.tsv", "give -g GENOME"),
        ({"input__length": None}, "x.tsv", "give -l LENGTH"),
        ({}, "x.txt", "neither .vcf nor .tsv"),
        ({}, "in.vcf", "is an input of this run"),
        ({"model__target_names": "names.tsv"}, "names.tsv", "is an input of this run"),
    ],
)
def test_bad_arguments(
    world: World,
    settings: dict[str, Any],
    out: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(world.folder)
    vcf = world.vcf("chr1 32 T C")
    with pytest.raises(UsageError, match=words):
        variants(world.config(run__force=True, **settings), vcf, out)


def test_edges_and_unknown_letters_as_errors(world: World) -> None:
    with pytest.raises(InputError, match=r"in\.vcf:3: window -10 to 13 goes past"):
        world.table("chr1 2 C G", edge="error")
    config = world.config(input__unknown="error", run__force=True)
    with pytest.raises(InputError, match="has unknown letters"):
        world.table("chr1 45 T A", config=config)


@pytest.mark.falls_back
def test_a_backend_that_is_wrong_is_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from yuzu_cli.variants.score import Effects

    right = Effects._edit

    def wrong(self: Effects, *args: object) -> list[np.ndarray]:
        return [effect + 1 for effect in right(self, *args)]  # type: ignore[arg-type]

    monkeypatch.setattr(Effects, "_edit", wrong)
    config = world.config(run__force=True, compute__backend="windowed")
    rows = world.table("chr1 32 T C,G", "chr1 35 C A", config=config)
    assert "naive is used instead" in caplog.text
    variants(config, world.vcf("chr1 32 T C,G"), world.folder / "named.vcf")
    assert 'Backend="naive"' in (world.folder / "named.vcf").read_text()
    np.testing.assert_allclose(np.array(rows[0][6:], float), expected(32, "T", "C"), atol=1e-6)


def test_batches_do_not_change_what_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"chr1 {p + 1} {CHR1[p]} {'A' if CHR1[p] != 'A' else 'C'}" for p in range(14, 40)]
    seen: list[tuple[int, int]] = []
    whole = world.table(*lines)
    monkeypatch.setattr("yuzu_cli.variants.BATCH", 4)
    pieces = world.table(*lines, progress=lambda done, total: seen.append((done, total)))
    assert [row[:6] for row in pieces] == [row[:6] for row in whole]
    a, b = (np.array([row[6:] for row in rows], float) for rows in (whole, pieces))
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert seen == [(4, 26), (8, 26), (12, 26), (16, 26), (20, 26), (24, 26), (26, 26)]


def test_records_are_read_as_they_stand(world: World) -> None:
    with Vcf(world.vcf("chr1 32 T C,G", name="x.vcf.gz")) as vcf:
        assert vcf.n_records == 1
        (record,) = vcf.records()
    assert (record.line, record.start, record.ref, record.alts) == (3, 31, "T", ("C", "G"))
    assert record.fields[7] == "DP=3"


def test_the_command(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vcf = world.vcf("chr1 32 T C", "chr1 32 G C", "chr1 32 T TA", name="cli.vcf.gz")
    arguments = ["variants", "-m", str(world.folder / "model.pt"), "-l", str(L)]
    arguments += ["-g", str(world.folder / "genome.fa"), "--vcf", vcf]
    arguments += ["-o", str(tmp_path / "out.vcf")]
    code, _, err = invoke(arguments, capsys)
    assert code == 0, err
    assert "2 of 3 alleles of 3 records scored (1 as edits, 1 by whole passes" in err
    assert "1 alleles without an effect (ref_mismatch)" in err
    code, _, err = invoke(arguments, capsys)
    assert code == 1
    assert "exists already; --force replaces it" in err
