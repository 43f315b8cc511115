"""The report: its figures against numpy, its structure, and the page in a real browser."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.results import Made, make_result, random_sequences
from yuzu_cli.errors import InputError, OutputError
from yuzu_cli.results.motifs import Motifs
from yuzu_cli.results.report import report
from yuzu_cli.results.streaming import Source
from yuzu_cli.results.summary import EDGES, summarise

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

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
    return mixed_result(tmp_path)


def mixed_result(tmp_path: Path, config: str = "{}") -> Made:
    sequences = random_sequences(4, 40)
    sequences[3] = "N" * 5 + sequences[3][5:]
    rows = [
        ("chr1", 100, 140, "a<b>&", "+"),
        ("chr1", 300, 340, "second", "-"),
        ("chr2", 0, 40, "third", "."),
        ("chr2", 50, 90, "fourth", "+"),
    ]
    targets = ("open<1>", "closed")
    return make_result(
        tmp_path / "in.h5", rows, sequences, targets=targets, mutate=(2, 38), config=config
    )


def motif_file(tmp_path: Path, made: Made, window: int) -> Path:
    """As TF-MoDISco writes it: sites of width 4 in rows 1 and 2, the second one reversed."""
    path = tmp_path / "motifs.h5"
    first = 20 - window // 2
    table = np.eye(4, dtype=bool)[made.codes[1:3, first + 2 : first + 6]]
    table[1] = table[1][::-1, ::-1]
    scores = np.zeros((4, 4))
    scores[1, 1] = scores[2, 2] = 1
    with h5py.File(path, "w") as file:
        file.attrs["window_size"] = window
        for name in ("pos_patterns/pattern_0", "pos_patterns/pattern_1", "neg_patterns/pattern_0"):
            pattern = file.create_group(name)
            pattern["contrib_scores"] = scores
            seqlets = pattern.create_group("seqlets")
            for key, values in (("example_idx", [1, 2]), ("start", [2, 2]), ("end", [6, 6])):
                seqlets[key] = values
            seqlets["sequence"] = table
    return path


# --- figures of a result ----------------------------------------------------------------------


def test_summary_is_what_numpy_says(mixed: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yuzu_cli.results.streaming._BATCH_BYTES", 4 * 4 * 36 * 3 * 2)
    with Source(mixed.path) as source:
        summary = summarise(source, top=2)
    inside = mixed.codes[:, 2:38]
    other = inside[:, None] != np.arange(4)[None, :, None]
    real = (other & (inside != 255)[:, None])[:, None] & np.ones((1, 2, 1, 1), bool)
    effects = [mixed.delta[:, t][real[:, t]] for t in range(2)]
    for t, values in enumerate(effects):
        assert summary.count == len(values)
        assert summary.lowest[t] == values.min()
        assert summary.highest[t] == values.max()
        np.testing.assert_array_equal(
            summary.sizes[0, t], np.histogram(-values[values < 0].clip(None, -EDGES[0]), EDGES)[0]
        )
        assert summary.sizes[1, t].sum() == (values > 0).sum()
        exact = np.quantile(np.abs(values), 0.9)
        assert exact / 1.1 <= summary.quantile(t, 0.9) <= exact * 1.1
        profile = np.nanmean(np.where(real[:, t], np.abs(mixed.delta[:, t]), np.nan), axis=(0, 1))
        np.testing.assert_allclose(summary.profile[t], profile, rtol=1e-6)
    np.testing.assert_allclose(summary.reference_mean, mixed.reference.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(summary.reference_sd, mixed.reference.std(axis=0), rtol=1e-5)
    size = np.nan_to_num(np.abs(mixed.delta))
    for target, top in enumerate(summary.top):
        strength = size[:, target].max(axis=(1, 2))
        assert [found.row for found in top] == np.argsort(-strength)[:2].tolist()
        for found in top:
            assert abs(found.effect) == strength[found.row]
            place = (found.row, target, found.letter, found.position)
            assert (found.target, mixed.delta[place]) == (target, found.effect)


def test_overlapping_windows_of_one_site_count_once(tmp_path: Path) -> None:
    delta = np.zeros((3, 1, 4, 8), np.float32)
    delta[0, 0, 0, 5], delta[1, 0, 0, 3], delta[2, 0, 0, 0] = -3, -2, -1
    rows = [("c", 10, 18, "a", "+"), ("c", 11, 19, "b", "-"), ("c", 15, 23, "c", "+")]
    made = make_result(tmp_path / "in.h5", rows, ["CCCCCCCC"] * 3, targets=("t",), delta=delta)
    with Source(made.path) as source:
        # a and b are strongest at base 15, on either strand; c is too.
        assert [found.row for found in summarise(source, top=3).top[0]] == [0]


# --- the page ---------------------------------------------------------------------------------


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
    text = report(mixed_result(tmp_path, config).path, tmp_path / "r.html", top=2).read_text(
        "utf-8"
    )
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
    mixed: Made, tmp_path: Path
) -> None:
    page = Page(report(mixed.path, tmp_path / "r.html", top=1).read_text())
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


def test_the_page_refers_to_nothing_outside(mixed: Made, tmp_path: Path) -> None:
    text = report(mixed.path, tmp_path / "r.html").read_text()
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


def test_motifs_are_placed_in_the_windows_and_told(mixed: Made, tmp_path: Path) -> None:
    path = motif_file(tmp_path, mixed, window=20)
    with Source(mixed.path) as source:
        found = Motifs(path, source)
        sites = found.of(source.row(1))  # bases of the forward strand, of 300 to 340
    assert [(one.name, one.letters, one.sites) for one in found.patterns] == [
        ("pos 0", "CG", 2),
        ("pos 1", "CG", 2),
        ("neg 0", "CG", 2),
    ]
    assert sites == [(324, 328, "neg 0"), (324, 328, "pos 0"), (324, 328, "pos 1")]
    text = report(mixed.path, tmp_path / "r.html", motifs=path, top=1).read_text()
    assert 'id="motifs"' in text
    assert "<td>neg 0, pos 0, pos 1</td>" in text


def test_motifs_of_another_result_are_refused(mixed: Made, tmp_path: Path) -> None:
    path = motif_file(tmp_path, mixed, window=20)
    rows = [("c", 0, 40, "x", "+")] * 4
    other = make_result(tmp_path / "other.h5", rows, random_sequences(4, 40, seed=9))
    with pytest.raises(InputError, match="its sites are not those of"):
        report(other.path, tmp_path / "r.html", motifs=path)
    with pytest.raises(InputError, match="has no patterns"):
        report(mixed.path, tmp_path / "r.html", motifs=mixed.path)


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
    mixed: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("yuzu_cli.results.report.summarise")
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        report(mixed.path, tmp_path / "r.html")


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


# Runs after the page's own script, and writes into the title what the browser made of the page.
PROBE = """
<script>onload=()=>{const all=q=>[...document.querySelectorAll(q)];
const shown=q=>all(q).filter(e=>e.offsetParent).length;
const said=[innerWidth,document.documentElement.scrollWidth<=innerWidth,
all('img').filter(i=>!i.complete||!i.naturalWidth).length,shown('section.target'),
shown('#tabs button'),shown('img')];
all('#tabs button')[1].click();said.push(all('section.target').find(p=>!p.hidden).dataset.name);
const box=document.getElementById('search');box.value='peak1 ';box.oninput();
said.push(shown('section.target tbody tr'));box.value='';box.oninput();
const table=all('section.target').find(p=>!p.hidden).querySelector('table');
const effects=()=>[...table.tBodies[0].rows].map(r=>+r.cells[3].dataset.value);
table.querySelectorAll('th button')[3].click();const down=effects();
said.push(down.every((v,i)=>!i||down[i-1]>=v));location.hash='#target-0-region-1';
setTimeout(()=>{said.push(all('section.target').find(p=>!p.hidden).id,
performance.getEntriesByType('resource').filter(e=>!e.name.startsWith('data:')).length);
document.title=said.join(' ')},300)}</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize("width", [500, 1400])
def test_a_browser_shows_the_page(tmp_path: Path, width: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    rows = [("chr1", 1000 * i, 1000 * i + 150, f"peak{i}", "+-"[i % 2]) for i in range(4)]
    delta = rng.normal(size=(4, 2, 4, 150)).astype(np.float32)
    made = make_result(tmp_path / "in.h5", rows, random_sequences(4, 150), delta=delta)
    page = report(made.path, tmp_path / "r.html", top=1)
    probe = tmp_path / "probe.html"
    text = page.read_text()
    (policy,) = re.findall(r"script-src '[^']+'", text)
    probe.write_text(
        text.replace(policy, "script-src 'unsafe-inline'").replace("</body>", PROBE + "</body>")
    )
    size = f"--window-size={width},1500"
    dom = browse(probe, tmp_path / "p1", size, "--virtual-time-budget=3000", "--dump-dom").stdout
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None
    first, second = re.findall(r'data-name="(\w+)"', text)
    assert {first, second} == {"first", "second"}
    assert title[1] == f"{width} true 0 1 2 3 {second} 1 true target-0 0"
    shot = tmp_path / "shot.png"
    browse(page, tmp_path / "p2", f"--window-size={width},3000", f"--screenshot={shot}")
    with Image.open(shot) as image:
        colors = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for name, color in (("logo A", (0, 158, 115)), ("logo T", (213, 94, 0))):
        near = (np.abs(colors.astype(int) - color).max(axis=1) < 12).sum()
        assert near > 50, name
