"""The page in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.results import make_result, random_sequences
from yuzu_cli.results.report import report

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
