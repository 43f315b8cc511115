"""`yuzu example` writes a folder in which the documented command runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support.cli import invoke
from yuzu_cli.cli import example
from yuzu_cli.results.reader import open_result


def test_the_example_is_whole_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = invoke(["example", "demo"], capsys)
    assert code == 0
    assert "cd demo && yuzu run" in said
    monkeypatch.chdir("demo")
    for line in Path("example_data/SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256(Path("example_data", name).read_bytes()).hexdigest() == digest
    assert Path("configs/snakemake/Snakefile").is_file()
    words = "run -c example_data/example.yaml --mutate-center 2 -o example.h5"
    code, _, said = invoke(words.split(), capsys)
    assert code == 0, said
    with open_result("example.h5") as result:
        assert result.n_regions == 82


def test_a_checkout_and_a_package_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (example.shipped() / "example_data" / "model.pt").is_file()
    (tmp_path / "yuzu_cli" / "shipped").mkdir(parents=True)
    monkeypatch.setattr(example, "__file__", str(tmp_path / "yuzu_cli" / "cli" / "example.py"))
    assert example.shipped() == tmp_path / "yuzu_cli" / "shipped"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_nothing_is_written_over(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there"
    mine = there / "mine.txt" if kind == "folder" else there
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    code, _, said = invoke(["example", str(there)], capsys)
    assert (code, said) == (1, f"error: {there}: is there already; give a new folder\n")
    assert mine.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_an_empty_folder_is_used_and_a_missing_parent_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert invoke(["example", str(tmp_path / "empty"), "-q"], capsys) == (0, "", "")
    assert (tmp_path / "empty" / "example_data").is_dir()
    code, _, said = invoke(["example", str(tmp_path / "no" / "demo")], capsys)
    assert code == 1
    assert "no/demo: No such file or directory" in said


def test_the_folder_one_stands_in_is_there_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, _, said = invoke(["example", "."], capsys)
    assert (code, said) == (1, "error: .: is there already; give a new folder\n")
