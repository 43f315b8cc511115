"""Pictures of results: a logo of contributions over a map of every substitution's effect.

Chooses regions and writes files; `figure` draws, from the numbers of `region`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.files import check_place, replacing
from yuzu_cli.results.plot.region import head, view
from yuzu_cli.results.reader import Row
from yuzu_cli.results.streaming import Source
from yuzu_cli.selection import place

if TYPE_CHECKING:
    from yuzu_cli.results.plot.style import Picture

if find_spec("matplotlib") is None:  # said before hours of reading
    _HINT = "pip install 'yuzu-cli[plots]'"
    raise UsageError("", "pictures need matplotlib, which is not installed here", _HINT)

FORMATS = ("png", "pdf", "svg")
LEAST = 40
_DPI = 200


def plot(
    result: str | Path,
    out: str | Path,
    *,
    regions: Sequence[str] = (),
    top: int = 1,
    targets: Sequence[str] = (),
    stretch: str | None = None,
    same_scale: bool = False,
    as_map: bool = False,
    force: bool = False,
) -> list[Path]:
    """Draw regions of a result, as the options of `yuzu plot` say; the files written.

    `regions`, `top` and `targets` are as there; `stretch` is ``--range``, `as_map` ``--map``. Of a
    region that is given by a place within it, that place is drawn. Without a suffix, or where a
    folder is, `out` becomes a folder of PNGs.

    Raises
    ------
    UsageError
        For options that fit neither the result nor each other.
    OutputError
        When the result cannot be read, has no such region, or the picture cannot be written.
    """
    from yuzu_cli.results.plot.figure import draw
    from yuzu_cli.results.plot.square import draw_square

    out = Path(out)
    with Source(result) as source:
        folder = out.suffix == "" or out.is_dir()
        if not folder:  # before all of the result is read
            _one_file(out, len(regions) or min(top, source.n_regions))
            check_place(out, force)
        rows = [source.row(source.find(text)) for text in regions]
        rows = rows or [source.row(index) for index in strongest(source, top)]
        chosen = source.choose(targets) if targets else None

        def picture(row: Row, text: str) -> Picture:
            if as_map:
                return draw_square(source, row, chosen)
            seen = view(source, row.index, chosen, stretch or _place(row, text))
            return draw(seen, same_scale=same_scale)

        asked = list(zip(rows, regions or [""] * len(rows), strict=True))
        pages = {out: asked}
        if folder:
            pages = {out / f"{_file_name(row)}.png": [(row, text)] for row, text in asked}
        with replacing([*pages], force) as temporary:
            for path, (final, page) in zip(temporary, pages.items(), strict=True):
                _save((picture(*one) for one in page), path, final.suffix.lower()[1:])
    return [*pages]


def _one_file(out: Path, views: int) -> None:
    """Refuse a file that cannot hold so many pictures."""
    kind = out.suffix.lower()[1:]
    if kind not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError("--output", f"cannot draw a {out.suffix}", f"one of {known}")
    if views > 1 and kind != "pdf":
        raise UsageError("--output", f"one {kind} holds one region", "give a .pdf or a folder")


def _place(row: Row, text: str) -> str | None:
    """The stretch to draw where a region was asked for by a place within it, widened to `LEAST`."""
    chrom, start, end = place(text) or ("", 0, 0)
    if chrom != row.chrom or row.name == text or (start <= row.start and end >= row.end):
        return None
    more = max(0, LEAST - (end - start) + 1) // 2
    return f"{chrom}:{max(1, start + 1 - more)}-{end + more}"


def strongest(source: Source, count: int) -> list[int]:
    """Rows with the largest effect of any single substitution, the strongest first.

    Raises
    ------
    OutputError
        When there are no rows.
    """
    if not source.n_regions:
        raise OutputError(str(source.path), "holds no regions")
    strength, every = np.zeros(source.n_regions), range(len(source.targets))
    for part in source.batches(len(every)):
        effects = np.abs(source.effects(part, every))
        strength[part] = np.nan_to_num(effects).max(axis=(1, 2, 3))
    return np.argsort(-strength, kind="stable")[:count].tolist()


def _save(pictures: Iterator[Picture], path: Path, kind: str) -> None:
    if kind == "pdf":
        from matplotlib.backends.backend_pdf import PdfPages

        with PdfPages(path, metadata={"CreationDate": None}) as pages:
            for picture in pictures:
                pages.savefig(picture)
    for picture in pictures:
        undated: dict[str, Any] | None = {"Date": None} if kind == "svg" else None
        picture.savefig(path, format=kind, dpi=_DPI, metadata=undated)


def _file_name(row: Row) -> str:
    """`row-name`, fit for any file system."""
    name = re.sub(r"[^\w.+-]+", "_", head(row)).strip("._")
    return f"{row.index:05d}-{name}"[:120]
