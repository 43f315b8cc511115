"""The tutorial about results runs as it stands, on two regions of the example."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from yuzu_cli.cli import main
from yuzu_cli.results.export import FORMATS
from yuzu_cli.variants.alleles import REASONS

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("pyBigWig", reason="pyBigWig is not installed")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/results.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command of the page was given, in order."""
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(ROOT / "example_data", folder / "example_data")
    peaks = folder / "example_data/peaks.bed"
    lines = peaks.read_text().splitlines(keepends=True)
    peaks.write_text("".join(line for line in lines if re.search(r"\t(SuHw_1|BEAF_1)\t", line)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in "".join(blocks("sh")).splitlines():
            if not line.startswith("yuzu "):
                subprocess.run(["sh", "-c", line], check=True)
                continue
            with pytest.raises(SystemExit) as ended:
                main(shlex.split(line)[1:])
            assert not ended.value.code, line
    return folder


def test_every_file_of_the_page_is_made(ran: Path) -> None:
    for name in re.findall(r" -o (\S+)", "".join(blocks("sh"))):
        assert (ran / name).exists(), name


def test_variants_of_the_page(ran: Path) -> None:
    rows = [line.split("\t") for line in (ran / "out/effects.tsv").read_text().splitlines()[1:]]
    assert [(row[4], row[5]) for row in rows] == [
        ("rs1", "edit"),
        ("rs1", "edit"),
        ("rs2", "pass"),
        ("rs3", "ref_mismatch"),
    ]
    with h5py.File(ran / "out/example.h5") as file:
        name = file["regions/name"].asstr()[()].tolist().index("SuHw_1")
        at = 61388 - int(file["regions/start"][name])
        near = file["scores/delta"][name, 3, 1, at]
    # The window of the variant is centred elsewhere than that of the peak, so only about the same.
    assert np.sign(float(rows[1][9])) == np.sign(near) == -1


def test_python_of_the_page(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran)
    names: dict[str, Any] = {}
    exec("".join(blocks("python")), names)
    assert names["found"]["delta"].shape == (1, 1, 4, 500)
    assert names["effects"].shape == (4, 500)


def test_the_page_names_every_format_and_reason() -> None:
    for name in (*FORMATS, *REASONS):
        assert f"`{name}`" in PAGE, name


def test_pictures_are_small_and_made_by_a_command_of_the_page() -> None:
    pictures = re.findall(r"!\[[^]]+\]\((pictures/\S+)\)", PAGE)
    assert len(pictures) == 3
    for name in pictures:
        assert (ROOT / "docs" / name).stat().st_size < 250_000
        assert f"docs/{name}" in "".join(blocks("sh") + blocks("text"))
