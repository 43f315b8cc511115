"""The page of the benchmark, and what other pages say of speed: all out of one run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bench.test_report import a_report, a_row
from tests.programs import bench_page as page
from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.papers.suites import SUITES
from yuzu_cli.bench.report import Report, Section, load, write
from yuzu_cli.bench.subject import Case
from yuzu_cli.errors import InputError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]

SPEED = re.compile(r"\b\d[\d,]*(?:\.\d+)?(?:x\b(?! \d)| times (?:as fast|faster))")
ANOTHER = re.compile(r"<!-- figures of another run: (.+?) -->\n.*?<!-- end -->", re.S)


def unmarked(text: str) -> list[str]:
    """Speeds that a page states without saying which run they are of."""
    for kind in (page.BLOCK, page.FIGURE, ANOTHER):
        text = kind.sub("", text)
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    return SPEED.findall(text)


STATED = {
    "plain": ("Basset is 45x faster", 1),
    "in words": ("it is 40 times as fast", 1),
    "marked": ("<!--bench basset 1000 windowed-->45x<!--/-->", 0),
    "generated": ("<!-- bench summary -->\n| 45x |\n<!-- end -->", 0),
    "of another run": ("<!-- figures of another run: May, a laptop -->\n45x\n<!-- end -->", 0),
    "of no run": ("<!-- figures of another run:  -->\n45x\n<!-- end -->", 1),
    "another number": ("a tensor of 4 x 1000, 1.5e-5 of the effect", 0),
}


@pytest.mark.parametrize(("text", "count"), STATED.values(), ids=STATED)
def test_stated_speeds_are_found(text: str, count: int) -> None:
    assert len(unmarked(text)) == count


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_speed_that_a_page_states_is_of_the_run_beside_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert unmarked(text) == []
    assert page.fill(text, load(DOCS / page.DATA / "bench.json")) == text


def test_the_raw_tables_and_pictures_are_those_of_the_run() -> None:
    report = load(DOCS / page.DATA / "bench.json")
    assert report.complete
    found = {path.name for path in (DOCS / page.DATA).iterdir()}
    assert found == {"bench.json", "bench.tsv", *report.pictures}


def test_the_page_has_a_place_for_every_paper() -> None:
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    names = [name for _, name, _, _ in page.BLOCK.findall(text)]
    papers = dict.fromkeys(suite.paper.lower() for suite in SUITES.values())
    assert names == ["summary", "machine", *papers]
    assert all(f"| `{name}` |" in text for name in SUITES)


def full_report() -> Report:
    """A report with a case of fastISM's paper."""
    report = a_report()
    case = Case("basset-scalar", 1000, 64)
    rows = [a_row(case, "naive", 64.0), a_row(case, "windowed", 2.0)]
    for row in rows:
        row.speedup_cpu, row.cpu_seconds = 64.0 / row.seconds, row.seconds / 2
        row.cpu_low, row.cpu_high = 0.45 * row.seconds, 0.55 * row.seconds
    report.sections.append(Section("fastism-table1", "A table", rows))
    report.pictures = ["fastism.png"]
    return report


def test_summary() -> None:
    head, _, *lines = page.summary(full_report()).splitlines()
    assert head.startswith("| model | naive | windowed | taylor | error of windowed | of naive |")
    assert lines[-1] == (
        "| basset-scalar, 1,000 letters, 64 sequences | 500 ms | 32x ! | - | 2.0e-06 | 2.0e-06 | "
        "fastISM 10.1x (0.274 s to 0.027 s, P100) |"
    )


def of_cpu(row: Row) -> Row:
    """A row with the processor's times too, against a naive of 8 seconds."""
    row.speedup_cpu = row.speedup
    row.cpu_seconds, row.cpu_low, row.cpu_high = row.seconds, row.seconds, row.seconds
    row.samples *= 2
    return row


def test_families() -> None:
    report, case = a_report(), Case("out/families/danq.pt", 1000)
    rows = [a_row(case, "naive", 8.0), a_row(case, "windowed", 2.0), a_row(case, "taylor", 0.1)]
    report.sections.append(Section("families", "Families", [of_cpu(row) for row in rows]))
    head, _, line = page.families(report).splitlines()
    assert head.startswith("| family | letters | naive | windowed | error | of naive | estimate")
    assert line == "| danq | 1,000 | 8 s | 4x | 2.0e-06 | 2.0e-06 | 80x | 1.00 | - | - |"
    assert "danq" not in page.summary(report)


def test_codes() -> None:
    report, case = a_report(), Case("basset", 1000, 4096)
    coded = {"probes": [41, 60], "alpha": 1.05}
    rows = [
        a_row(case, "naive", 8.0),
        a_row(case, "windowed", 2.0, prepare_seconds=0.1, prepare_peak=2e5),
        a_row(case, "yuzu:gaussian", 4.0, extra=coded, prepare_seconds=9.0, prepare_peak=3e8),
    ]
    report.sections.append(Section("yuzu-fig3a", "Six models", [of_cpu(row) for row in rows]))
    _, _, *lines = page.sensing(report).splitlines()
    assert lines == [
        "| basset | none: windows | - | - | 4x | 2.0e-06 | 100 ms | < 1 MB |",
        "| basset | gaussian | 1.05 | 41, 60 | 2x | 2.0e-06 | 9 s | 300 MB |",
    ]


def test_papers_numbers_are_told_at_their_size_only() -> None:
    assert page.theirs(Case("aitac8-timed", 1000)).startswith("Yuzu 5.6x, TISM 228x")
    assert page.theirs(Case("aitac8-timed", 1000, width=0.5)) == ""
    assert page.theirs(Case("basset", 1000)) == ""


TEXT = """<!-- bench fastism -->
Old.
<!-- end -->
Basset is <!--bench basset-scalar 1000 windowed-->4x<!--/--> as fast as
<!--bench basset-scalar 1000 naive-->?<!--/-->.
"""


def test_pages_are_filled_again_and_again(tmp_path: Path) -> None:
    folder, docs = tmp_path / "out", tmp_path / "docs"
    docs.mkdir()
    report = full_report()
    write(report, folder)
    (folder / "fastism.png").write_bytes(b"picture")
    (docs / "a.md").write_text(TEXT)
    (tmp_path / "README.md").write_text("No marks.")
    arguments = [str(folder), str(docs), str(tmp_path / "README.md")]
    assert page.main(arguments) == 0
    first = (docs / "a.md").read_text()
    assert page.publish(folder, docs) == []
    assert (docs / "a.md").read_text() == first
    assert "![A table](bench/fastism.png)" in first
    assert "<!--bench basset-scalar 1000 windowed-->32x<!--/--> as fast as\n" in first
    assert "<!--bench basset-scalar 1000 naive-->500 ms<!--/-->." in first
    assert {path.name for path in (docs / "bench").iterdir()} == {
        *("bench.json", "bench.tsv", "fastism.png"),
    }


FAULTS = {
    "a part": ("<!-- bench other -->\n<!-- end -->", "page: no part 'other'; one of machine"),
    "a figure": ("<!--bench basset 9 naive-->1x<!--/-->", "page: basset 9 naive is not in the run"),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_marks_that_mean_nothing_are_told(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        page.fill(text, full_report())


def test_faults_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert page.main([str(tmp_path), str(tmp_path)]) == 1
    assert "bench.json: cannot be read" in capsys.readouterr().err
    assert page.main([]) == 2
