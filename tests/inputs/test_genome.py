"""The genome: how it is packed, indexed when many start at once, and read after a fork."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from Bio import bgzf

from yuzu_cli.errors import InputError
from yuzu_cli.inputs import index
from yuzu_cli.inputs.genome import Genome

LETTERS = "ACGTTGCANNACGTACCA" * 40
TEXT = ">chr1\n" + "\n".join(LETTERS[i : i + 60] for i in range(0, 720, 60)) + "\n>chr2\nACGT"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "yuzu"


def check(path: Path) -> None:
    genome = Genome(str(path))
    assert genome.sizes == {"chr1": 720, "chr2": 4}
    spans = [(0, 720), (0, 1), (59, 61), (60, 120), (61, 300), (719, 720), (5, 5)]
    for start, end in spans:
        assert genome.fetch("chr1", start, end) == LETTERS[start:end]
    assert genome.fetch("chr2", 0, 4) == "ACGT"
    genome.close()


def pack(path: Path, how: str, text: str = TEXT) -> Path:
    if how == "bgzip":
        with bgzf.BgzfWriter(str(path), "wb") as file:
            file.write(text.encode())
    else:
        raw = text.replace("\n", "\r\n") if how == "crlf" else text
        path.write_bytes(gzip.compress(raw.encode()) if how == "gzip" else raw.encode())
    return path


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("g.fa", "plain"),
        ("g.fa", "crlf"),
        ("g.fa.gz", "bgzip"),
        ("g.fa.gz", "gzip"),
        ("g.fa.gz", "plain"),
        ("g.fa", "gzip"),
        ("g.fa", "bgzip"),
    ],
)
def test_packings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spool))
    path = pack(tmp_path / name, how)
    check(path)  # builds the index
    check(path)  # reads it
    assert list(spool.iterdir()) == []
    beside = {part.name for part in tmp_path.iterdir()} - {name, "spool"}
    as_it_lies = {("g.fa", "plain"), ("g.fa", "crlf"), ("g.fa.gz", "bgzip")}
    expected = {f"{name}.fai"} | ({f"{name}.gzi"} if how == "bgzip" else set())
    assert beside == (expected if (name, how) in as_it_lies else set())


def test_hash(tmp_path: Path) -> None:
    def of(path: Path) -> str:
        genome = Genome(str(path))
        genome.close()
        return genome.sha256

    plain = pack(tmp_path / "g.fa", "plain")
    opened = Genome(str(pack(tmp_path / "g.fa.gz", "gzip")))
    assert of(plain) == opened.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    opened.close()
    packed = pack(tmp_path / "b.fa.gz", "bgzip")
    assert of(packed) == hashlib.sha256(packed.read_bytes()).hexdigest()


def test_hash_of_a_large_genome_is_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "HASH_CACHE_BYTES", 1)
    path = pack(tmp_path / "g.fa", "plain")
    fresh = index.file_sha256(str(path))
    assert not cache.exists()  # written a moment ago, it could change at the same time stamp
    os.utime(path, (1e9, 1e9))
    assert index.file_sha256(str(path)) == fresh
    [kept] = cache.iterdir()
    kept.write_text("0" * 64)
    assert index.file_sha256(str(path)) == "0" * 64
    kept.write_text("torn")
    assert index.file_sha256(str(path)) == fresh
    os.utime(path, (1e9 + 5, 1e9 + 5))
    assert index.file_sha256(str(path)) == fresh
    assert len(list(cache.iterdir())) == 2


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "g.fa", "plain")
    refused = {tmp_path}
    real: Any = tempfile.TemporaryDirectory

    def guarded(*args: object, dir: Path, **kwargs: object) -> object:
        if Path(dir) in refused:
            raise PermissionError(13, "Permission denied")
        return real(*args, dir=dir, **kwargs)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", guarded)
    check(path)
    assert [part.suffix for part in cache.iterdir()] == [".fai"]
    check(path)
    next(cache.iterdir()).unlink()
    refused.add(cache)
    check(path)
    assert list(cache.iterdir()) == []
    assert not (tmp_path / "g.fa.fai").exists()


def test_stale_index_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "g.fa"
    path.write_text(">chr1\nTTTT\n")
    Genome(str(path)).close()
    fai = tmp_path / "g.fa.fai"
    os.utime(fai, (1e9, 1e9))
    pack(path, "plain")
    check(path)


def test_genome_dated_in_the_future(tmp_path: Path) -> None:
    path = pack(tmp_path / "g.fa", "plain")
    os.utime(path, (4e9, 4e9))
    check(path)
    made = (tmp_path / "g.fa.fai").stat().st_ino
    check(path)
    assert (tmp_path / "g.fa.fai").stat().st_ino == made


@pytest.mark.parametrize(
    ("fai", "expected"),
    [
        pytest.param("chr1\t720\t6\t60\t61\n", "is of another file, or of a part", id="part"),
        pytest.param("chr1\t9999\t6\t60\t61\n", "is of another file, or of a part", id="larger"),
        pytest.param("", "is of another file, or of a part", id="empty"),
        pytest.param("chr1\t720\n", "cannot be read", id="torn"),
    ],
)
def test_foreign_index_is_refused(tmp_path: Path, fai: str, expected: str) -> None:
    path = pack(tmp_path / "g.fa", "plain")
    (tmp_path / "g.fa.fai").write_text(fai)
    with pytest.raises(InputError, match=expected) as caught:
        Genome(str(path))
    assert caught.value.where == str(path)
    assert "g.fa.fai, it is made again" in str(caught.value)


def replaced(path: Path, how: str, text: str) -> Path:
    """A genome with an index that looks newer than it and is of another one."""
    pack(path, how)
    Genome(str(path)).close()
    size = path.stat().st_size
    pack(path, how, text)
    assert how == "bgzip" or path.stat().st_size == size
    os.utime(path, (1e9, 1e9))
    return path


OTHERS = {
    "other names": TEXT.replace(">chr1", ">chrA"),
    "other order": TEXT.replace("chr1", "x").replace("chr2", "chr1").replace("x", "chr2"),
    "other lines": ">chr1\n" + LETTERS[:50] + "\n" + LETTERS[50:120] + TEXT[6 + 121 :],
    "header moved": ">chr1 " + LETTERS[:59] + "\n" + TEXT[6 + 60 :],
    "shorter first": TEXT[: 6 + 610] + "\n>chrX\n" + TEXT[6 + 617 :],
}


@pytest.mark.parametrize("how", ["plain", "bgzip"])
@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_an_index_of_a_genome_that_was_replaced_is_refused(
    tmp_path: Path, how: str, text: str
) -> None:
    path = replaced(tmp_path / f"g.fa{'.gz' * (how == 'bgzip')}", how, text)
    with Genome(str(path)) as genome, pytest.raises(InputError, match="it is made again"):
        assert not [genome.fetch("chr1", 0, 720), genome.fetch("chr2", 0, 4)], "both were read"


@pytest.mark.parametrize("how", ["plain", "crlf", "bgzip"])
def test_an_index_that_fits_is_not_refused(tmp_path: Path, how: str) -> None:
    long = "x" * 20_000
    text = f">empty\n>one {long}\nACGTA\nCG\n>two\nAC\n\n>three\tx\nACGTACGT"
    path = pack(tmp_path / f"g.fa{'.gz' * (how == 'bgzip')}", how, text)
    for _ in range(2):
        with Genome(str(path)) as genome:
            assert genome.fetch("one", 0, 7) == "ACGTACG"
            assert genome.fetch("two", 0, 2) == "AC"
            assert genome.fetch("three", 0, 8) == "ACGTACGT"


def test_blank_lines_after_a_sequence_are_said(tmp_path: Path) -> None:
    path = pack(tmp_path / "g.fa", "plain", TEXT.replace("\n>chr2", "\n\n\n>chr2"))
    with pytest.raises(InputError, match=r"sequence 'chr1' has blank lines") as caught:
        Genome(str(path))
    assert "\n" not in str(caught.value)


def test_without_a_home_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(index, "HASH_CACHE_BYTES", 1)
    path = pack(tmp_path / "g.fa", "plain")
    os.utime(path, (1e9, 1e9))
    check(path)
    assert index.file_sha256(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_truncated_bgzip(tmp_path: Path) -> None:
    path = pack(tmp_path / "g.fa.gz", "bgzip")
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(InputError, match="EOF marker not found"):
        Genome(str(path))


SCRIPT = """
import os, random, sys
from yuzu_cli.inputs.genome import Genome
genome, fork = Genome(sys.argv[1]), len(sys.argv) > 2
size = genome.sizes["chr1"]
letters = genome.fetch("chr1", 0, size)
child = os.fork() if fork else None
rng = random.Random(child == 0)
for start in (rng.randrange(size - 20) for _ in range(5000)):
    assert genome.fetch("chr1", start, start + 20) == letters[start:start + 20]
if child == 0:
    os._exit(0)
if child:
    assert os.waitpid(child, 0)[1] == 0
print(letters[:720])
"""


def start(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", ["plain", "bgzip"])
def test_many_processes_at_once(tmp_path: Path, how: str) -> None:
    path = pack(tmp_path / f"g.fa{'.gz' * (how == 'bgzip')}", how)
    started = [start(str(path)) for _ in range(4)]
    for process in started:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert out.strip() == LETTERS
    assert not [part for part in tmp_path.iterdir() if part.name.startswith(".yuzu")]


@pytest.mark.parametrize("how", ["plain", "bgzip", "gzip"])
def test_after_a_fork(tmp_path: Path, how: str) -> None:
    """Parent and child read at once from a genome that is too large for a file's buffer."""
    rest = "".join(random.Random(3).choices("ACGT", k=1_000_000))
    text = f">chr1\n{LETTERS}{rest}\n"
    path = pack(tmp_path / f"g.fa{'.gz' * (how != 'plain')}", how, text)
    process = start(str(path), "fork")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.strip() == LETTERS
