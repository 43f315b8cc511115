"""Puts one benchmark into the documentation: its page, and what other pages say of speed.

    python -m tests.programs.bench_page out/bench docs README.md

reads `bench.json` of the folder, copies it with `bench.tsv` and the pictures to `docs/bench/`, and
replaces what stands between `<!-- bench NAME -->` and `<!-- end -->` in every page that is given:
the machine, the summary, and a paper's picture with its notes.
A number in a sentence is marked `<!--bench MODEL LENGTH METHOD-->45x<!--/-->`, and filled in too:
how many times as fast the method is, or the time of naive.
"""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from yuzu_cli.bench import report as written
from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.papers.suites import SUITES
from yuzu_cli.bench.report import Report, of_agreement
from yuzu_cli.bench.subject import Case
from yuzu_cli.bench.words import duration, number, times
from yuzu_cli.errors import InputError, YuzuError

BLOCK = re.compile(r"(<!-- bench ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.S)
FIGURE = re.compile(r"(<!--bench ([\w.-]+) (\d+) ([\w:@.-]+)-->)(.*?)(<!--/-->)", re.S)
DATA = "bench"
SHOWN = (
    *("windowed", "yuzu:interleaved", "taylor", "yuzu-ism", "fastism"),
    *("tangermeme", "tangermeme-fast"),
)
"""Methods with a column of their own in the summary."""

FAMILIES = "families"
"""The section of nets that no paper of ours timed, made by the `families` beside it."""

CODED = {
    "windowed": "none: windows",
    "yuzu:interleaved": "interleaved",
    "yuzu:gaussian": "gaussian",
    "yuzu-ism": "gaussian, the published program",
}
"""Methods of which `sensing` tells."""

FASTISM = {
    ("basset-scalar", 1000): (0.2736, 0.0270),
    ("basset-scalar", 2000): (1.0044, 0.0649),
    ("factorized-basset", 1000): (0.6897, 0.0547),
    ("factorized-basset", 2000): (2.6224, 0.1804),
    ("bpnet9-untrimmed", 1000): (0.4609, 0.2897),
    ("bpnet9-untrimmed", 2000): (1.7396, 0.8152),
}
"""What fastISM's `notebooks/ISMBenchmark.ipynb` says, on a P100, at the best batch of each: seconds
of a sequence for naive and fastISM.
"""

TISM = {
    ("aitac3-timed", 500): (0.21865, 0.03301, 0.00464),
    ("aitac3-timed", 1000): (0.45530, 0.04629, 0.00214),
    ("aitac3-timed", 2000): (1.21207, 0.08945, 0.00478),
    ("aitac8-timed", 500): (0.34330, 0.13183, 0.00624),
    ("aitac8-timed", 1000): (0.94992, 0.16908, 0.00417),
    ("aitac8-timed", 2000): (2.83641, 0.30540, 0.00902),
}
"""What TISM's `results/Comparison_time_*_cuda*.tsv` says: seconds of a sequence for naive, the
published Yuzu and the first-order estimate. Yuzu's figure 3 has no numbers to read.
"""


def piped(table: Sequence[Sequence[str]]) -> str:
    """Lines of a table for a page, header first."""
    rule = ["---"] * len(table[0])
    return "\n".join("| " + " | ".join(line) + " |" for line in [table[0], rule, *table[1:]]) + "\n"


def summary(report: Report) -> str:
    """One table: naive, how many times as fast the others are, errors, the paper's own numbers."""
    methods = [m for m in SHOWN if any(r.method == m for s in report.sections for r in s.good)]
    ends = ["error of windowed", "of naive", "the paper, on its hardware"]
    table, seen = [["model", "naive", *methods, *ends]], set()
    for section in report.sections:
        apart = section.name in SUITES and SUITES[section.name].chart in ("sizes", "alpha")
        if apart or section.name == FAMILIES:
            continue
        for rows in section.by_case():
            case, found = rows[0].case, {row.method: row for row in rows if row in section.good}
            if "naive" not in found or case.key in seen:
                continue
            seen.add(case.key)
            cells = [case.label, _naive(found["naive"])]
            cells += [_fast(found.get(method)) for method in methods]
            cells += [_error(found.get("windowed")), _error(found["naive"])]
            table.append([*cells, theirs(case) or "-"])
    picture = f"\n![The same as bars]({DATA}/bench.png)\n" if "bench.png" in report.pictures else ""
    return piped(table) + picture


def families(report: Report) -> str:
    """What is gained on the nets of families that others publish, exact and estimated."""
    head = ["family", "letters", "naive", "windowed", "error", "of naive"]
    table = [[*head, "estimate, from input", "r", "from frontier", "r"]]
    for section in report.sections:
        for rows in section.by_case() if section.name == FAMILIES else ():
            found, case = {row.method: row for row in rows if row in section.good}, rows[0].case
            windowed, estimates = found.get("windowed"), ("taylor", "taylor:frontier")
            cells = [Path(case.name).stem, f"{case.length:,}", _naive(found["naive"])]
            cells += [_fast(windowed), _error(windowed), _error(found["naive"])]
            for row in map(found.get, estimates):
                cells += [_fast(row), f"{of_agreement(row, 'pearson'):.2f}" if row else "-"]
            table.append(cells)
    return piped(table)


def theirs(case: Case) -> str:
    """The paper's own numbers for a case, in a cell of a table; empty where it has none."""
    key = (case.model, case.length)
    if case.width == 1.0 and key in FASTISM:
        naive, fast = FASTISM[key]
        return f"fastISM {naive / fast:.1f}x ({naive:.3g} s to {fast:.3g} s, P100)"
    if case.width == 1.0 and key in TISM:
        naive, yuzu, taylor = TISM[key]
        return f"Yuzu {naive / yuzu:.1f}x, TISM {naive / taylor:.0f}x ({naive:.3g} s naive, GPU)"
    return ""


def sensing(report: Report) -> str:
    """What codes cost: of the first case of each model of the paper's figure 3A."""
    table = [["model", "codes", "alpha", "probes by layer", "times naive", "error", "made in"]]
    table[0] += ["memory to make"]
    seen = set()
    for section in report.sections:
        for rows in section.by_case() if section.name == "yuzu-fig3a" else ():
            if rows[0].case.model in seen:
                continue
            seen.add(rows[0].case.model)
            for row in [r for r in rows if r in section.good and r.method in CODED]:
                probes = ", ".join(str(n) for n in row.extra.get("probes", [])) or "-"
                alpha, peak = row.extra.get("alpha"), row.prepare_peak / 1e6
                cells = [row.case.model, CODED[row.method], number(alpha) if alpha else "-", probes]
                cells += [_fast(row), _error(row), duration(row.prepare_seconds)]
                table.append([*cells, f"{peak:,.0f} MB" if peak >= 1 else "< 1 MB"])
    return piped(table)


def speed(row: Row) -> float:
    """Times as fast as naive: by processor time where there is one processor to blame."""
    return row.speedup_cpu if math.isfinite(row.speedup_cpu) else row.speedup


def _naive(row: Row) -> str:
    by_cpu = row.case.device == "cpu" and math.isfinite(row.cpu_seconds)
    return duration(row.cpu_seconds / row.case.sequences if by_cpu else row.per_sequence)


def _fast(row: Row | None) -> str:
    """Times as fast; `!` where the spread is wide, or the times are few."""
    if row is None:
        return "-"
    return times(speed(row)) + written.mark(row, row.cpu_low, row.cpu_seconds, row.cpu_high)


def _error(row: Row | None) -> str:
    return number(of_agreement(row, "relative")) if row else "-"


def about(report: Report) -> str:
    """The command, the machine, and the other tools."""
    others = ", ".join(f"{name} {version}" for name, version in report.machine["peers"].items())
    told = f" Other tools: {others}." if others else ""
    raw = f"Raw: [bench.tsv]({DATA}/bench.tsv), [bench.json]({DATA}/bench.json)."
    return f"```\n{report.command}\n```\n\n{written.machine_line(report)}.{told} {raw}\n"


def of_paper(report: Report, paper: str) -> str:
    """A paper's picture, and what readers of it must know; why a method has no bar, once."""
    sections = [s for s in report.sections if s.name in SUITES and SUITES[s.name].paper == paper]
    if not sections:
        return "Not in this run.\n"
    picture = f"{paper.lower()}.png"
    lines = []
    if picture in report.pictures:
        titles = "; ".join(section.title for section in sections)
        lines = [f"![{titles}]({DATA}/{picture})", ""]
    said = dict.fromkeys(
        f"- {line}"
        for section in sections
        for rows in section.by_case()
        for line in (*written.refusals(rows), *written.notes(rows))
    )
    return "\n".join([*lines, *said]) + "\n"


def parts(report: Report) -> dict[str, str]:
    """What belongs between the marks of each name."""
    papers = dict.fromkeys(suite.paper for suite in SUITES.values())
    found = {"machine": about(report), "summary": summary(report)}
    found |= {FAMILIES: families(report), "sensing": sensing(report)}
    return found | {paper.lower(): of_paper(report, paper) for paper in papers}


def figures(report: Report) -> dict[tuple[str, str, str], str]:
    """(model, length, method) -> times as fast as naive, or naive's time for one sequence, as
    written in sentences; of several cases the first.
    """
    found: dict[tuple[str, str, str], str] = {}
    for section in report.sections:
        for row in section.good:
            if row.case.width == 1.0:
                said = _naive(row) if row.method == "naive" else times(speed(row))
                found.setdefault((row.case.model, str(row.case.length), row.method), said)
    return found


def fill(text: str, report: Report, where: str = "page") -> str:
    """A page with everything between its marks made anew.

    Raises
    ------
    InputError
        It has a mark that the report knows nothing of.
    """
    known, said = parts(report), figures(report)

    def block(match: re.Match[str]) -> str:
        if match[2] not in known:
            raise InputError(where, f"no part {match[2]!r}", "one of " + ", ".join(known))
        return f"{match[1]}{known[match[2]]}{match[4]}"

    def figure(match: re.Match[str]) -> str:
        key = (match[2], match[3], match[4])
        if key not in said:
            raise InputError(where, f"{' '.join(key)} is not in the run")
        return f"{match[1]}{said[key]}{match[6]}"

    return FIGURE.sub(figure, BLOCK.sub(block, text))


def publish(folder: Path, docs: Path, others: Sequence[Path] = ()) -> list[Path]:
    """Copy the raw tables and pictures beside the pages, and fill the pages; those that changed.

    Raises
    ------
    InputError
        The folder has no report, or a page asks for what it has not.
    """
    report = written.load(folder / "bench.json")
    changed = []
    for page in [*sorted(docs.glob("*.md")), *others]:
        text = page.read_text(encoding="utf-8")
        if (made := fill(text, report, str(page))) != text:
            page.write_text(made, encoding="utf-8")
            changed.append(page)
    (docs / DATA).mkdir(exist_ok=True)
    for name in ("bench.tsv", "bench.json", *report.pictures):
        shutil.copyfile(folder / name, docs / DATA / name)
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m tests.programs.bench_page FOLDER DOCS [PAGE...]``."""
    given = [Path(text) for text in (sys.argv[1:] if arguments is None else arguments)]
    if len(given) < 2:
        usage = "usage: python -m tests.programs.bench_page FOLDER DOCS [PAGE.md ...]"
        print(usage, file=sys.stderr)
        return 2
    try:
        for page in publish(given[0], given[1], given[2:]):
            print(page)
    except YuzuError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
