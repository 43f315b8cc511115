"""What was measured, written down: a table to read, TSV and JSON to compute with, Markdown.

Takes rows; measures nothing and draws nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from yuzu_cli.bench.measure import Row

FORMAT_VERSION = 1


@dataclass(slots=True)
class Section:
    """The rows of one suite.

    Attributes
    ----------
    name, title, about : str
        `about` says what of which paper it repeats, and what differs.
    rows : list of Row
    charts : list of str
        Names of pictures.
    lines : list of dict
        Of a table besides: what the suite measured that is no method on a case.
    """

    name: str
    title: str
    about: str
    rows: list[Row] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """Everything one call of the command found."""

    machine: dict[str, Any]
    command: str
    options: dict[str, Any]
    sections: list[Section]
    seconds: float = 0.0


def number(value: float, digits: int = 3) -> str:
    """A number to read; a dash for NaN."""
    if not math.isfinite(value):
        return "-"
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits - 2}e}"
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Seconds with a unit that fits."""
    if not math.isfinite(seconds):
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.1e} s"


def size(count: float) -> str:
    """Bytes with a unit that fits."""
    if not math.isfinite(count):
        return "-"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def correlation(value: float) -> str:
    """Four digits, cut and not rounded: 1.0000 shall mean no less."""
    if not math.isfinite(value):
        return "-"
    return f"{math.trunc(value * 1e4 + math.copysign(1e-4, value)) / 1e4:.4f}"


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.3g} %" if math.isfinite(value) else "-"


def _of_agreement(row: Row, name: str) -> float:
    return float(getattr(row.agreement, name)) if row.agreement else math.nan


def _memory(row: Row) -> str:
    text = size(row.host_peak)
    return f"{text} + {size(row.device_peak)}" if math.isfinite(row.device_peak) else text


def _preparation(row: Row) -> str:
    """Time and, where it is much, memory."""
    text = duration(row.prepare_seconds)
    return f"{text}, {size(row.prepare_peak)}" if row.prepare_peak >= 1e8 else text


def _times(row: Row) -> str:
    if not math.isfinite(row.speedup):
        return "-"
    return f"{number(row.speedup)}x"


def _quartiles(row: Row) -> str:
    if not math.isfinite(row.seconds) or len(row.samples) < 2:
        return f"n={len(row.samples)}"
    half = (row.seconds_high - row.seconds_low) / 2 / row.seconds
    return f"±{100 * half:.0f} % n={len(row.samples)}"


COLUMNS: list[tuple[str, Callable[[Row], str]]] = [
    ("method", lambda row: row.method),
    ("per sequence", lambda row: duration(row.per_sequence)),
    ("spread", _quartiles),
    ("mutants/s", lambda row: number(row.mutants_per_second)),
    ("naive/it", _times),
    (
        "by CPU",
        lambda row: f"{number(row.speedup_cpu)}x" if math.isfinite(row.speedup_cpu) else "-",
    ),
    ("largest error", lambda row: number(_of_agreement(row, "largest"))),
    ("of effect", lambda row: number(_of_agreement(row, "relative"))),
    ("Pearson", lambda row: correlation(_of_agreement(row, "pearson"))),
    ("Spearman", lambda row: correlation(_of_agreement(row, "spearman"))),
    ("alpha", lambda row: number(row.extra.get("alpha", math.nan))),
    ("memory", _memory),
    ("prepared in", _preparation),
    ("useful", lambda row: percent(row.useful_share)),
    ("verdict", lambda row: row.verdict or "-"),
]


def heading(row: Row) -> str:
    """What case a block of rows is of."""
    case = row.case
    parts = [case.name, f"{case.length} letters", _plural(case.sequences, "sequence")]
    if case.batch:
        parts.append(f"{case.batch} at a time")
    if case.width != 1.0:
        parts.append(f"{case.width:g} of the channels")
    if case.score != "auto":
        parts.append(case.score)
    return ", ".join([*parts, case.precision, case.device])


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def blocks(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows case by case."""
    return [(key, list(part)) for key, part in groupby(rows, key=heading)]


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """A table of text, header first, of the rows that have numbers; empty columns left out."""
    good = [row for row in rows if row.status == "ok"]
    if not good:
        return []
    columns = [
        (name, [column(row) for row in good])
        for name, column in COLUMNS
        if any(column(row) != "-" for row in good)
    ]
    return [[name for name, _ in columns], *map(list, zip(*(c for _, c in columns), strict=True))]


def refusals(rows: Sequence[Row]) -> list[str]:
    """A line for each method without numbers."""
    return [f"{row.method}: {row.status}: {row.error}" for row in rows if row.status != "ok"]


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the numbers must know."""
    lines = []
    if any(row.extra.get("double") is False for row in rows):
        lines.append(
            "The model does not run in double precision: errors are differences from naive in its "
            "own precision, which rounds as well, and there is no verdict."
        )
    for row in rows:
        if row.status == "ok" and row.share < 0.999:
            lines.append(
                f"{row.method} was run on {percent(row.share)} of the work; its time is scaled "
                "linearly."
            )
        if row.status == "ok" and "note" in row.extra:
            lines.append(f"{row.method}: {row.extra['note']}.")
        if row.agreement is not None and row.agreement.missing:
            missing, count = row.agreement.missing, row.agreement.count
            lines.append(f"{row.method} is wrong: {missing} of {count} numbers are missing or NaN.")
        elif row.verdict == "imprecise":
            lines.append(f"{row.method} is imprecise: off by more than naive's own rounding.")
        elif row.verdict == "wrong":
            lines.append(f"{row.method} is wrong: it claims to be exact and is not.")
    return lines


def as_text(report: Report) -> str:
    """The whole report for a terminal."""
    lines = [machine_line(report), ""]
    for section in report.sections:
        lines += [section.title, "=" * len(section.title), section.about, ""]
        for title, rows in blocks(section.rows):
            lines.append(title)
            lines += _aligned(cells(rows))
            lines += ["  " + line for line in (*refusals(rows), *notes(rows))]
            lines.append("")
        if section.lines:
            lines += [*_aligned(other_cells(section)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for line in table:
        first, *rest = zip(line, widths, strict=True)
        text = "  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest)])
        lines.append("  " + text.rstrip())
    return lines


def other_cells(section: Section) -> list[list[str]]:
    """The table besides, as text, header first."""
    names = list(dict.fromkeys(name for line in section.lines for name in line))

    def text(value: Any) -> str:
        return number(value) if isinstance(value, float) else str(value)

    return [names, *([text(line.get(name, "-")) for name in names] for line in section.lines)]


def machine_line(report: Report) -> str:
    """The machine in a line."""
    m = report.machine
    devices = ", ".join(sorted(set(m["devices"].values())))
    return (
        f"{devices}; {m['processors']} processors, {m['threads']} threads, load "
        f"{m['load_average_at_start']:g} at the start; torch {m['torch']}, yuzu {m['yuzu']}; "
        f"{m['when']}; {duration(report.seconds)} in all"
    )


def as_markdown(section: Section) -> str:
    """The tables of one suite, for a page."""
    lines: list[str] = []
    for title, rows in blocks(section.rows):
        lines += [f"**{title}**", "", *_piped(cells(rows))]
        said = [*refusals(rows), *notes(rows)]
        lines += ["", *(f"- {line}" for line in said), ""] if said else [""]
    if section.lines:
        lines += _piped(other_cells(section))
    return "\n".join(lines).rstrip() + "\n"


def _piped(table: list[list[str]]) -> list[str]:
    """Lines of a table for a page."""
    rule = [["---"] * len(table[0])] if table else []
    return ["| " + " | ".join(line) + " |" for line in [*table[:1], *rule, *table[1:]]]


def flat(section: Section, row: Row) -> dict[str, Any]:
    """A row as the columns of the TSV."""
    case = {f"case_{key}": value for key, value in asdict(row.case).items()}
    names = (
        "method claim status verdict compared share seconds seconds_low seconds_high cpu_seconds "
        "per_sequence mutants_per_second speedup speedup_cpu prepare_seconds prepare_peak "
        "host_peak device_peak useful_share own_share"
    )
    values = {name: getattr(row, name) for name in names.split()}
    seen = ("largest", "scale", "relative", "mse", "pearson", "spearman", "count", "missing")
    values |= {f"error_{name}": _of_agreement(row, name) for name in seen}
    values["samples"] = len(row.samples)
    values |= {name: row.extra.get(name) for name in ("alpha", "code_bytes")}
    values["probes"] = ",".join(map(str, row.extra.get("probes", [])))
    return {"suite": section.name, **case, **values, "error": row.error}


def as_tsv(report: Report) -> str:
    """All rows, one a line; empty cells are numbers that could not be had."""
    table = [flat(section, row) for section in report.sections for row in section.rows]
    if not table:
        return ""
    lines = ["\t".join(table[0])]
    lines += ["\t".join(_cell(value) for value in line.values()) for line in table]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return " ".join(str(value).split())


def as_json(report: Report) -> str:
    """Everything, every sample included; null for numbers that could not be had."""
    content = {"format": "yuzu-bench", "format_version": FORMAT_VERSION, **asdict(report)}
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write(report: Report, folder: Path) -> list[Path]:
    """Write `bench.txt`, `bench.tsv` and `bench.json`; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in (
        ("bench.txt", as_text(report)),
        ("bench.tsv", as_tsv(report)),
        ("bench.json", as_json(report)),
    ):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
