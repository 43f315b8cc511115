"""The published families beside naive, by the benchmark, into the report of a full run.

``python -m tests.programs.families out/bench-full [NAME...]``

Measures the nets of `choices` as files of a user's are measured, in `families/` of that folder, and
puts their section into its `bench.json`: docs/choosing.md has its table from there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.programs.choices import FAMILIES
from yuzu_cli.bench.papers.suites import Suite
from yuzu_cli.bench.report import load, write
from yuzu_cli.bench.run import Options, run
from yuzu_cli.bench.subject import Case

METHODS = "naive", "windowed", "taylor", "taylor:frontier"
POSITIONS = 60
"""So many in the middle are mutated, of longer sequences."""


def cases(names: list[str], folder: Path) -> list[Case]:
    """A case for each family, its scripted model in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name in names:
        net, length, layout = FAMILIES[name]
        torch.manual_seed(0)
        path = folder / f"{name}.pt"
        torch.jit.script(net(length).eval()).save(path)
        config = {"model": {"layout": layout}, "mutate": {"center": min(length, POSITIONS)}}
        made.append(Case(str(path), length, config=config))
    return made


def main(arguments: list[str]) -> int:
    """Measure, and add the section to the report."""
    if not arguments:
        print("usage: python -m tests.programs.families FOLDER [NAME...]", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    report = load(folder / "bench.json")
    found = cases(arguments[1:] or list(FAMILIES), folder / "families")
    suite = Suite("families", "Families of models that others publish", lambda full: found)
    same = report.options
    options = Options(
        METHODS, (), rounds=same["rounds"], seconds=same["seconds"], jobs=same["jobs"]
    )
    made = run(
        [suite], options, folder / "families", progress=lambda done, total, what: print(what)
    )
    kept = [section for section in report.sections if section.name != suite.name]
    report.sections = kept + made.sections
    report.seconds += made.seconds
    write(report, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
