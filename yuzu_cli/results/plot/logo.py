"""Letters as high as numbers, or bars in their colors where letters would be too narrow."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from yuzu_cli.results.plot.style import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

# Apart for colour-blind readers too. Amino acids: polar, basic, acidic and all others.
_GREEN, _BLUE, _YELLOW, _RED = "#009e73", "#0072b2", "#e69f00", "#d55e00"
_BASES = {"A": _GREEN, "C": _BLUE, "G": _YELLOW, "T": _RED, "U": _RED}
_ACIDS = dict.fromkeys("STNQ", _GREEN) | dict.fromkeys("KRH", _BLUE) | dict.fromkeys("DE", _RED)


def _colors(letters: str) -> dict[str, str]:
    return _BASES if set(letters) <= set(_BASES) else _ACIDS


def color_names(letters: str) -> str:
    """`A green, C blue, ...`"""
    names = {_GREEN: "green", _BLUE: "blue", _YELLOW: "yellow", _RED: "red"}
    color = _colors(letters)
    return ", ".join(f"{letter} {names[color[letter]]}" for letter in letters if letter in color)


def draw_bars(ax: Axes, heights: np.ndarray, letters: str) -> None:
    """One bar a position, from heights (W, A)."""
    color = _colors(letters)
    for code, letter in enumerate(letters):
        at = np.flatnonzero(heights[:, code])
        ax.bar(at, heights[at, code], 1.0, color=color.get(letter, GREY), lw=0)


def draw_letters(ax: Axes, heights: np.ndarray, letters: str) -> None:
    """One letter a position, as high as its value, upright on either side of zero."""
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2D

    paths, colors = [], []
    for at, code in zip(*np.nonzero(heights), strict=True):
        height = float(heights[at, code])
        place = Affine2D().scale(0.94, abs(height)).translate(at - 0.47, min(height, 0.0))
        paths.append(place.transform_path(_glyph(letters[code])))
        colors.append(_colors(letters).get(letters[code], GREY))
    ax.add_collection(PathCollection(paths, facecolors=colors, linewidths=0), autolim=False)


@cache
def _glyph(letter: str) -> Path:
    """A letter that fills the unit square, but for those that are narrow."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    font = FontProperties(family="DejaVu Sans", weight="bold")
    path = TextPath((0, 0), letter, size=1, prop=font)
    box = path.get_extents()
    share = min(1.0, 2 * box.width / box.height)
    fit = Affine2D().translate(-box.x0, -box.y0).scale(share / box.width, 1 / box.height)
    return fit.translate((1 - share) / 2, 0).transform_path(path)
