"""A full disk: one clear line, nothing at the path, nothing lost, and never a crash of HDF5."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs.full_disk import FULL, INFO, child
from tests.support.runs import (
    WIDE,
    expect_rows,
    make_info,
    make_rows,
    small_segments,
    write_all,
)
from yuzu_cli.errors import OutputError
from yuzu_cli.files import write_all as write_bytes
from yuzu_cli.results.export.files import Sink
from yuzu_cli.runs.columns import check_rows
from yuzu_cli.runs.segment import Segment
from yuzu_cli.runs.writer import OutputRun

ROOT = Path(__file__).parents[2]


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "faulthandler",
            "-m",
            "tests.programs.full_disk",
            os.fspath(tmp_path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    batches, finishing = map(int, done.stdout.split())
    assert batches >= 5
    assert finishing >= 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB, where mounting one is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", os.fspath(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", os.fspath(folder)], check=True)


def test_a_disk_that_is_full_and_then_is_not(small_disk: Path) -> None:
    path = small_disk / "out.h5"
    for size in ("120k", "160k", "200k", "240k"):
        command = ["mount", "-o", f"remount,size={size}", os.fspath(small_disk)]
        subprocess.run(command, check=True)
        assert child(path, 0, True) == FULL, size
        assert os.listdir(small_disk) == ["out.h5.part"]
    subprocess.run(["mount", "-o", "remount,size=4m", os.fspath(small_disk)], check=True)
    assert child(path, 0, True) == 0
    expect_rows(path, INFO)


#: Rows with chunks of their own, and enough of them for some small segments.
MANY = WIDE | {"n_records": 60, "batch_size": 4}


def test_too_little_room_is_said_before_an_hour_of_copying(
    tmp_path: Path, monkeypatch: Any
) -> None:
    class Usage:
        free = 10

    small_segments(monkeypatch, 200_000)
    with OutputRun.open(tmp_path / "out.h5", make_info(**MANY)) as run:
        write_all(run)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _: Usage)
            with pytest.raises(OutputError, match=r"needs \d+ kB more, 10 bytes are free"):
                run.finish()
    with OutputRun.open(tmp_path / "out.h5", make_info(**MANY)) as run:
        run.finish()


@pytest.mark.parametrize("nth", range(0, 13, 4))
@pytest.mark.parametrize("pack", ["yes", "no"])
@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt()], ids=["full", "^C"])
def test_any_write_of_the_result_may_fail(
    tmp_path: Path, monkeypatch: Any, nth: int, pack: str, error: BaseException
) -> None:
    small_segments(monkeypatch, 200_000)
    info = make_info(**MANY)
    run = OutputRun.open(tmp_path / "out.h5", info, pack=pack)
    write_all(run)
    run.flush()
    real, calls = os.pwrite, [0]

    def fail(fd: int, data: bytes, offset: int) -> int:
        calls[0] += 1
        if calls[0] > nth // (1 if pack == "yes" else 4):
            raise error
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        run.finish()
    monkeypatch.setattr(os, "pwrite", real)
    run.close()
    assert not (tmp_path / "out.h5").exists()
    assert not [p for p in (tmp_path / "out.h5.part").iterdir() if p.suffix == ".tmp"]
    with OutputRun.open(tmp_path / "out.h5", info, pack=pack) as run:
        assert list(run.pending()) == [], "nothing that was finished is lost"
        run.finish()
    expect_rows(tmp_path / "out.h5", info)


def test_a_sync_that_fails_is_a_failure(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "full")

    info = make_info()
    segment = Segment.create(tmp_path, "run", info, 0)
    segment.append(8, check_rows(info, 0, make_rows(info, 0, 8)))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="the disk is full"):
        segment.commit()
    assert segment.safe_stop == 0


def test_a_sink_reads_back_what_it_could_not_write(tmp_path: Path, monkeypatch: Any) -> None:
    sink = Sink(tmp_path / "x")
    sink.write(b"abcdefgh")

    def fail(*_: object) -> int:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "pwrite", fail)
    sink.seek(4)
    sink.write(b"XY")
    sink.seek(5)
    sink.write(b"ZZZZZ")
    assert isinstance(sink.failure, OSError)
    sink.seek(0)
    buffer = bytearray(12)
    assert sink.readinto(buffer) == 12
    assert bytes(buffer) == b"abcdXZZZZZ\0\0"
    assert sink.seek(0, os.SEEK_END) == 10
    sink.close()


def test_a_short_write_is_gone_on_with(monkeypatch: Any, tmp_path: Path) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data[:3]), at))
    fd = os.open(tmp_path / "x", os.O_WRONLY | os.O_CREAT)
    write_bytes(fd, b"0123456789")
    os.close(fd)
    assert (tmp_path / "x").read_bytes() == b"0123456789"
