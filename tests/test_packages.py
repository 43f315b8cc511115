"""What says the same in several files of packaging does, and the site has every page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import yuzu_cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = (ROOT / "packaging" / "conda" / "meta.yaml").read_text()
#: Packages that conda calls otherwise.
CONDA = {"torch": "pytorch", "isal": "python-isal", "matplotlib": "matplotlib-base"}


def demands(lines: list[str]) -> set[tuple[str, str]]:
    """Name and versions of each requirement, as conda names them."""
    found = set()
    for line in lines:
        parts = re.fullmatch(r"([A-Za-z0-9_-]+) ?(.*)", line)
        assert parts is not None
        name, versions = parts.groups()
        found.add((CONDA.get(name, name).lower(), versions))
    return found


def test_the_recipe_wants_what_the_package_wants() -> None:
    plain = re.sub(r"\{%.*?%\}", "", RECIPE)
    recipe = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "x", plain))
    extras = PROJECT["optional-dependencies"]
    wanted = demands([*PROJECT["dependencies"], *extras["plots"], *extras["export"]])
    assert demands(recipe["requirements"]["run"]) == wanted | {
        ("python", PROJECT["requires-python"])
    }


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == yuzu_cli.__version__
    assert f'{{% set version = "{yuzu_cli.__version__}" %}}' in RECIPE
    assert f"\n## {yuzu_cli.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_every_claimed_python_is_tested() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    names = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert tested == names
    assert PROJECT["requires-python"] == f">={names[0]}"


def test_torch_is_pinned_once_and_within_the_range() -> None:
    pins = re.findall(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert len(pins) == 1
    (wanted,) = [line for line in PROJECT["dependencies"] if line.startswith("torch")]
    least = re.fullmatch(r"torch>=(\d+)\.(\d+),<3", wanted)
    assert least is not None
    assert [*map(int, pins[0].split(".")[:2])] >= [*map(int, least.groups())]


@pytest.mark.parametrize("address", ["mkdocs.yml", "CITATION.cff", "packaging/conda/meta.yaml"])
def test_one_address(address: str) -> None:
    assert PROJECT["urls"]["Homepage"] in (ROOT / address).read_text()


def test_the_site_has_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if page.name not in text]
    assert not missing
