"""One page about one result: what was run, how exact it was, how large effects are, and where.

A single HTML file with its pictures inside. It links to nothing and forbids the browser to load
anything, so that it can be mailed, archived and opened without a network.
"""

from __future__ import annotations

import base64
import html
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from yuzu_cli.files import replacing
from yuzu_cli.results.plot import drawing_needed
from yuzu_cli.results.plot.charts import effects_figure
from yuzu_cli.results.plot.region import label, view
from yuzu_cli.results.streaming import Source
from yuzu_cli.results.summary import Strongest, Summary, summarise

MOST_TARGETS = 8

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c1c1c;max-width:1080px;margin:2em auto;
padding:0 1em}h1{font-size:1.6em;margin:0 0 .2em}p{margin:.4em 0}.lead{color:#555}
h2{font-size:1.15em;margin:2em 0 .5em;border-bottom:1px solid #ddd}pre{overflow-x:auto}
table{border-collapse:collapse;font-size:.9em}th,td{text-align:left;padding:.2em 1em .2em 0;
vertical-align:top;border-bottom:1px solid #eee}td.n,th.n{text-align:right;white-space:nowrap}
code{font-size:.92em;overflow-wrap:anywhere}img{max-width:100%;height:auto;display:block}
.good{color:#1b7f3b}.none{color:#a15c00}figure{margin:.8em 0}figcaption{color:#555;font-size:.88em}
"""


def report(result: str | Path, out: str | Path, *, top: int = 5, force: bool = False) -> Path:
    """Write the page.

    Parameters
    ----------
    result : path-like
    out : path-like
        An .html file.
    top : int
        Regions to show, the strongest ones.
    force : bool
        Replace a file that is there.

    Raises
    ------
    OutputError
        When the result cannot be read, or the page cannot be written.
    UsageError
        When what pictures need is not installed.
    """
    drawing_needed()
    out = Path(out)
    with Source(result) as source:
        summary = summarise(source, top)
        title = Path(result).name
        body = [
            f"<h1>{_text(title)}</h1>",
            _lead(source),
            _facts(source, summary),
            _verification(source),
            _effects(source, summary),
            _regions(source, summary),
        ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)} - yuzu</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
    with replacing([out], force) as (path,):
        path.write_text(page, encoding="utf-8")
    return out


def _lead(source: Source) -> str:
    start, end = source.mutate_start, source.mutate_end
    mutants = source.n * (end - start) * (len(source.letters) - 1)
    return (
        f'<p class="lead">Every substitution at positions {start} to {end} of {source.n:,} windows '
        f"of {source.length:,}: {mutants:,} mutants, {_plural(len(source.targets), 'target')}.</p>"
    )


def _facts(source: Source, summary: Summary) -> str:
    attrs = source.attrs
    dropped = attrs["record_stop"] - attrs["record_start"] - source.n
    rows = [
        ("command", f"<code>{_text(attrs['command'])}</code>"),
        ("started", _text(attrs["created"])),
        ("backend", _text(f"{attrs['backend']}, {attrs['precision']}, {attrs['device']}")),
        ("versions", _text(f"yuzu {attrs['yuzu_version']}, torch {attrs['torch_version']}")),
        ("scores saved", _text(", ".join(source.saved))),
        ("input records", f"{attrs['record_stop'] - attrs['record_start']:,}, {dropped:,} dropped"),
        *((f"windows {name}", f"{count:,}") for name, count in summary.status.items() if count),
        ("model sha256", f"<code>{_text(attrs['model_sha256'])}</code>"),
        ("input sha256", f"<code>{_text(attrs['input_sha256'])}</code>"),
    ]
    if "shard_index" in attrs:
        shard = f"{attrs['shard_index']} of {attrs['shard_count']}: not the whole input"
        rows.insert(0, ("shard", shard))
    cells = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    config = f"<details><summary>settings</summary><pre>{_text(attrs['config'])}</pre></details>"
    return f'<h2>Run</h2>\n<table id="facts">{cells}</table>\n{config}'


def _verification(source: Source) -> str:
    absolute = float(source.attrs["verify_max_abs_error"])
    relative = float(source.attrs["verify_max_rel_error"])
    if source.attrs["backend"] == "naive":
        text = "<p>The naive method: every mutant had a forward pass of its own.</p>"
    elif math.isnan(absolute):
        text = '<p class="none">No mutants were compared with the naive method.</p>'
    else:
        text = (
            "<p>Mutants of these sequences were also computed one forward pass each. Largest "
            f'difference: <b class="good">{absolute:.2g}</b>, or {relative:.2g} of the largest '
            "effect among them.</p>"
        )
    return f'<h2>Verification</h2>\n<div id="verification">{text}</div>'


def _effects(source: Source, summary: Summary) -> str:
    size = np.maximum(-summary.lowest, summary.highest)
    chosen = sorted(np.argsort(-size, kind="stable")[:MOST_TARGETS].tolist())
    rows = []
    for t in chosen:
        reference = ""
        if summary.kind != "l2":
            reference = f"{summary.reference_mean[t]:.3g} ± {summary.reference_sd[t]:.2g}"
        numbers = (
            summary.lowest[t],
            summary.highest[t],
            summary.quantile(t, 0.5),
            summary.quantile(t, 0.99),
        )
        cells = "".join(f'<td class="n">{value:.3g}</td>' for value in numbers)
        name = _text(label(summary.targets[t]))
        rows.append(f'<tr><td>{name}</td><td class="n">{reference}</td>{cells}</tr>')
    head = "<th>target</th>" + "".join(
        f'<th class="n">{name}</th>'
        for name in ("prediction", "largest loss", "largest gain", "median size", "99 % below")
    )
    left = len(summary.targets) - len(chosen)
    more = f"<p>{left:,} further targets have smaller effects.</p>" if left else ""
    what = {"delta": "effect", "l2": "l2 effect", "contribution": "contribution"}[summary.kind]
    if not summary.count.sum():
        return f'<h2>Effects</h2>\n<p id="effects" class="none">There are no {what}s.</p>'
    charts = _image(
        effects_figure(summary, source.mutate_start, chosen), f"distribution of {what}s", "effects"
    )
    caption = (
        f"Left: how many substitutions have what size of {what}. Right: mean size at each "
        "position of the mutated range."
    )
    return (
        f"<h2>Effects</h2>\n<table><tr>{head}</tr>{''.join(rows)}</table>{more}\n"
        f"<figure>{charts}<figcaption>{caption}</figcaption></figure>"
    )


def _regions(source: Source, summary: Summary) -> str:
    if not summary.top:
        return '<h2>Strongest regions</h2>\n<p id="regions" class="none">There are none.</p>'
    from yuzu_cli.results.plot.figure import draw

    rows, figures = [], []
    for rank, found in enumerate(summary.top, start=1):
        targets = None if summary.kind == "l2" else [found.target]
        seen = view(source, found.row, targets)
        name, place = _text(seen.row.name or f"row {found.row}"), _text(seen.place)
        change = _text(_change(source, found))
        target = _text(label(summary.targets[found.target]))
        rows.append(
            f'<tr><td class="n">{rank}</td><td>{name}</td><td>{_text(_window(seen.row))}</td>'
            f'<td>{target}</td><td>{change}</td><td class="n">{found.effect:.3g}</td></tr>'
        )
        picture = _image(draw(seen), f"logo and map of {name} at {place}", f"region-{rank}")
        figures.append(f"<figure>{picture}</figure>")
    names = ("", "region", "window", "target", "strongest substitution", "effect")
    head = "".join(f"<th>{name}</th>" for name in names)
    note = "<p>Of windows whose strongest position is the same base, one is shown.</p>"
    return (
        f'<h2>Strongest regions</h2>\n<table id="regions"><tr>{head}</tr>{"".join(rows)}</table>\n'
        + "\n".join([note, *figures])
    )


def _change(source: Source, found: Strongest) -> str:
    """`A>G at 7,123,456` on the strand of the window, or the position alone."""
    seen = view(source, found.row, None, "all")
    where = f"{seen.base(found.position):,}"
    if found.letter < 0:
        return f"at {where}"
    old = seen.text[found.position]
    return f"{old}>{source.letters[found.letter]} at {where}"


def _window(row: Any) -> str:
    strand = f" ({row.strand})" if row.strand in "+-" else ""
    return f"{row.chrom}:{row.start:,}-{row.end:,}{strand}"


def _image(figure: Any, alt: str, identity: str) -> str:
    import matplotlib as mpl

    from yuzu_cli.results.plot.figure import STYLE

    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=130)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img id="{identity}" alt="{alt}" src="data:image/png;base64,{data}">'


def _text(value: object) -> str:
    return html.escape(str(value))


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
