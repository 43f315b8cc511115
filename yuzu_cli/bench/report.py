"""What was measured, written down and read back: a table to read, TSV and JSON to compute with.

Takes rows; measures nothing and draws nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from yuzu_cli.bench.clock import Sample, settled
from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.stats import NAN, Agreement
from yuzu_cli.bench.subject import Case
from yuzu_cli.bench.words import aligned, correlation, duration, number, percent, times
from yuzu_cli.errors import InputError
from yuzu_cli.files import disk_errors, size_text, write_atomically

FORMAT_VERSION = 2


@dataclass(slots=True)
class Section:
    """The rows of one suite."""

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)

    def by_case(self) -> list[list[Row]]:
        """Rows case by case."""
        return [list(part) for _, part in groupby(self.rows, key=lambda row: row.case.key)]

    @property
    def good(self) -> list[Row]:
        """Rows with times."""
        return [r for r in self.rows if r.status == "ok" and math.isfinite(r.per_sequence)]


@dataclass(slots=True)
class Report:
    """Everything one call of the command found; `complete` when it was not stopped."""

    machine: dict[str, Any]
    command: str
    options: dict[str, Any]
    sections: list[Section]
    seconds: float = 0.0
    complete: bool = False
    pictures: list[str] = field(default_factory=list)


def of_agreement(row: Row, name: str) -> float:
    """A number of how far a row is off the truth; NaN where it was not compared."""
    return float(getattr(row.agreement, name)) if row.agreement else NAN


def mark(row: Row, low: float, median: float, high: float) -> str:
    """`!` where the times are few, or their quartiles far apart."""
    return "" if settled(len(row.samples), low, median, high) else " !"


def _spread(row: Row) -> str:
    """Half the distance of the quartiles, and the number of times."""
    low, middle, high = row.seconds_low, row.seconds, row.seconds_high
    half = f"±{50 * (high - low) / middle:.0f} % " if len(row.samples) > 1 else ""
    return f"{half}n={len(row.samples)}{mark(row, low, middle, high)}"


def _memory(row: Row) -> str:
    """Of the host, and of a device."""
    peaks = [size_text(p) for p in (row.host_peak, row.device_peak) if math.isfinite(p)]
    return " + ".join(peaks) or "-"


def _preparation(row: Row) -> str:
    """Time and, where it is much, memory."""
    text = duration(row.prepare_seconds)
    return f"{text}, {size_text(row.prepare_peak)}" if row.prepare_peak >= 1e8 else text


COLUMNS: list[tuple[str, Callable[[Row], str]]] = [
    ("method", lambda row: row.method),
    ("per sequence", lambda row: duration(row.per_sequence)),
    ("spread", _spread),
    ("mutants/s", lambda row: number(row.mutants_per_second)),
    ("naive/it", lambda row: times(row.speedup)),
    ("by CPU", lambda row: times(row.speedup_cpu)),
    ("run on", lambda row: percent(row.share) if row.share < 0.999 else "-"),
    ("largest error", lambda row: number(of_agreement(row, "largest"))),
    ("of effect", lambda row: number(of_agreement(row, "relative"))),
    ("Pearson", lambda row: correlation(of_agreement(row, "pearson"))),
    ("Spearman", lambda row: correlation(of_agreement(row, "spearman"))),
    ("alpha", lambda row: number(row.extra.get("alpha", NAN))),
    ("memory", _memory),
    ("prepared in", _preparation),
    ("useful", lambda row: percent(row.useful_share)),
    ("verdict", lambda row: row.verdict or "-"),
]


def heading(row: Row) -> str:
    """What case a block of rows is of."""
    case = row.case
    several = "" if case.sequences == 1 else "s"
    parts = [case.name, f"{case.length} letters", f"{case.sequences:,} sequence{several}"]
    if case.batch:
        parts.append(f"{case.batch} at a time")
    if case.width != 1.0:
        parts.append(f"{case.width:g} of the channels")
    if case.score != "auto":
        parts.append(case.score)
    return ", ".join([*parts, case.precision, case.device])


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """A table of text, header first, of the rows that have numbers; empty columns left out."""
    good = [row for row in rows if row.status == "ok"]
    if not good:
        return []
    columns = [[name, *map(column, good)] for name, column in COLUMNS]
    full = [column for column in columns if any(cell != "-" for cell in column[1:])]
    return list(map(list, zip(*full, strict=True)))


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
        lines += [section.title, "=" * len(section.title), ""]
        for rows in section.by_case():
            lines.append(heading(rows[0]))
            lines += aligned(cells(rows))
            lines += ["  " + line for line in (*refusals(rows), *notes(rows))]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def machine_line(report: Report) -> str:
    """The machine in a line."""
    m = report.machine
    devices = ", ".join(sorted(set(m["devices"].values())))
    load = f"{m['load_average_at_start']:g} at the start"
    if "load_average_at_end" in m:
        load += f" and {m['load_average_at_end']:g} at the end"
    jobs = int(report.options.get("jobs", 1))
    beside = f" in each of {jobs} processes side by side" if jobs > 1 else ""
    return (
        f"{devices}; {m['processors']} processors, {m['threads']} threads{beside}, load {load}; "
        f"torch {m['torch']}, yuzu {m['yuzu']}; {m['when']}; {duration(report.seconds)} in all"
    )


OWN = {"case", "samples", "agreement", "extra", "error"}
"""What of a row is no column of the TSV, or one of its own."""


def flat(section: Section, row: Row) -> dict[str, Any]:
    """A row as the columns of the TSV."""
    seen = ("relative", *(f.name for f in fields(Agreement)))
    values: dict[str, Any] = {"suite": section.name}
    values |= {f"case_{k}": v for k, v in asdict(row.case).items() if k != "config"}
    values |= {f.name: getattr(row, f.name) for f in fields(Row) if f.name not in OWN}
    values |= {f"error_{name}": of_agreement(row, name) for name in seen}
    values |= {"samples": len(row.samples)}
    values |= {name: row.extra.get(name) for name in ("alpha", "code_bytes")}
    values["probes"] = ",".join(map(str, row.extra.get("probes", [])))
    return {**values, "error": row.error}


def as_tsv(report: Report) -> str:
    """All rows, one a line; empty cells are numbers that could not be had."""
    table = [flat(section, row) for section in report.sections for row in section.rows]
    lines = [list(table[0])] if table else []
    lines += [[_cell(value) for value in line.values()] for line in table]
    return "".join("\t".join(line) + "\n" for line in lines)


def _cell(value: Any) -> str:
    value = _finite(value)
    return "" if value is None else " ".join(str(value).split())


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


def write(report: Report, folder: Path) -> None:
    """Write `bench.txt`, `bench.tsv` and `bench.json`, each whole or not at all."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "bench.txt", as_text(report).encode())
    write_atomically(folder / "bench.tsv", as_tsv(report).encode())
    write_atomically(folder / "bench.json", as_json(report).encode())


def load(path: Path) -> Report:
    """A report from its `bench.json`.

    Raises
    ------
    InputError
        The file is missing, or is not that of a benchmark.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"cannot be read: {error}") from None
    if not isinstance(content, dict) or content.pop("format", None) != "yuzu-bench":
        raise InputError(str(path), "is not a bench.json")
    if (version := content.pop("format_version")) != FORMAT_VERSION:
        what = f"is of format {version}, and this program reads {FORMAT_VERSION}"
        raise InputError(str(path), what, "measure it anew")
    sections = [
        Section(**{**section, "rows": [_row(row) for row in section["rows"]]})
        for section in content.pop("sections")
    ]
    return Report(**content, sections=sections)


def _row(values: dict[str, Any]) -> Row:
    case = Case(**values.pop("case"))
    samples = [Sample(**sample) for sample in values.pop("samples")]
    seen = values.pop("agreement")
    agreed = None if seen is None else Agreement(**_numbers(seen))
    return Row(case=case, samples=samples, agreement=agreed, **_numbers(values))


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _numbers(value) if isinstance(value, dict) else NAN if value is None else value
        for name, value in values.items()
    }
