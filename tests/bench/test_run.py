"""Whole benchmarks, tiny, and the command: what is written, continued, compared and refused."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.cli import invoke
from yuzu_cli.bench import run as bench_run
from yuzu_cli.bench.measure import Row, measure
from yuzu_cli.bench.papers import zoo
from yuzu_cli.bench.papers.suites import SUITES, cases_of, custom, get_suites
from yuzu_cli.bench.report import as_text, load
from yuzu_cli.bench.run import Options, example_files, run
from yuzu_cli.bench.subject import Case
from yuzu_cli.errors import OutputError

TINY = Case("basset", 60, width=0.02)


def test_a_command_of_which_nothing_ran_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt").write_text("no model")
    line = f"bench -m {tmp_path}/model.pt -l 30 --backends naive --rounds 1 --seconds 0.1"
    code, out, err = invoke([*line.split(), "--device", "cpu", "-o", str(tmp_path / "o")], capsys)
    assert code == 1
    assert "naive: cannot: " in out
    assert err == "error: yuzu bench: no method could run; each one's reason is above\n"


@pytest.fixture
def small_suite() -> Any:
    return custom(models=["basset"], lengths=[60], width=0.02, devices=["cpu"])


@pytest.mark.usefixtures("spoilt")
def test_report_of_a_tiny_suite(tmp_path: Path, small_suite: Any) -> None:
    told: list[tuple[int, int, str]] = []
    options = Options(backends=("windowed", "wrong", "refusing"), rounds=2, seconds=0.2)
    report = run(
        [small_suite], options, tmp_path, command="yuzu bench", progress=lambda *a: told.append(a)
    )
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"bench.txt", "bench.tsv", "bench.json", "bench.png"}
    assert report.pictures == ["bench.png"]
    text = (tmp_path / "bench.txt").read_text()
    assert text == as_text(report)
    assert "wrong is wrong: it claims to be exact and is not." in text
    assert "refusing: cannot: it has too many layers" in text
    content = json.loads((tmp_path / "bench.json").read_text())
    rows = content["sections"][0]["rows"]
    assert [row["method"] for row in rows] == ["naive", "windowed", "wrong", "refusing"]
    assert all(sample["wall"] > 0 for row in rows[:3] for sample in row["samples"])
    assert rows[3]["seconds"] is None
    assert content["machine"]["torch"] == torch.__version__
    lines = (tmp_path / "bench.tsv").read_text().splitlines()
    table = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    assert [line["verdict"] for line in table] == ["exact", "exact", "wrong", ""]
    assert table[3]["seconds"] == ""
    assert float(table[1]["speedup"]) > 0
    assert all(done <= total for done, total, _ in told)
    assert any("timing wrong" in what for _, _, what in told)
    assert told[-1][:2] == (12, 12)


def test_cases_that_tables_share_are_measured_once(
    tmp_path: Path, small_suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Case] = []

    def noted(case: Case, *_: Any, **__: Any) -> list[Row]:
        calls.append(case)
        return []

    monkeypatch.setattr(bench_run, "measure", noted)
    suites = [small_suite, replace(small_suite, name="again"), replace(small_suite, keep=True)]
    bench_run.run(suites, Options(backends=("naive",), rounds=1, seconds=0.05), tmp_path)
    assert len(calls) == 2


def test_cases_are_measured_side_by_side(tmp_path: Path) -> None:
    """In the order they were asked for, whichever was done first; naive is exact in each."""
    suites = [
        custom(models=["basset", "toynet"], lengths=[60, 80], width=0.02, devices=["cpu"]),
        replace(get_suites("tism-table1")[0], cases=lambda full: [TINY]),
    ]
    options = Options(backends=("windowed",), peers=(), rounds=1, seconds=0.05)
    run(suites, options, tmp_path / "one")
    before = torch.get_num_threads()
    told: list[tuple[int, int, str]] = []
    both = run(
        suites, replace(options, jobs=2), tmp_path / "two", progress=lambda *a: told.append(a)
    )
    assert torch.get_num_threads() == before
    expected = load(tmp_path / "one/bench.json").sections
    for section, alone in zip(both.sections, expected, strict=True):
        assert [r.case for r in section.rows] == [r.case for r in alone.rows]
        assert {r.verdict for r in section.rows} == {"exact"}
    assert told[-1][0] == told[-1][1] == 4 * 2 * 2  # a case that both have is measured once
    assert all(done <= total for done, total, _ in told)
    assert "side by side" in as_text(both)


def test_a_call_that_was_stopped_is_continued(
    tmp_path: Path, small_suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the report of the same call is not measured again; another call's is."""
    suite = custom(models=["basset", "toynet"], lengths=[60], width=0.02, devices=["cpu"])
    options = Options(backends=("windowed",), rounds=2, seconds=0.05)
    asked: list[str] = []

    def stopped(case: Case, *args: Any, **more: Any) -> list[Row]:
        asked.append(case.model)
        if case.model == "toynet" and asked.count("toynet") == 1:
            raise KeyboardInterrupt
        return measure(case, *args, **more)

    monkeypatch.setattr(bench_run, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        run([suite], options, tmp_path)
    left = load(tmp_path / "bench.json")
    assert (left.complete, [row.case.model for row in left.sections[0].rows]) == (
        False,
        ["basset"] * 2,
    )
    for rounds, count in ((2, 1), (3, 0)):
        again = replace(options, rounds=rounds)
        asking = replace(left, options=json.loads(json.dumps(asdict(again))))
        jobs = bench_run.jobs_of([suite], again)
        assert len(bench_run._continued(asking, tmp_path, jobs)) == count
    whole = run([suite], options, tmp_path)
    assert asked == ["basset", "toynet", "toynet"]
    assert whole.complete
    assert whole.sections[0].rows[0].samples == left.sections[0].rows[0].samples
    assert whole.seconds > left.seconds
    run([suite], options, tmp_path)  # one that is complete is measured anew
    assert asked[3:] == ["basset", "toynet"]


def test_what_became_slower_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "bench --arch toynet -l 30 --width 0.1 --backends naive --rounds 3 --seconds 0.3"
    line += f" --device cpu -o {tmp_path}/now"
    code, out, _ = invoke([*line.split(), "--no-progress"], capsys)
    assert code == 0
    content = json.loads((tmp_path / "now/bench.json").read_text())
    for row in content["sections"][0]["rows"]:
        for name in ("cpu_seconds", "cpu_low", "cpu_high"):
            row[name] /= 1000
    (tmp_path / "earlier.json").write_text(json.dumps(content))
    code, out, _ = invoke([*line.split(), "--against", f"{tmp_path}/earlier.json"], capsys)
    assert code == 1
    assert "by processor time: 1 slower, 0 faster, 0 same, 0 unsure." in out
    assert re.search(r"slower naive .* toynet, 30 letters", out)
    code, _, err = invoke([*line.split(), "--against", f"{tmp_path}/none.json"], capsys)
    assert (code, "none.json: cannot be read" in err) == (1, True)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, small_suite: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        run(
            [small_suite], Options(backends=("naive",), rounds=1, seconds=0.05), tmp_path / "file/x"
        )


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_has_cases_of_both_sizes(name: str) -> None:
    suite = SUITES[name]
    small, full = (cases_of(suite, size, "cpu", example_files()) for size in (False, True))
    assert small
    assert sum(c.length * c.sequences for c in full) > 3 * sum(
        c.length * c.sequences for c in small
    )
    for case in (*small, *full):
        if not case.is_file:
            assert zoo.architecture(case.model).length
    assert any(case.is_file for case in small) == (name == "tism-fig1a")
    assert suite.paper


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "bench --arch toynet -l 30 --width 0.1 --backends windowed --rounds 1 --seconds 0.1"
    code, out, err = invoke([*line.split(), "--device", "cpu", "-o", str(tmp_path / "o")], capsys)
    assert (code, err) == (0, "")
    assert "toynet, 30 letters, 1 sequence, 0.1 of the channels, float32, cpu" in out
    assert (tmp_path / "o/bench.json").exists()


ERRORS = {
    "nothing": ("", "yuzu bench: nothing to measure; give --model, --arch or --suite"),
    "no model": ("-l 30", "yuzu bench: no model; give --model or --arch"),
    "no such architecture": ("--arch bassett", "--arch: no architecture 'bassett'; one of "),
    "nor with a length": ("--arch bassett -l 30", "--arch: no architecture 'bassett'; one of "),
    "no such suite": ("--suite fig9", "--suite: no suite 'fig9'; one of all, yuzu-fig2"),
    "no such backend": ("--arch toynet --backends slow", "no backend 'slow'"),
    "no such peer": (
        "--arch toynet --peers quick",
        "--peers: no peer 'quick'; one of naive-compiled",
    ),
    "matrix of a backend without": (
        "--arch toynet --backends windowed:gaussian",
        "windowed has no",
    ),
    "no such matrix": ("--arch toynet --backends yuzu:round", "no sensing matrix 'round'; one of"),
    "alpha": ("--arch toynet --backends yuzu:gaussian@x", "yuzu:gaussian@x: 'x' is not a number"),
    "length of a file": ("-m a.pt", "--length: is needed for a.pt; like -l 1000"),
    "length": ("--arch toynet -l 3x", "--length: '3x' is not a number above zero; like 500"),
    "precision": ("--arch toynet --precision float8", "--precision: no precision 'float8'"),
}


@pytest.mark.parametrize(("line", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_faults_of_the_command_line(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = invoke(["bench", *line.split(), "-o", str(tmp_path / "o")], capsys)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "o").exists()
