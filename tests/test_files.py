"""What is said of sizes, and where a cache lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from yuzu_cli.files import cache_folder, size_text

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
