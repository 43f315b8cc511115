"""One page about one result: what was run, how exact it was, how large effects are, and where.

A single HTML file with its pictures inside, that can be mailed, archived and opened without a
network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from yuzu_cli.files import replacing
from yuzu_cli.results.estimate import agreement, sentence
from yuzu_cli.results.motifs import Motifs
from yuzu_cli.results.page import image, page, plural, table, text
from yuzu_cli.results.plot import drawing_needed
from yuzu_cli.results.plot.charts import places_figure, sizes_figure
from yuzu_cli.results.plot.region import View, head, label, view, window
from yuzu_cli.results.reader import Row
from yuzu_cli.results.streaming import Source
from yuzu_cli.results.summary import Strongest, Summary, summarise

MOST_TARGETS = 8
MOST_REGIONS = 100
_ZOOM, _INCHES = 60, 5.6


def report(
    result: str | Path,
    out: str | Path,
    *,
    top: int = 5,
    motifs: str | Path | None = None,
    force: bool = False,
) -> Path:
    """Write the page.

    Parameters
    ----------
    result : path-like
    out : path-like
        An .html file.
    top : int
        Regions to draw for each target, the strongest ones; more are listed.
    motifs : path-like or None
        What TF-MoDISco found in an export of this result: its HDF5 file.
    force : bool
        Replace a file that is there.

    Raises
    ------
    OutputError
        When the result cannot be read, or the page cannot be written.
    InputError
        When the motifs are not of this result.
    UsageError
        When what pictures need is not installed.
    """
    drawing_needed()
    out, title = Path(out), Path(result).name
    with Source(result) as source:
        found = Motifs(Path(motifs), source) if motifs else None
        summary = summarise(source, max(top, MOST_REGIONS))
        body = [f"<h1>{text(title)}</h1>", _lead(source), _facts(source, summary)]
        body += [_verification(source), _overview(source, summary)]
        body += _motifs(found) if found else []
        size = np.maximum(-summary.lowest, summary.highest)
        chosen = np.argsort(-size, kind="stable")[:MOST_TARGETS].tolist()
        if summary.count.sum():
            about = "Alleles and positions are those of the + strand; positions count from 1."
            body += [f'<h2>Target by target</h2>\n<p class="note">{about}</p>']
            body += ['<input id="search" type="search" hidden aria-label="Search" placeholder="']
            body[-1] += 'find a region, a place, a substitution">\n<nav id="tabs"></nav>'
            read = cache(source.row)
            body += [_target(source, read, summary, t, top, found) for t in chosen]
    with replacing([out], force) as (path,):
        path.write_text(page(title, body), encoding="utf-8")
    return out


def _lead(source: Source) -> str:
    start, end = source.mutate_start, source.mutate_end
    mutants = source.n_regions * (end - start) * (len(source.alphabet) - 1)
    return (
        f'<p class="lead">Every substitution at positions {start + 1:,} to {end:,} of '
        f"{plural(source.n_regions, 'window')} of {source.length:,}: {mutants:,} mutants, "
        f"{plural(len(source.targets), 'target')}.</p>"
    )


def _facts(source: Source, summary: Summary) -> str:
    attrs, config = source.attributes, source.config
    records = attrs["record_stop"] - attrs["record_start"]
    inputs = config.get("input") or {}
    paths = [inputs[key] for key in ("bed", "fasta", "genome") if inputs.get(key)]
    models = (config.get("model") or {}).get("path") or []
    rows = [
        ("model", text(", ".join([models] if isinstance(models, str) else models))),
        ("sequences", text(", ".join(paths))),
        ("command", f"<code>{text(attrs['command'])}</code>"),
        ("started", text(attrs["created"])),
        ("backend", text(f"{attrs['backend']}, {attrs['precision']}, {attrs['device']}")),
        ("versions", text(f"yuzu {attrs['yuzu_version']}, torch {attrs['torch_version']}")),
        ("scores saved", text(", ".join(source.saved))),
        ("input records", f"{records:,}, {records - source.n_regions:,} dropped"),
        *((f"windows {name}", f"{count:,}") for name, count in summary.status.items() if count),
        ("model sha256", f"<code>{text(attrs['model_sha256'])}</code>"),
        ("input sha256", f"<code>{text(attrs['input_sha256'])}</code>"),
    ]
    if "shard_index" in attrs:
        shard = f"{attrs['shard_index']} of {attrs['shard_count']}: not the whole input"
        rows.insert(0, ("shard", shard))
    cells = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows if value)
    settings = f"<details><summary>settings</summary><pre>{text(attrs['config'])}</pre></details>"
    return f'<h2>Run</h2>\n<table id="facts">{cells}</table>\n{settings}'


def _verification(source: Source) -> str:
    absolute = float(source.attributes["verify_max_abs_error"])
    relative = float(source.attributes["verify_max_rel_error"])
    if source.attributes["backend"] == "naive":
        words = "<p>The naive method: every mutant had a forward pass of its own.</p>"
    elif math.isnan(absolute):
        words = '<p class="bad">No mutants were compared with the naive method.</p>'
    else:
        words = (
            "<p>Mutants of these sequences were also computed one forward pass each. Largest "
            f'difference: <b class="good">{absolute:.2g}</b>, or {relative:.2g} of the largest '
            "effect among them.</p>"
        )
    if found := agreement(source):
        words += (
            f'<p id="estimate">Effects are estimates, but for the largest: {sentence(found)}.</p>'
        )
    return f'<h2>Verification</h2>\n<div id="verification">{words}</div>'


def _what(summary: Summary) -> str:
    return {"delta": "effect", "contribution": "contribution"}.get(summary.kind, summary.kind)


def _overview(source: Source, summary: Summary) -> str:
    """A row for each target, the strongest first."""
    if not summary.count.sum():
        return f'<h2>Effects</h2>\n<p id="effects" class="bad">There are no {_what(summary)}s.</p>'
    size = np.maximum(-summary.lowest, summary.highest)
    order = np.argsort(-size, kind="stable").tolist()
    rows = []
    for rank, t in enumerate(order):
        name = text(label(summary.targets[t]))
        name = f'<a href="#target-{t}">{name}</a>' if rank < MOST_TARGETS else name
        means = (summary.reference_mean[t], summary.reference_sd[t])
        reference = [float(value) for value in means] if summary.signed else []
        ends = (summary.lowest[t], summary.highest[t])
        middle = (summary.quantile(t, 0.5), summary.quantile(t, 0.99))
        rows.append([name, *reference, *map(float, (*ends, *middle))])
    means_head = ("mean prediction", "its spread (sd)") if summary.signed else ()
    columns = ("largest loss", "largest gain", "median size", "99 % are below")
    unit = (
        f"Differences of the {source.unit}." if summary.signed else f"{summary.kind} over targets."
    )
    return f'<h2>Effects</h2>\n<p class="note">{text(unit)}</p>\n' + table(
        "effects", ("target", *means_head, *columns), rows
    )


def _motifs(found: Motifs) -> list[str]:
    rows = [
        (text(one.name), f"<code>{text(one.letters)}</code>", one.sites) for one in found.patterns
    ]
    note = "Found by TF-MoDISco; their sites are marked above the logos below."
    columns = ("motif", "letters", "sites")
    return [f'<h2>Motifs</h2>\n<p class="note">{note}</p>', table("motifs", columns, rows)]


def _target(
    source: Source,
    read: Callable[[int], Row],
    summary: Summary,
    t: int,
    top: int,
    motifs: Motifs | None,
) -> str:
    """Charts, strongest regions and their pictures, for one target."""
    from yuzu_cli.results.plot.figure import draw

    name, key = text(label(summary.targets[t])), f"target-{t}"
    rows, figures = [], []
    for rank, found in enumerate(summary.top[t], start=1):
        row = read(found.row)
        change = _change(source, row, found)
        link = text(head(row))
        if rank <= top:
            seen = view(source, found.row, [t] if summary.signed else None, width=_ZOOM)
            hits = _hits(source, seen, motifs) if motifs else []
            identity = f"{key}-region-{rank}"
            picture = draw(seen, inches=_INCHES, hits=hits)
            alt = f"logo and map of {head(row)} at {seen.place}"
            caption = f"{link}: {change}, effect {found.effect:.3g}"
            caption = f'<figcaption>{caption} (<a href="#{key}">up</a>)</figcaption>'
            figures.append(f"<figure>{image(picture, alt, identity)}{caption}</figure>")
            link = f'<a href="#{identity}">{link}</a>'
        cells = [rank, link, change, found.effect, text(window(row))]
        if motifs:
            cells.append(text(", ".join(dict.fromkeys(hit[2] for hit in motifs.of(found.row)))))
        rows.append(cells)
    columns = ["", "region", "substitution (+ strand)", "effect", "window"]
    columns += ["motifs"] if motifs else []
    charts = image(
        sizes_figure(summary, t, source.unit),
        f"sizes of {_what(summary)}s on {name}",
        f"{key}-sizes",
    ) + image(
        places_figure(summary, t, source.mutate_start),
        f"mean size of {_what(summary)}s by position on {name}",
        f"{key}-places",
    )
    note = "Of windows whose strongest position is the same base, one is listed."
    return (
        f'<section class="target" id="{key}" data-name="{name}">\n<h3>{name}</h3>\n'
        f'<div class="pair">{charts}</div>\n<h3>Strongest regions</h3>\n'
        f'<p class="note">{note}</p>\n'
        + table(f"{key}-regions", columns, rows, "sort find")
        + "\n".join(figures)
        + "\n</section>"
    )


def _hits(source: Source, seen: View, motifs: Motifs) -> list[tuple[int, int, str]]:
    """Sites of motifs as indices into the mutated range of the picture, along the + strand."""
    sites = []
    for first, last, name in motifs.of(seen.row.index):
        if seen.row.strand == "-":
            first, last = source.length - last, source.length - first
        shift = seen.row.start - seen.first
        sites.append((first + shift, last + shift, name))
    return sites


def _change(source: Source, row: Row, found: Strongest) -> str:
    """`A>G at 7,123,456` on the forward strand, or the position alone."""
    position = source.mutate_start + found.position
    minus = row.strand == "-"
    where = f"{row.end - position if minus else row.start + position + 1:,}"
    if found.letter < 0:
        return f"at {where}"
    codes = np.array([row.codes[position], found.letter])
    letters = source.text(source.complement[codes] if minus else codes)
    return f"{letters[0]}&gt;{letters[1]} at {where}"
