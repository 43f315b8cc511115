"""One page about one result: what was run, how exact it was, how large effects are, and where.

A single HTML file with its pictures inside, that can be mailed, archived and opened without a
network. What is on it is gathered here; how it looks is in `page/`.
"""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yuzu_cli.files import replacing
from yuzu_cli.results.estimate import agreement, sentence
from yuzu_cli.results.motifs import Motifs
from yuzu_cli.results.plot.charts import places_figure, sizes_figure
from yuzu_cli.results.plot.figure import draw
from yuzu_cli.results.plot.region import head, label, view, window
from yuzu_cli.results.plot.style import Picture
from yuzu_cli.results.reader import Row
from yuzu_cli.results.schema import STATUS
from yuzu_cli.results.streaming import Source
from yuzu_cli.results.summary import Strongest, Summary, summarise

MOST_TARGETS = 8
MOST_REGIONS = 100
_PAGE = Path(__file__).with_name("page")
_ZOOM, _INCHES, _DPI = 60, 5.6, 160


def report(
    result: str | Path,
    out: str | Path,
    *,
    top: int = 5,
    motifs: str | Path | None = None,
    force: bool = False,
) -> Path:
    """Write the page, as the options of `yuzu report` say; `out` again.

    Raises
    ------
    OutputError
        When the result cannot be read, or the page cannot be written.
    InputError
        When the motifs are not of this result.
    UsageError
        When what pictures need is not installed.
    """
    out = Path(out)
    with replacing([out], force) as (path,), Source(result) as source:
        found = Motifs(Path(motifs), source) if motifs else None
        summary = summarise(source, max(top, MOST_REGIONS))
        panels = _Panels(source, summary, top, found)
        text = _rendered(
            title=Path(result).name,
            **_run(source),
            **_effects(source, summary),
            motifs=found,
            panels=[panels.panel(t) for t in summary.order[:MOST_TARGETS]],
        )
        path.write_text(text, encoding="utf-8")
    return out


def _rendered(**facts: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters["short"] = lambda v: f"{v:,}" if isinstance(v, int) else f"{v:.3g}"
    style, script = ((_PAGE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = pages.get_template("page.html")
    return page.render(style=style, script=script, digest=digest, **facts)


def _run(source: Source) -> dict[str, Any]:
    """What was run on what, and how far it is from naive."""
    start, end, attributes = source.mutate_start, source.mutate_end, source.attributes
    mutants = source.n_regions * (end - start) * (len(source.alphabet) - 1)
    found = agreement(source)
    return {
        "lead": (
            f"Every substitution at positions {start + 1:,} to {end:,} of "
            f"{_plural(source.n_regions, 'window')} of {source.length:,}: {mutants:,} mutants, "
            f"{_plural(len(source.targets), 'target')}."
        ),
        "facts": _facts(source),
        "code": ("command", "model sha256", "input sha256"),
        "attributes": attributes,
        "compared": not math.isnan(attributes["verify_max_abs_error"]),
        "estimate": sentence(found) if found else "",
    }


def _facts(source: Source) -> list[tuple[str, str]]:
    attrs, config = source.attributes, source.config
    records = attrs["record_stop"] - attrs["record_start"]
    inputs = config.get("input") or {}
    paths = [inputs[key] for key in ("bed", "fasta", "genome") if inputs.get(key)]
    models = (config.get("model") or {}).get("path") or []
    rows = [
        ("model", ", ".join([models] if isinstance(models, str) else models)),
        ("sequences", ", ".join(paths)),
        ("command", attrs["command"]),
        ("started", attrs["created"]),
        ("backend", f"{attrs['backend']}, {attrs['precision']}, {attrs['device']}"),
        ("versions", f"yuzu {attrs['yuzu_version']}, torch {attrs['torch_version']}"),
        ("scores saved", ", ".join(source.saved)),
        ("input records", f"{records:,}, {records - source.n_regions:,} dropped"),
        *((f"windows {STATUS[mark]}", f"{n:,}") for mark, n in source.status_counts().items() if n),
        ("model sha256", attrs["model_sha256"]),
        ("input sha256", attrs["input_sha256"]),
    ]
    if "shard_index" in attrs:
        shard = f"{attrs['shard_index']} of {attrs['shard_count']}: not the whole input"
        rows.insert(0, ("shard", shard))
    return rows


def _effects(source: Source, summary: Summary) -> dict[str, Any]:
    """A row of figures for each target, the strongest first; none where nothing was counted."""
    rows: list[tuple[str, str, list[float]]] = []
    for rank, t in enumerate(summary.order):
        figures = [summary.reference_mean[t], summary.reference_sd[t]] if summary.signed else []
        figures += [summary.lowest[t], summary.highest[t]]
        figures += [summary.quantile(t, 0.5), summary.quantile(t, 0.99)]
        link = f"target-{t}" if rank < MOST_TARGETS else ""
        rows.append((label(summary.targets[t]), link, [float(value) for value in figures]))
    what = {"delta": "effect"}.get(summary.kind, summary.kind)
    return {"effects": rows, "what": what, "unit": source.unit, "signed": summary.signed}


@dataclass(frozen=True, slots=True)
class _Panels:
    """The parts about single targets: charts, strongest regions and their pictures."""

    source: Source
    summary: Summary
    top: int
    motifs: Motifs | None

    def panel(self, t: int) -> dict[str, Any]:
        return {
            "id": f"target-{t}",
            "name": label(self.summary.targets[t]),
            "sizes": _png(sizes_figure(self.summary, t, self.source.unit)),
            "places": _png(places_figure(self.summary, t, self.source.mutate_start)),
            "regions": [
                self._region(found, rank) for rank, found in enumerate(self.summary.top[t], 1)
            ],
        }

    def _region(self, found: Strongest, rank: int) -> dict[str, Any]:
        row, place, picture = self.source.row(found.row), "", ""
        if rank <= self.top:
            targets = [found.target] if self.summary.signed else None
            seen = view(self.source, found.row, targets, width=_ZOOM)
            hits = self.motifs.of(row) if self.motifs else []
            place, picture = seen.place, _png(draw(seen, inches=_INCHES, hits=hits))
        return {
            "id": f"target-{found.target}-region-{rank}",
            "name": head(row),
            "change": _change(self.source, row, found),
            "effect": found.effect,
            "window": window(row),
            "motifs": self.motifs.names(row) if self.motifs else "",
            "place": place,
            "picture": picture,
        }


def _change(source: Source, row: Row, found: Strongest) -> str:
    """`A>G at 7,123,456` on the forward strand, or the position alone."""
    position = source.mutate_start + found.position
    where = f"at {row.on_genome(position, position + 1)[1]:,}"
    if found.letter < 0:
        return where
    codes = np.array([row.codes[position], found.letter])
    letters = source.text(source.complement[codes] if row.strand == "-" else codes)
    return f"{letters[0]}>{letters[1]} {where}"


def _png(picture: Picture) -> str:
    return base64.b64encode(picture.png(_DPI)).decode("ascii")


def _plural(count: int, noun: str) -> str:
    """`1 target`, `2 targets`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
