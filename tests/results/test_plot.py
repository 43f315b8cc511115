"""Pictures: what is on their axes, which files they become, what is said when they cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.results import MOTIF, Made, make_result, planted_result, random_sequences
from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.results.plot import plot, strongest
from yuzu_cli.results.plot.figure import draw
from yuzu_cli.results.plot.region import ZOOM, busiest, logo_heights, view
from yuzu_cli.results.streaming import Source

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("logomaker", reason="logomaker is not installed")


@pytest.fixture
def small(tmp_path: Path) -> Made:
    """Three windows of 30; the second is on the minus strand and has an N."""
    sequences = random_sequences(3, 30)
    sequences[1] = "ACN" + sequences[1][3:]
    rows = [("chr1", 100, 130, "a", "+"), ("chr1", 200, 230, "b/c", "-"), ("r", 0, 30, "", ".")]
    return make_result(tmp_path / "in.h5", rows, sequences, targets=("one", "$two"), mutate=(0, 28))


def labels(ax: object) -> list[str]:
    return [tick.get_text() for tick in ax.get_xticklabels()]  # type: ignore[attr-defined]


def test_the_heat_map_is_the_effects_and_the_logo_the_contributions(small: Made) -> None:
    with Source(small.path) as source:
        seen = view(source, 0)
    figure = draw(seen)
    logos = [ax for ax in figure.axes if ax.get_ylabel() == "contribution"]
    maps = [ax for ax in figure.axes if ax.images]
    assert len(logos) == len(maps) == 2
    for target, (logo, heat) in enumerate(zip(logos, maps, strict=True)):
        np.testing.assert_array_equal(heat.images[0].get_array(), small.delta[0, target])
        assert [tick.get_text() for tick in heat.get_yticklabels()] == list("ACGT")
        low, high = heat.images[0].get_clim()
        assert low == -high == -np.abs(small.delta[0, target]).max()
        letters = sorted(
            (box.x0 + box.width / 2, box.height, box.y0 + box.y1)
            for box in (patch.get_path().get_extents() for patch in logo.patches)
        )
        middle, height, sign = np.array(letters).T
        expected = small.contribution[0, target]
        np.testing.assert_allclose(middle, np.arange(28), atol=0.1)
        np.testing.assert_allclose(height, np.abs(expected) * 0.96, rtol=0.1, atol=1e-3)
        assert (np.sign(sign) == np.sign(expected)).all()
        assert logo.get_position().y0 > heat.get_position().y1
        assert logo.get_xlim() == heat.get_xlim() == (-0.5, 27.5)


def test_one_letter_a_position_and_none_where_it_is_unknown(small: Made) -> None:
    with Source(small.path) as source:
        seen = view(source, 1, [1])
    table = logo_heights(seen, 0)
    assert ((table != 0).sum(axis=1) == [1, 1, 0, *[1] * 25]).all()
    assert seen.text[:3] == "ACN"
    heat = next(ax for ax in draw(seen).axes if ax.images)
    assert heat.images[0].get_array().mask[:, 2].all()
    assert heat.images[0].get_array().mask.sum() == 4


@pytest.mark.parametrize(
    ("row", "ticks", "place"),
    [
        (0, {"100": 0, "110": 10}, "chr1:100-128 (+)"),
        (1, {"220": 9, "210": 19}, "chr1:202-230 (-)"),
        (2, {"0": 0, "10": 10}, "r:0-28"),
    ],
    ids=["plus", "minus runs right", "record"],
)
def test_coordinates_on_the_axis(small: Made, row: int, ticks: dict, place: str) -> None:
    with Source(small.path) as source:
        seen = view(source, row, [0])
    assert seen.place == place
    figure = draw(seen)
    axis = next(ax for ax in figure.axes if ax.get_xlabel().startswith("position in"))
    shown = dict(zip(labels(axis), axis.get_xticks(), strict=True))
    assert ticks.items() <= shown.items()
    for label, at in shown.items():
        assert seen.base(int(at)) == int(label.replace(",", ""))
    assert ("minus strand" in axis.get_xlabel()) == (row == 1)
    assert any(text.get_text() == place for text in figure.texts)


@pytest.mark.parametrize(
    ("stretch", "row", "expected"),
    [
        ("5:12", 0, (5, 12)),
        ("20:99", 0, (20, 28)),
        ("chr1:105-112", 0, (5, 12)),
        ("chr1:218-225", 1, (5, 12)),
        ("all", 0, (0, 28)),
        (None, 0, (0, 28)),
    ],
    ids=["window", "cut to the mutated", "genome", "genome, minus", "all", "none"],
)
def test_ranges(small: Made, stretch: str | None, row: int, expected: tuple[int, int]) -> None:
    with Source(small.path) as source:
        seen = view(source, row, [0], stretch)
    assert (seen.start, seen.stop) == expected


@pytest.mark.parametrize("stretch", ["5", "12:5", "28:30", "chr2:105-112", "chr1:1-2", "a:b"])
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
    overview = draw(seen).axes[0]
    assert len(overview.lines[-1].get_xdata()) == 300


def test_busiest_counts_every_target_alike() -> None:
    contribution = np.zeros((2, 400), np.float32)
    contribution[0, 10] = 1e-6
    contribution[1, 200:210] = -5
    start, stop = busiest(contribution, 100)
    assert start <= 200
    assert stop >= 210


@pytest.mark.parametrize(
    ("save", "logo", "heat"),
    [
        (("contribution",), "contribution", False),
        (("l2",), "mean l2", True),
        (("centered",), "contribution", True),
        (("prediction",), "contribution", True),
    ],
)
def test_every_saved_score_gives_a_picture(
    tmp_path: Path, save: tuple[str, ...], logo: str, heat: bool
) -> None:
    rows = [("chr1", 0, 20, "x", "+")]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(1, 20), save=save)
    with Source(made.path) as source:
        seen = view(source, 0)
        assert strongest(source, 3) == [0]
    figure = draw(seen)
    assert logo in {ax.get_ylabel() for ax in figure.axes}
    assert any(ax.images for ax in figure.axes) == heat
    if save == ("l2",):
        l2 = np.sqrt((made.delta[0] ** 2).sum(axis=0))
        np.testing.assert_allclose(seen.contribution[0], l2.sum(axis=0) / 3, rtol=1e-5)
    else:
        np.testing.assert_allclose(seen.contribution, made.contribution[0], atol=1e-6)


def test_a_protein_and_many_targets(tmp_path: Path) -> None:
    letters = "ACDEFGHIKLMNPQRSTVWY"
    delta = np.ones((1, 9, 20, 6), np.float32) * np.arange(9)[None, :, None, None]
    names = tuple(f"t{i}" for i in range(9))
    made = make_result(
        tmp_path / "in.h5", [("P", 0, 6, "P", ".")], ["MKWVTF"], letters=letters, delta=delta,
        targets=names,
    )  # fmt: skip
    with Source(made.path) as source:
        seen = view(source, 0)
    assert seen.targets == ("t5", "t6", "t7", "t8")
    heat = next(ax for ax in draw(seen).axes if ax.images)
    assert "".join(tick.get_text() for tick in heat.get_yticklabels()) == letters


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


def test_what_cannot_be_drawn(small: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give a \.pdf or a folder"):
        plot(small.path, tmp_path / "x.png", regions=["0", "1"])
    with pytest.raises(UsageError, match=r"cannot draw a \.bmp"):
        plot(small.path, tmp_path / "x.bmp")
    with pytest.raises(OutputError, match="has no region 'none'"):
        plot(small.path, tmp_path / "x.png", regions=["none"])
    make_result(tmp_path / "empty.h5", [], [])
    with pytest.raises(UsageError, match="holds no regions"):
        plot(tmp_path / "empty.h5", tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
