"""The report: its figures against numpy, its structure, and the page in a real browser."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.results import Made, make_result, planted_result, random_sequences
from yuzu_cli.errors import OutputError
from yuzu_cli.results.report import report
from yuzu_cli.results.streaming import Source
from yuzu_cli.results.summary import EDGES, summarise

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("logomaker", reason="logomaker is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]


@pytest.fixture
def mixed(tmp_path: Path) -> Made:
    """Four windows with an N and a minus strand; a target and a name that are not HTML."""
    sequences = random_sequences(4, 40)
    sequences[3] = "N" * 5 + sequences[3][5:]
    rows = [
        ("chr1", 100, 140, "a<b>&", "+"),
        ("chr1", 300, 340, "second", "-"),
        ("chr2", 0, 40, "third", "."),
        ("chr2", 50, 90, "fourth", "+"),
    ]
    targets = ("open<1>", "closed")
    return make_result(tmp_path / "in.h5", rows, sequences, targets=targets, mutate=(2, 38))


# --- figures of a result ----------------------------------------------------------------------


def test_summary_is_what_numpy_says(mixed: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yuzu_cli.results.streaming._BATCH_BYTES", 4 * 4 * 36 * 3 * 2)
    monkeypatch.setattr("yuzu_cli.results.summary._TARGETS_AT_ONCE", 1)
    with Source(mixed.path) as source:
        summary = summarise(source, top=2)
    inside = mixed.codes[:, 2:38]
    other = inside[:, None] != np.arange(4)[None, :, None]
    real = (other & (inside != 255)[:, None])[:, None] & np.ones((1, 2, 1, 1), bool)
    effects = [mixed.delta[:, t][real[:, t]] for t in range(2)]
    for t, values in enumerate(effects):
        assert summary.count[t] == len(values)
        assert summary.lowest[t] == values.min()
        assert summary.highest[t] == values.max()
        np.testing.assert_array_equal(
            summary.loss[t], np.histogram(-values[values < 0].clip(None, -EDGES[0]), EDGES)[0]
        )
        assert summary.gain[t].sum() == (values > 0).sum()
        exact = np.quantile(np.abs(values), 0.9)
        assert exact / 1.1 <= summary.quantile(t, 0.9) <= exact * 1.1
        profile = np.nanmean(np.where(real[:, t], np.abs(mixed.delta[:, t]), np.nan), axis=(0, 1))
        np.testing.assert_allclose(summary.profile[t], profile, rtol=1e-6)
    np.testing.assert_allclose(summary.reference_mean, mixed.reference.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(summary.reference_sd, mixed.reference.std(axis=0), rtol=1e-5)
    size = np.nan_to_num(np.abs(mixed.delta))
    strength = size.max(axis=(1, 2, 3))
    assert [found.row for found in summary.top] == np.argsort(-strength)[:2].tolist()
    found = summary.top[0]
    assert abs(found.effect) == strength.max()
    assert mixed.delta[found.row, found.target, found.letter, found.position] == found.effect
    assert summary.status["with unknown letters"] == 1


def test_overlapping_windows_of_one_site_count_once(tmp_path: Path) -> None:
    delta = np.zeros((3, 1, 4, 8), np.float32)
    delta[0, 0, 0, 5], delta[1, 0, 0, 3], delta[2, 0, 0, 0] = -3, -2, -1
    rows = [("c", 10, 18, "a", "+"), ("c", 11, 19, "b", "-"), ("c", 15, 23, "c", "+")]
    made = make_result(tmp_path / "in.h5", rows, ["CCCCCCCC"] * 3, targets=("t",), delta=delta)
    with Source(made.path) as source:
        # a and b are strongest at base 15, on either strand; c is too.
        assert [found.row for found in summarise(source, top=3).top] == [0]


# --- the page ---------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags with their attributes, balance checked, and the text of elements by id."""

    VOID = frozenset({"meta", "img", "br", "link"})

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


def test_the_page_says_what_was_run(mixed: Made, tmp_path: Path) -> None:
    text = report(mixed.path, tmp_path / "r.html", top=3).read_text(encoding="utf-8")
    page = Page(text)
    for words in (
        "in.h5", "yuzu run -m model.pt -b peaks.bed", "windowed, float32, cpu", "8, 4 dropped",
        "0" * 64, "1" * 64, "1.5e-07", "2.5e-06", "a<b>&", "open<1>", "432 mutants, 2 targets",
        "chr1:300-340 (-)",
    ):  # fmt: skip
        assert words in page.text
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [attrs["id"] for attrs in pictures] == ["effects", "region-1", "region-2", "region-3"]
    for attrs in pictures:
        assert attrs["alt"]
        kind, data = (attrs["src"] or "").split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")


def test_the_strongest_substitution_is_named_on_the_strand_of_its_window(tmp_path: Path) -> None:
    delta = np.zeros((1, 1, 4, 8), np.float32)
    delta[0, 0, 3, 2] = -7
    rows = [("chr1", 100, 108, "x", "-")]
    made = make_result(tmp_path / "in.h5", rows, ["ACGTACGT"], targets=("t",), delta=delta)
    text = report(made.path, tmp_path / "r.html").read_text()
    assert "<td>G&gt;T at 105</td>" in text
    assert '<td class="n">-7</td>' in text


def test_the_page_refers_to_nothing_outside(mixed: Made, tmp_path: Path) -> None:
    text = report(mixed.path, tmp_path / "r.html").read_text()
    for _, attrs in Page(text).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attrs.get(name) or "data:").startswith("data:")
    without_pictures = re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
    for forbidden in ("http:", "https:", "//", "url(", "@import", "<script", "<link"):
        assert forbidden not in without_pictures, forbidden
    assert "default-src 'none'" in text


@pytest.mark.parametrize("save", ["l2", "contribution", "centered"])
def test_a_page_for_every_saved_score(tmp_path: Path, save: str) -> None:
    rows = [("c", 0, 12, "x", "+")]
    made = make_result(tmp_path / "in.h5", rows, random_sequences(1, 12), save=(save,))
    text = report(made.path, tmp_path / "r.html").read_text()
    Page(text)
    assert 'id="region-1"' in text


def test_a_page_about_nothing(tmp_path: Path) -> None:
    make_result(tmp_path / "in.h5", [], [])
    page = Page(report(tmp_path / "in.h5", tmp_path / "r.html").read_text())
    assert "0 windows" in page.text
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_no_verification_is_said(mixed: Made, tmp_path: Path) -> None:
    with h5py.File(mixed.path, "a") as file:
        file.attrs["verify_max_abs_error"] = file.attrs["verify_max_rel_error"] = np.nan
    text = report(mixed.path, tmp_path / "r.html").read_text()
    assert "No mutants were compared" in text
    with pytest.raises(OutputError, match="--force"):
        report(mixed.path, tmp_path / "r.html")


# --- the browser ------------------------------------------------------------------------------


def browse(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_browser_shows_the_page(tmp_path: Path) -> None:
    from PIL import Image

    made = planted_result(tmp_path / "in.h5", n=4, length=150)
    page = report(made.path, tmp_path / "r.html", top=1)
    # A probe that runs after loading: it writes into the page what the browser made of it.
    probe = tmp_path / "probe.html"
    script = (
        "<script>onload=()=>{document.title=[...document.images].map(i=>i.complete&&i.naturalWidth"
        "&&i.getBoundingClientRect().width<=innerWidth?i.id:'broken').join(' ')"
        "+' '+document.querySelectorAll('#regions tr').length"
        "+' '+performance.getEntriesByType('resource').filter(e=>!e.name.startsWith('data:'))"
        ".length}</script>"
    )
    text = page.read_text().replace("style-src", "script-src 'unsafe-inline'; style-src")
    probe.write_text(text.replace("</body>", script + "</body>"))
    dom = browse(probe, tmp_path / "p1", "--dump-dom").stdout
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None
    assert title[1] == "effects region-1 2 0"
    shot = tmp_path / "shot.png"
    browse(page, tmp_path / "p2", "--window-size=1100,1500", f"--screenshot={shot}")
    with Image.open(shot) as image:
        colors = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for name, color in (("logo A", (44, 159, 69)), ("logo T", (208, 49, 45))):
        near = (np.abs(colors.astype(int) - color).max(axis=1) < 12).sum()
        assert near > 50, name
