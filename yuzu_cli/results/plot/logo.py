"""Letters as high as numbers, or bars in their colors where letters would be too narrow."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from yuzu_cli.results.plot.style import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

# Apart for colour-blind readers too. Amino acids: polar, basic, acidic and all others.
_GREEN, _BLUE, _YELLOW, _RED = "#009e73", "#0072b2", "#e69f00", "#d55e00"
_BASES = {"A": _GREEN, "C": _BLUE, "G": _YELLOW, "T": _RED, "U": _RED}
_ACIDS = dict.fromkeys("STNQ", _GREEN) | dict.fromkeys("KRH", _BLUE) | dict.fromkeys("DE", _RED)


def _colors(letters: str) -> dict[str, str]:
    """By letter, for an alphabet."""
    return _BASES if set(letters) <= set(_BASES) else _ACIDS


def color_names(letters: str) -> str:
    """`A green, C blue, ...`"""
    names = {_GREEN: "green", _BLUE: "blue", _YELLOW: "yellow", _RED: "red"}
    color = _colors(letters)
    return ", ".join(f"{letter} {names[color[letter]]}" for letter in letters if letter in color)


def draw_logo(
    ax: Axes, first: int, heights: np.ndarray, text: str, letters: str, *, bars: bool
) -> None:
    """One letter a position from `first` on, or one bar, as high as its value, from 0 either way.

    `heights` are float32 (W,), `text` the letters there, `letters` those of the alphabet.
    """
    colors = [_colors(letters).get(letter, GREY) for letter in text]
    if bars:
        ax.bar(first + np.arange(len(text)), heights, 1.0, color=colors, lw=0)
        return
    paths = [
        Affine2D()
        .scale(0.94, abs(height))
        .translate(at - 0.47, min(height, 0.0))
        .transform_path(_glyph(letter))
        for at, (letter, height) in enumerate(zip(text, heights.tolist(), strict=True), first)
    ]
    ax.add_collection(PathCollection(paths, facecolors=colors, linewidths=0), autolim=False)


@cache
def _glyph(letter: str) -> Path:
    """A letter that fills the unit square, but for those that are narrow."""
    font = FontProperties(family="DejaVu Sans", weight="bold")
    path = TextPath((0, 0), letter, size=1, prop=font)
    box = path.get_extents()
    share = min(1.0, 2 * box.width / box.height)
    fit = Affine2D().translate(-box.x0, -box.y0).scale(share / box.width, 1 / box.height)
    return fit.translate((1 - share) / 2, 0).transform_path(path)
