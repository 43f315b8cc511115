"""Pictures of results: a logo of contributions over a map of every substitution's effect.

Chooses regions and writes files; `figure` draws, from the numbers of `region`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from yuzu_cli.errors import UsageError
from yuzu_cli.files import replacing
from yuzu_cli.results.derived import ACROSS
from yuzu_cli.results.plot.figure import draw
from yuzu_cli.results.plot.region import View, head, view
from yuzu_cli.results.plot.square import Square, draw_square, square
from yuzu_cli.results.plot.style import STYLE
from yuzu_cli.results.reader import Row
from yuzu_cli.results.streaming import Source
from yuzu_cli.selection import place

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
    drawing_needed()
    out = Path(out)
    with Source(result) as source:
        rows = [source.find(text) for text in regions] or strongest(source, top)
        chosen = source.choose(targets) if targets else None
        asked = regions or [""] * len(rows)
        views: list[Any] = [
            square(source, row, chosen)
            if as_map
            else view(source, row, chosen, stretch or _place(source.row(row), text))
            for row, text in zip(rows, asked, strict=True)
        ]
    if out.suffix == "" or out.is_dir():
        paths = [out / f"{_file_name(seen)}.png" for seen in views]
        pages = [[seen] for seen in views]
    else:
        paths, pages = [_one_file(out, len(views))], [views]
    with replacing(paths, force) as temporary:
        for path, final, page in zip(temporary, paths, pages, strict=True):
            _save(page, path, final.suffix.lower()[1:], same_scale)
    return paths


def _one_file(out: Path, views: int) -> Path:
    """The file, if it can hold so many pictures."""
    kind = out.suffix.lower()[1:]
    if kind not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError("--output", f"cannot draw a {out.suffix}", f"one of {known}")
    if views > 1 and kind != "pdf":
        raise UsageError("--output", f"one {kind} holds one region", "give a .pdf or a folder")
    return out


def _place(row: Row, text: str) -> str | None:
    """The stretch to draw where a region was asked for by a place within it, widened to `LEAST`."""
    chrom, start, end = place(text) or ("", 0, 0)
    if chrom != row.chrom or row.name == text or (start <= row.start and end >= row.end):
        return None
    more = max(0, LEAST - (end - start) + 1) // 2
    return f"{chrom}:{max(1, start + 1 - more)}-{end + more}"


def drawing_needed() -> None:
    """Check that what pictures need is there, before hours of reading.

    Raises
    ------
    UsageError
        When matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        hint = "pip install 'yuzu-cli[plots]'"
        raise UsageError("", "pictures need matplotlib, which is not installed here", hint)


def strongest(source: Source, count: int) -> list[int]:
    """Rows with the largest effect of any single substitution, the strongest first.

    Raises
    ------
    UsageError
        When there are no rows.
    """
    if not source.n_regions:
        raise UsageError(str(source.path), "holds no regions", "")
    strength = np.zeros(source.n_regions)
    every = list(range(len(source.targets)))
    name = next((s for s in ("contribution", *ACROSS, "delta") if s in source.saved), "delta")
    for part in source.batches(len(every)):
        values = np.nan_to_num(np.abs(source.values(name, part, every)))
        strength[part] = values.reshape(len(values), -1).max(axis=1)
    return np.argsort(-strength, kind="stable")[:count].tolist()


def _save(views: Sequence[View | Square], path: Path, kind: str, same_scale: bool) -> None:
    import matplotlib as mpl

    def drawn(seen: View | Square) -> Any:
        return draw_square(seen) if isinstance(seen, Square) else draw(seen, same_scale=same_scale)

    plain: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    with mpl.rc_context(STYLE):
        if kind != "pdf":
            drawn(views[0]).savefig(path, format=kind, dpi=_DPI, metadata=plain or None)
            return
        from matplotlib.backends.backend_pdf import PdfPages

        with PdfPages(path, metadata=plain) as pages:
            for seen in views:
                pages.savefig(drawn(seen))


def _file_name(seen: View | Square) -> str:
    """`row-name`, fit for any file system."""
    name = re.sub(r"[^\w.+-]+", "_", head(seen.row)).strip("._")
    return f"{seen.row.index:05d}-{name}"[:120]
