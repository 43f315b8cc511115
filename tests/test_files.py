"""What is said of sizes, and where a cache lies."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from yuzu_cli.errors import OutputError
from yuzu_cli.files import cache_folder, disk_errors, replacing, size_text

SIZES = {
    0: "0 bytes",
    999: "999 bytes",
    1000: "1 kB",
    1536: "1.54 kB",
    796_000: "796 kB",
    999_499: "999 kB",
    999_600: "1 MB",
    2_684_581_648: "2.68 GB",
    80.4e9: "80.4 GB",
    3e12: "3 TB",
    4.2e15: "4200 TB",
}


@pytest.mark.parametrize(("size", "text"), SIZES.items())
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text


def test_the_cache_is_where_the_system_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/yuzu")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/yuzu")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(OSError):
        cache_folder().mkdir(parents=True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_space_is_asked_for_only_where_it_is_missing(code: int) -> None:
    with pytest.raises(OutputError) as caught, disk_errors("x"):
        raise OSError(code, os.strerror(code))
    assert ("free some space" in str(caught.value)) == (code == errno.ENOSPC)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pipe", "pipe: is not a regular file; name a file"),
        ("folder", "folder: is a folder"),
        ("-", "-: standard output is not written to"),
        ("locked/x", "locked: may not be written to"),
    ],
)
def test_where_no_file_may_be_put_is_told_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    with pytest.raises(OutputError, match=words), replacing([tmp_path / name], force=True):
        raise AssertionError
