"""The page about a result: what it says, and that it needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.results import Made, make_result, odd_result, random_sequences
from yuzu_cli.errors import OutputError
from yuzu_cli.results.report import report

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


class Page(HTMLParser):
    """Tags with their attributes, balance checked, and the text of elements by id."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_what_was_run(tmp_path: Path) -> None:
    config = "model: {path: [deep/model.pt]}\ninput: {bed: peaks.bed, genome: genome.fa}"
    text = report(
        odd_result(tmp_path / "in.h5", config).path, tmp_path / "r.html", top=2
    ).read_text("utf-8")
    page = Page(text)
    for words in (
        "in.h5", "yuzu run -m model.pt -b peaks.bed", "windowed, float32, cpu", "8, 4 dropped",
        "0" * 64, "1" * 64, "1.5e-07", "2.5e-06", "a<b>&", "open<1>", "432 mutants, 2 targets",
        "positions 3 to 38 of 4 windows of 40", "chr1:301-340 (-)", "deep/model.pt",
        "peaks.bed, genome.fa",
    ):  # fmt: skip
        assert words in page.text
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    names = ("sizes", "places", "region-1", "region-2")
    assert {attrs["id"] for attrs in pictures} == {
        f"target-{t}-{name}" for t in (0, 1) for name in names
    }
    for attrs in pictures:
        assert attrs["alt"]
        kind, data = (attrs["src"] or "").split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")


def test_a_panel_and_a_table_for_each_target_with_links_to_its_regions(
    odd: Made, tmp_path: Path
) -> None:
    page = Page(report(odd.path, tmp_path / "r.html", top=1).read_text())
    panels = [attrs for tag, attrs in page.tags if tag == "section"]
    assert {(a["id"], a["data-name"]) for a in panels} == {
        ("target-0", "open<1>"),
        ("target-1", "closed"),
    }
    identities = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]
    assert {"#target-0", "#target-1", "#target-0-region-1", "#target-1-region-1"} == set(links)
    assert {link[1:] for link in links} <= identities
    tables = [attrs for tag, attrs in page.tags if tag == "table" and "class" in attrs]
    assert {a["id"]: a["class"] for a in tables} == {
        "effects": "sort",
        "target-0-regions": "sort find",
        "target-1-regions": "sort find",
    }


@pytest.mark.parametrize(("strand", "expected"), [("-", "C&gt;A at 106"), ("+", "G&gt;T at 103")])
def test_the_strongest_substitution_is_named_on_the_forward_strand(
    tmp_path: Path, strand: str, expected: str
) -> None:
    delta = np.zeros((1, 1, 4, 8), np.float32)
    delta[0, 0, 3, 2] = -7
    rows = [("chr1", 100, 108, "x", strand)]
    made = make_result(tmp_path / "in.h5", rows, ["ACGTACGT"], targets=("t",), delta=delta)
    text = report(made.path, tmp_path / "r.html").read_text()
    assert f'<td>{expected}</td><td class="n" data-value="-7">-7</td>' in text
    assert "substitution (+ strand)" in text


def test_the_page_refers_to_nothing_outside(odd: Made, tmp_path: Path) -> None:
    text = report(odd.path, tmp_path / "r.html").read_text()
    for _, attrs in Page(text).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attrs.get(name) or "data:").startswith(("data:", "#"))
    without_pictures = re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
    for forbidden in ("http:", "https:", "//", "url(", "@import", "fetch(", "eval(", "<link"):
        assert forbidden not in without_pictures, forbidden
    assert "default-src 'none'" in text
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


@pytest.mark.parametrize("save", ["l2", "jsd", "contribution", "centered"])
def test_a_page_for_every_saved_score(tmp_path: Path, save: str) -> None:
    rows = [("c", 0, 12, "x", "+")]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(1, 12), save=(save,))
    text = report(made.path, tmp_path / "r.html").read_text()
    Page(text)
    assert 'id="target-0-region-1"' in text


def test_a_page_about_nothing(tmp_path: Path) -> None:
    make_result(tmp_path / "in.h5", [], [])
    page = Page(report(tmp_path / "in.h5", tmp_path / "r.html").read_text())
    assert "0 windows" in page.text
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_a_page_that_is_there_is_told_before_anything_is_drawn(
    odd: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("yuzu_cli.results.report.summarise")
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        report(odd.path, tmp_path / "r.html")


def test_no_verification_is_said(odd: Made, tmp_path: Path) -> None:
    with h5py.File(odd.path, "a") as file:
        file.attrs["verify_max_abs_error"] = file.attrs["verify_max_rel_error"] = np.nan
    text = report(odd.path, tmp_path / "r.html").read_text()
    assert "No mutants were compared" in text
    with pytest.raises(OutputError, match="--force"):
        report(odd.path, tmp_path / "r.html")
