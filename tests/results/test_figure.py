"""What is on the axes of a picture."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tests.support.results import Made, make_result, random_sequences
from yuzu_cli.results.derived import ACROSS, derive
from yuzu_cli.results.plot import strongest
from yuzu_cli.results.plot.figure import draw
from yuzu_cli.results.plot.logo import _BASES
from yuzu_cli.results.plot.region import view
from yuzu_cli.results.streaming import Source

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


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
            for box in (path.get_extents() for path in logo.collections[0].get_paths())
        )
        middle, height, sign = np.array(letters).T
        expected = small.contribution[0, target]
        np.testing.assert_allclose(middle, np.arange(101, 129), atol=0.1)
        np.testing.assert_allclose(height, np.abs(expected), rtol=1e-3, atol=1e-6)
        assert (np.sign(sign) == np.sign(expected)).all()
        assert logo.get_position().y0 > heat.get_position().y1
        assert logo.get_xlim() == heat.get_xlim() == (100.5, 128.5)


def test_one_letter_a_position_and_none_where_it_is_unknown(small: Made) -> None:
    with Source(small.path) as source:
        seen = view(source, 1, [1])
    assert seen.text[-3:] == "NGT"
    figure = draw(seen)
    logo = next(ax for ax in figure.axes if ax.get_ylabel() == "contribution")
    heights = [path.get_extents().height for path in logo.collections[0].get_paths()]
    assert [height > 0 for height in heights] == [*[True] * 25, False, True, True]
    assert "grey: unknown letter" in figure.texts[-1].get_text()
    heat = next(ax for ax in figure.axes if ax.images)
    shown = heat.images[0].get_array()
    assert isinstance(shown, np.ma.MaskedArray)
    grey = np.ma.getmaskarray(shown)
    assert grey[:, 25].all()
    assert grey.sum() == 4


def test_a_window_of_the_minus_strand_is_drawn_along_the_other(small: Made) -> None:
    with Source(small.path) as source:
        seen = view(source, 1)
    turn = [3, 2, 1, 0]
    np.testing.assert_array_equal(seen.effect, small.delta[1][:, turn, ::-1])
    np.testing.assert_array_equal(seen.contribution, small.contribution[1][:, ::-1])
    assert "".join("TGCA"["ACGT".find(a)] if a != "N" else "N" for a in reversed(seen.text)) == (
        "ACN" + "".join("ACGT"[code] for code in small.codes[1][3:28])
    )


@pytest.mark.parametrize(
    ("row", "ticks", "title", "place"),
    [
        (0, {"110", "120"}, "a", "chr1:101-128, + strand"),
        (1, {"210", "220"}, "b/c", "chr1:203-230, + strand (the window is on the - strand)"),
        (2, {"10", "20"}, "r", "r:1-28"),
    ],
    ids=["plus", "minus", "record"],
)
def test_coordinates_count_from_1_and_regions_have_names(
    small: Made, row: int, ticks: set[str], title: str, place: str
) -> None:
    with Source(small.path) as source:
        seen = view(source, row, [0])
    figure = draw(seen)
    axis = next(ax for ax in figure.axes if ax.get_xlabel().startswith("position in"))
    shown = [tick.get_text() for tick in axis.get_xticklabels()]
    assert ticks <= set(shown)
    assert [float(text) for text in shown] == axis.get_xticks().tolist()
    assert "counted from 1" in axis.get_xlabel()
    assert [text.get_text() for text in figure.texts[:2]] == [title, place]


def test_every_target_has_a_strip_and_its_own_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    delta = rng.normal(size=(1, 3, 4, 200)) * np.array([1, 10, 100])[None, :, None, None]
    names = ("one", "two", "three")
    made = make_result(tmp_path / "in.h5", [("c", 0, 200, "x", "+")], random_sequences(1, 200),
                       delta=delta.astype(np.float32), targets=names)  # fmt: skip
    with Source(made.path) as source:
        seen = view(source, 0)
    for same in (False, True):
        axes = draw(seen, same_scale=same).axes
        strips, maps = axes[:3], [ax for ax in axes if ax.images]
        assert tuple(ax.get_title("left") for ax in strips) == names
        for found in (
            {ax.get_ylim() for ax in strips},
            {ax.images[0].get_clim() for ax in maps},
            {ax.get_ylim() for ax in axes if ax.get_ylabel() == "contribution"},
        ):
            assert len(found) == (1 if same else 3)
        assert all(ax.get_yticks()[0] == 0 and len(ax.get_yticks()) > 1 for ax in strips)


@pytest.mark.parametrize(
    ("config", "words"),
    [("{}", "Δ output\nblue lowers"), ("score: {transform: logit}", "Δ logit\nblue lowers")],
)
def test_the_scale_says_what_its_colors_mean(tmp_path: Path, config: str, words: str) -> None:
    rows = [("chr1", 0, 20, "x", "+")]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(1, 20), config=config)
    with Source(made.path) as source:
        figure = draw(view(source, 0))
    scales = [ax for heat in figure.axes for ax in heat.child_axes]
    assert [ax.get_ylabel() for ax in scales] == [words] * 2
    assert figure.texts[-1].get_text() == "dots: the letter that is there"


def test_letters_too_narrow_to_be_read_are_bars(tmp_path: Path) -> None:
    from matplotlib.patches import Rectangle

    rows = [("chr1", 0, 600, "x", "+")]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(1, 600), targets=("t",))
    with Source(made.path) as source:
        figure = draw(view(source, 0, [0], "all"))
    logo = next(ax for ax in figure.axes if ax.get_ylabel() == "contribution")
    assert len(logo.patches) == 600
    assert not logo.collections
    for bar in logo.patches:
        assert isinstance(bar, Rectangle)
        at = round(bar.get_x() + bar.get_width() / 2) - 1
        assert bar.get_height() == pytest.approx(made.contribution[0, 0, at])
    assert not next(ax for ax in figure.axes if ax.images).collections  # no dots
    assert figure.texts[-1].get_text() == "bars: A green, C blue, G yellow, T red"


def test_motif_sites_are_marked(small: Made) -> None:
    with Source(small.path) as source:
        seen = view(source, 0, [0], "5:15")
    axes = draw(seen, hits=[(107, 112, "pos 0"), (120, 125, "pos 1"), (110, 114, "neg 0")]).axes
    logo = next(ax for ax in axes if ax.get_ylabel() == "contribution")
    site, other = logo.texts
    assert logo.get_title("left").startswith("one   prediction ")
    assert (site.get_text(), site.get_position()[0]) == ("pos 0", 110)
    assert (other.get_text(), other.get_position()[0]) == ("neg 0", 112.5)
    assert other.get_position()[1] > site.get_position()[1] + 0.1  # as they meet


@pytest.mark.parametrize(
    ("save", "logo", "heat"),
    [
        (("contribution",), "contribution", False),
        (("l2",), "mean l2", True),
        (("jsd",), "mean jsd", True),
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
    if save[0] in ACROSS:
        score = derive(save[0], "delta", made.delta, made.codes, made.reference)[0]
        np.testing.assert_allclose(seen.contribution[0], score.sum(axis=0) / 3, rtol=1e-5)
    else:
        np.testing.assert_allclose(seen.contribution, made.contribution[0], atol=1e-6)


#: Linear RGB as people without green or red cones see it (Machado, Oliveira, Fernandes, 2009).
BLIND = {
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}


@pytest.mark.parametrize("kind", BLIND)
def test_colors_of_letters_stay_apart_for_colour_blind_readers(kind: str) -> None:
    from matplotlib.colors import to_rgb

    def seen(color: str) -> np.ndarray:
        linear = np.array(BLIND[kind]) @ np.power(to_rgb(color), 2.2)
        return np.power(linear.clip(0, 1), 1 / 2.2)

    def least(colors: list[str]) -> float:
        return min(float(np.linalg.norm(seen(a) - seen(b))) for a, b in combinations(colors, 2))

    assert least([_BASES[letter] for letter in "ACGT"]) > 0.25


def test_colors_that_are_not_apart_are_seen_not_to_be() -> None:
    """Green and red as logos mostly have them."""
    linear = [np.power(color, 2.2) for color in ((0.06, 0.59, 0.28), (0.84, 0.16, 0.22))]
    seen = [np.power(np.array(BLIND["deuteranopia"]) @ c, 1 / 2.2) for c in linear]
    assert np.linalg.norm(seen[0] - seen[1]) < 0.25


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


def test_one_position_has_one_tick_and_a_long_name_is_cut(tmp_path: Path) -> None:
    rows = [("chr1", 10, 30, "long " * 30, "+")]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(1, 20), mutate=(5, 6))
    with Source(made.path) as source:
        figure = draw(view(source, 0))
    figure.png(50)
    low = next(ax for ax in figure.axes if ax.get_xlabel().startswith("position"))
    assert [at for at in low.get_xticks() if 15.5 < at < 16.5] == [16]
    assert figure.texts[0].get_window_extent().x1 < figure.bbox.x1
