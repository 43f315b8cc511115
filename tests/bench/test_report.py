"""Tables, files, pages and pictures made from numbers that are given."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from yuzu_cli.bench import charts, report, words
from yuzu_cli.bench.charts import CHARTS, COLORS, pictures
from yuzu_cli.bench.clock import Sample
from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.report import Report, Section, as_json, as_text, as_tsv, load, write
from yuzu_cli.bench.stats import Agreement
from yuzu_cli.bench.subject import Case
from yuzu_cli.errors import InputError
from yuzu_cli.files import size_text


def a_row(case: Case, method: str, seconds: float, **more: object) -> Row:
    row = Row(case, method, "exact", samples=[Sample(seconds, seconds), Sample(seconds, seconds)])
    row.seconds, row.seconds_low, row.seconds_high = seconds, 0.9 * seconds, 1.1 * seconds
    row.per_sequence = seconds / case.sequences
    row.speedup, row.verdict, row.host_peak = 8.0 / seconds, "exact", 2.5e6
    row.agreement = Agreement(1e-6, 0.5, 1e-13, 0.99999, 0.9876, 100, 0)
    for name, value in more.items():
        setattr(row, name, value)
    return row


def a_report() -> Report:
    rng = np.random.default_rng(0)
    rows = []
    for model in ("basset", "toynet"):
        for length in (200, 400):
            for count in (1, 4):
                case = Case(model, length, count)
                rows += [
                    a_row(case, "naive", 8.0, share=0.25, extra={"alpha": math.nan}),
                    a_row(case, "windowed", 0.5),
                ]
                seen = Agreement(1e-3 * count, 0.5, 1e-13, 0.9, 0.9, 100, 0)
                rows.append(a_row(case, "yuzu:gaussian@1.05", 1.0, agreement=seen))
                rows.append(a_row(case, "yuzu:gaussian@2", 2.0))
        truth = rng.normal(size=50)
        extra = {
            "pearson_by_sequence": [0.5, 0.8, math.nan, 0.9],
            "truth": truth.tolist(),
            "said": (truth + 0.3).tolist(),
        }
        taylor = a_row(case, "taylor", 0.1, extra=extra, verdict="estimate")
        rows += [taylor, Row(case, "other", "exact", "failed", "ValueError: a | b")]
    machine = {
        "devices": {"cpu": "Abacus 3000"},
        "processors": 2,
        "threads": 1,
        "load_average_at_start": 0.5,
        "torch": "2.0",
        "yuzu": "0.0",
        "when": "today",
        "peers": {"yuzu-ism": "0.0.1", "captum": "0.9"},
    }
    sections = [Section("tism-table2", "A title", rows)]
    return Report(machine, "yuzu bench --suite all", {"full": False}, sections, 12.5)


WORDS = {
    "nan": (words.number(math.nan), "-"),
    "zero": (words.number(0.0), "0"),
    "small": (words.number(0.000123456), "1.2e-04"),
    "middling": (words.number(12.3456), "12.3"),
    "large": (words.number(45678.9), "45,679"),
    "larger": (words.number(1234567.0), "1.2e+06"),
    "seconds": (words.duration(2.3456), "2.35 s"),
    "milliseconds": (words.duration(0.02), "20 ms"),
    "microseconds": (words.duration(3e-6), "3 µs"),
    "bytes": (size_text(2.5e9), "2.5 GB"),
    "few bytes": (size_text(12), "12 bytes"),
    "perfect": (words.correlation(1.0), "1.0000"),
    "almost": (words.correlation(0.99998), "0.9999"),
    "against": (words.correlation(-0.5), "-0.5000"),
    "share": (words.percent(0.0512), "5.12 %"),
}


@pytest.mark.parametrize(("found", "expected"), WORDS.values(), ids=WORDS.keys())
def test_numbers_to_read(found: str, expected: str) -> None:
    assert found == expected


def test_text() -> None:
    text = as_text(a_report())
    first = text.split("basset, 400 letters, 4 sequences, float32, cpu\n")[1].split("\n\n")[0]
    lines = [re.split(r" {2,}", line.strip()) for line in first.splitlines()]
    assert lines[0] == [
        *("method", "per sequence", "spread", "naive/it", "run on", "largest error", "of effect"),
        *("Pearson", "Spearman", "memory", "verdict"),
    ]
    assert lines[1] == [
        *("naive", "2 s", "±10 % n=2 !", "1x", "25 %", "1.0e-06", "2.0e-06", "0.9999", "0.9876"),
        *("2.5 MB", "exact"),
    ]
    assert lines[2][:4] == ["windowed", "125 ms", "±10 % n=2 !", "16x"]
    assert "  other: failed: ValueError: a | b" in first
    row = a_row(Case("basset", 9), "lossy", 1.0, verdict="wrong")
    row.agreement = Agreement(math.nan, 0.5, math.nan, math.nan, math.nan, 100, 7)
    assert report.notes([row]) == ["lossy is wrong: 7 of 100 numbers are missing or NaN."]
    row = a_row(Case("basset", 9), "other", 1.0, extra={"note": "it is special", "alpha": 1.02})
    row.prepare_seconds, row.prepare_peak = 3.0, 2e9
    assert report.notes([row]) == ["other: it is special."]
    table = dict(zip(*report.cells([row]), strict=True))
    assert (table["alpha"], table["prepared in"]) == ("1.02", "3 s, 2 GB")
    row.prepare_peak = 1e6
    assert dict(zip(*report.cells([row]), strict=True))["prepared in"] == "3 s"
    assert text.startswith("Abacus 3000; 2 processors, 1 threads, load 0.5 at the start; torch 2.0")


def test_a_case_without_numbers_has_no_table() -> None:
    section = Section("a", "A", [Row(Case("basset", 9), "naive", "exact", "cannot", "short")])
    text = as_text(Report(a_report().machine, "", {}, [section]))
    assert "float32, cpu\n  naive: cannot: short" in text


def test_few_times_and_wide_spreads_are_marked() -> None:
    row = a_row(Case("basset", 9), "naive", 1.0, samples=[Sample(1.0, 1.0)] * 5)
    row.seconds_high = 1.08
    assert dict(zip(*report.cells([row]), strict=True))["spread"] == "±9 % n=5"
    row.seconds_high = 1.3
    assert dict(zip(*report.cells([row]), strict=True))["spread"] == "±20 % n=5 !"
    row.samples = row.samples[:1]
    assert dict(zip(*report.cells([row]), strict=True))["spread"] == "n=1 !"


def test_tsv_has_every_row() -> None:
    made = a_report()
    lines = [line.split("\t") for line in as_tsv(made).splitlines()]
    assert len(lines) == 1 + len(made.sections[0].rows)
    assert {len(line) for line in lines} == {len(lines[0])}
    assert as_tsv(Report({}, "", {}, [])) == ""


def test_json_gives_the_same_report_back(tmp_path: Path) -> None:
    made = a_report()
    write(made, tmp_path)
    again = load(tmp_path / "bench.json")
    assert math.isnan(again.sections[0].rows[0].extra["alpha"])
    assert as_json(again) == as_json(made) == (tmp_path / "bench.json").read_text()
    assert as_text(again) == (tmp_path / "bench.txt").read_text()
    assert json.loads(as_json(made))["sections"][0]["rows"][0]["samples"][0] == {
        "wall": 8.0,
        "cpu": 8.0,
        "elsewhere": False,
    }


FAULTS = {
    "no report": (None, "bench.json: cannot be read"),
    "another file": ('{"format": "other"}', "bench.json: is not a bench.json"),
    "of before": ('{"format": "yuzu-bench", "format_version": 1}', "is of format 1, and this"),
}


@pytest.mark.parametrize(("content", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_what_cannot_be_read_back(content: str | None, message: str, tmp_path: Path) -> None:
    if content:
        (tmp_path / "bench.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "bench.json")


def layers(name: str = "yuzu-fig2") -> Section:
    """One convolution by its sizes."""
    rows = []
    for n, k, length in ((32, 7, 250), (8, 7, 250), (32, 3, 250), (32, 7, 500)):
        case = Case(f"two-layers-{n}x{k}", length)
        rows += [a_row(case, "naive", 8.0), a_row(case, "windowed", 0.5 + n / 100)]
    return Section(name, "One convolution", rows)


def test_one_picture_a_paper(tmp_path: Path) -> None:
    made = a_report().sections[0]
    sections = [
        layers(),
        *(Section(name, name, made.rows) for name in ("yuzu-fig3bc", "fastism-table1")),
        Section("tism-fig1a", "Concordance", made.rows),
        Section("bench", "One's own", made.rows),
    ]
    names = ["yuzu.png", "fastism.png", "tism.png", "bench.png"]
    assert pictures(sections, tmp_path) == names
    for name in names:
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / name).stat().st_size > 10_000


@pytest.mark.parametrize("name", CHARTS)
def test_charts_of_nothing(name: str) -> None:
    rows = [Row(Case("basset", 9), "naive", "exact", "cannot", "short")]
    assert CHARTS[name].height(Section("a", "A", rows)) == 0


def test_pictures_of_nothing(tmp_path: Path) -> None:
    rows = [Row(Case("basset", 9), "naive", "exact", "cannot", "short")]
    assert pictures([Section("bench", "A", rows)], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_method_has_one_colour_and_shares_it_with_none() -> None:
    assert len(set(COLORS.values())) == len(COLORS)
    assert charts.color("yuzu:gaussian@1.05") == charts.color("yuzu:gaussian!")
    assert charts.color("windowed") != charts.color("naive") != charts.color("no such")


def test_cases_that_differ_have_other_names() -> None:
    rows = [
        a_row(case, "naive", 1.0)
        for length in (100, 200)
        for count in (1, 8)
        for case in (Case("basset", length, count), Case("basset", length, count, device="cuda"))
    ]
    assert len({row.case.label for row in rows}) == len(rows)
