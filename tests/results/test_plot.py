"""Pictures: which regions and places they show, which files they become, what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.results import MOTIF, Made, make_result, planted_result, random_sequences
from yuzu_cli.cli import main
from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.results.plot import plot, strongest
from yuzu_cli.results.plot.figure import draw
from yuzu_cli.results.plot.region import ZOOM, label, view
from yuzu_cli.results.streaming import Source

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.mark.parametrize(
    ("stretch", "row", "expected"),
    [
        ("5:12", 0, (5, 12)),
        ("20:99", 0, (20, 28)),
        ("chr1:106-112", 0, (5, 12)),
        ("5:12", 1, (16, 23)),
        ("chr1:219-225", 1, (16, 23)),
        ("all", 0, (0, 28)),
        (None, 0, (0, 28)),
    ],
    ids=["window", "cut", "genome", "window, minus", "genome, minus", "all", "none"],
)
def test_ranges(small: Made, stretch: str | None, row: int, expected: tuple[int, int]) -> None:
    with Source(small.path) as source:
        seen = view(source, row, [0], stretch)
    assert (seen.start, seen.stop) == expected


@pytest.mark.parametrize(
    "stretch", ["5", "12:5", "28:30", "chr2:105-112", "chr1:1-2", "chr1:,-,", "a:b"]
)
def test_what_is_no_range(small: Made, stretch: str) -> None:
    with Source(small.path) as source, pytest.raises(UsageError, match="--range"):
        view(source, 0, [0], stretch)


def test_without_options_the_motif_of_the_strongest_region_is_in_the_middle(tmp_path: Path) -> None:
    made = planted_result(tmp_path / "in.h5", n=6, length=300)
    with Source(made.path) as source:
        (row,) = strongest(source, 1)
        seen = view(source, row)
    assert row == np.abs(made.contribution).max(axis=(1, 2)).argmax()
    reverse = MOTIF.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    at = max(seen.text.find(MOTIF), seen.text.find(reverse))
    assert abs(at + len(MOTIF) / 2 - ZOOM / 2) < 12 or seen.start in (0, 300 - ZOOM)
    assert seen.stop - seen.start == ZOOM
    strip = draw(seen).axes[0]
    assert strip.get_xlim() == (seen.first + 0.5, seen.first + 300.5)
    assert strip.get_yticklabels()[0].get_text() == "0"
    inside = np.abs(np.nan_to_num(made.delta[row])).max(axis=(0, 1)).argmax()
    assert seen.start <= inside < seen.stop


def test_the_strongest_substitution_is_always_in_sight(tmp_path: Path) -> None:
    delta = np.zeros((1, 1, 4, 400), np.float32)
    delta[0, 0, :, 20:60] = -1
    delta[0, 0, 3, 390] = 3
    made = make_result(tmp_path / "in.h5", [("c", 0, 400, "x", "+")], ["A" * 400], delta=delta,
                       targets=("t",))  # fmt: skip
    with Source(made.path) as source:
        seen = view(source, 0)
    assert (seen.start, seen.stop) == (300, 400)


def test_targets_without_names_are_called_what_they_are() -> None:
    names = {"3": "target 3", "1[0]": "output 1[0]", "profile[2, 5]": "profile[2, 5]", "t": "t"}
    assert {name: label(name) for name in names} == names


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_one_region_in_one_file(small: Made, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "sub" / f"x.{suffix}"
    assert plot(small.path, out, regions=["a"], targets=["one"]) == [out]
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert out.read_bytes().startswith(start)
    first = out.read_bytes()
    with pytest.raises(OutputError, match="--force replaces it"):
        plot(small.path, out, regions=["a"], targets=["one"])
    plot(small.path, out, regions=["a"], targets=["one"], force=True)
    assert out.read_bytes() == first


def test_several_regions_go_into_a_folder_or_a_pdf(small: Made, tmp_path: Path) -> None:
    paths = plot(small.path, tmp_path / "d", regions=["chr1:200-230", "0"], targets=["one"])
    assert [path.name for path in paths] == ["00001-b_c.png", "00000-a.png"]
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == sorted(
        path.name for path in paths
    )
    plot(small.path, tmp_path / "x.pdf", top=3, targets=["one"])
    text = (tmp_path / "x.pdf").read_bytes()
    assert text.count(b"/Type /Page ") + text.count(b"/Type /Page\n") == 3


@pytest.mark.parametrize(
    ("region", "drawn"),
    [
        ("chr1:1,100-1,160", "chr1:1,100-1,160, + strand"),
        ("chr1:1150-1150", "chr1:1,130-1,170, + strand"),
        ("chr1:1001-1200", "chr1:1,095-1,194, + strand"),
    ],
    ids=["place", "one base", "window"],
)
def test_a_place_within_a_window_is_what_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str, drawn: str
) -> None:
    delta = np.zeros((1, 1, 4, 200), np.float32)
    delta[0, 0, :, 144] = 1
    rows = [("chr1", 1000, 1200, "a", "+")]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(1, 200), delta=delta,
                       targets=("t",))  # fmt: skip
    seen: list[Any] = []

    def save(pictures: Iterator[Any], path: Path, _: str) -> None:
        path.touch()
        seen.extend(pictures)

    monkeypatch.setattr("yuzu_cli.results.plot._save", save)
    plot(made.path, tmp_path / "x.png", regions=[region])
    assert [figure.texts[1].get_text() for figure in seen] == [drawn]


def test_what_cannot_be_drawn(small: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give a \.pdf or a folder"):
        plot(small.path, tmp_path / "x.png", regions=["0", "1"])
    with pytest.raises(UsageError, match=r"cannot draw a \.bmp"):
        plot(small.path, tmp_path / "x.bmp")
    with pytest.raises(OutputError, match="has no region 'none'"):
        plot(small.path, tmp_path / "x.png", regions=["none"])
    make_result(tmp_path / "empty.h5", [], [])
    with pytest.raises(OutputError, match="holds no regions"):
        plot(tmp_path / "empty.h5", tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("command", ["plot", "report"])
def test_without_matplotlib_a_line_says_what_to_install(
    small: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("yuzu_cli.results.")]:
        if "report" in name or "plot" in name:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as ended:
        main([command, str(small.path), "-o", str(small.path.with_name("x.html"))])
    assert ended.value.code == 2
    assert "pictures need matplotlib, which is not installed here; pip" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "top", "error"),
    [("taken.png", 1, "exists already"), ("new.png", 2, "one png holds one region")],
)
def test_where_no_picture_may_go_is_told_before_the_result_is_read(
    small: Made, monkeypatch: pytest.MonkeyPatch, name: str, top: int, error: str
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("all of the result was read")

    (small.path.parent / "taken.png").touch()
    monkeypatch.setattr("yuzu_cli.results.plot.strongest", read)
    with pytest.raises((OutputError, UsageError), match=error):
        plot(small.path, small.path.parent / name, top=top)
