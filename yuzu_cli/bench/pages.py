"""Puts the tables and pictures of a benchmark into a page, between the marks that are for them.

    python -m yuzu_cli.bench.pages out/bench docs/benchmarks.md

reads `bench.json` of the folder. What stands between `<!-- bench NAME -->` and `<!-- end -->` is
replaced: for `machine` by the machine and the command, for a suite by its tables and pictures,
which are copied to `pictures/` beside the page. Marks of suites not in the folder are left alone.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yuzu_cli.bench.clock import NAN, Sample
from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.report import Report, Section, as_markdown, machine_line
from yuzu_cli.bench.stats import Agreement
from yuzu_cli.bench.subject import Case
from yuzu_cli.errors import InputError, YuzuError

MARK = re.compile(r"(<!-- bench ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.S)


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
    content.pop("format_version")
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
    return {name: NAN if value is None else value for name, value in values.items()}


def fill(page: Path, folder: Path) -> list[str]:
    """Replace what stands between the marks of a page; the names that were.

    Parameters
    ----------
    page : Path
        Markdown.
    folder : Path
        Where `yuzu bench` wrote.

    Raises
    ------
    InputError
        The folder has no report, or the page has none of its marks.
    """
    report = load(folder / "bench.json")
    parts = {"machine": _about(report)}
    for section in report.sections:
        parts[section.name] = _section(section, folder, page)
    filled: list[str] = []

    def replace(match: re.Match[str]) -> str:
        name = match[2]
        if name not in parts:
            return match[0]
        filled.append(name)
        return f"{match[1]}{parts[name]}{match[4]}"

    text = MARK.sub(replace, page.read_text(encoding="utf-8"))
    if not filled:
        raise InputError(str(page), f"has no marks for {', '.join(parts)}")
    page.write_text(text, encoding="utf-8")
    return filled


def _about(report: Report) -> str:
    others = ", ".join(f"{name} {version}" for name, version in report.machine["peers"].items())
    told = f" Other tools: {others}." if others else ""
    return f"```\n{report.command}\n```\n\n{machine_line(report)}.{told}\n"


def _section(section: Section, folder: Path, page: Path) -> str:
    pictures = page.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    lines = [section.about, ""]
    for chart in section.charts:
        shutil.copyfile(folder / chart, pictures / f"bench-{chart}")
        lines += [f"![{section.title}](pictures/bench-{chart})", ""]
    return "\n".join(lines) + "\n" + as_markdown(section)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m yuzu_cli.bench.pages FOLDER PAGE``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 2:
        print("usage: python -m yuzu_cli.bench.pages FOLDER PAGE.md", file=sys.stderr)
        return 2
    try:
        for name in fill(Path(given[1]), Path(given[0])):
            print(name)
    except YuzuError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
