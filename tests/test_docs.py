"""The documentation says what is so: commands, options, keys, the format, links, messages."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tests.support.cli import invoke
from tests.support.format_page import schema_markdown
from yuzu_cli.cli import COMMANDS, group
from yuzu_cli.cli._options import OPTIONS
from yuzu_cli.config import RunConfig

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "example_data/README.md"])


def test_readme_names_every_command() -> None:
    for name in COMMANDS:
        assert f"| `yuzu {name}` |" in README
    assert set(re.findall(r"^\| `yuzu ([\w-]+)` \|", README, re.M)) == set(COMMANDS)


def test_readme_names_every_option_of_run() -> None:
    run = group.get_command(click.Context(group), "run")
    assert run is not None
    names = {name for option in run.params for name in (*option.opts, *option.secondary_opts)}
    table = README.split("Options of `yuzu run`")[1].split("\n## ")[0]
    assert set(re.findall(r"`(-{1,2}[a-z][a-z-]*)`", table)) == names


def rows(page: str) -> list[list[str]]:
    """Cells of every table line of a page."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]


def test_config_page_has_every_key_default_and_option() -> None:
    said = {row[0].strip("`"): row[1:3] for row in rows("config.md") if "." in row[0]}
    default = RunConfig().model_dump()
    keys = {
        f"{section}.{key}": value
        for section, part in default.items()
        for key, value in part.items()
    }
    assert {key: yaml.safe_load(cells[0].strip("`")) for key, cells in said.items()} == keys
    names = {name for option in OPTIONS.values() for name in "/".join(option.names).split("/")}
    extra = {"-v", "-q", "--debug"}
    for key, (_, options) in said.items():
        for name in re.findall(r"`(-[^ `]+)", options):
            assert name in names | extra, key


def test_every_option_is_on_the_config_page_with_its_key() -> None:
    said = {row[0].strip("`"): row[2] for row in rows("config.md") if "." in row[0]}
    samples = {"mutate": "1:3", "reduce": "sum", "mutate_center": 3, "model": ("a",)}
    for param, option in OPTIONS.items():
        keys = option.keys(samples.get(param, "1"))
        names = [name for text in option.names for name in text.split("/")]
        told = [key for key in keys if any(name in said[key] for name in names)]
        assert told, f"{option.names} of {list(keys)}"


def test_format_page_has_the_table_of_the_schema() -> None:
    assert schema_markdown().strip() in (ROOT / "docs/format.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    for target in targets:
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_messages_that_are_explained_are_those_of_the_tool() -> None:
    code = " ".join(path.read_text() for path in (ROOT / "yuzu_cli").rglob("*.py"))
    code = re.sub(r'"\s*f?"', "", code)
    headings = re.findall(r"^\*\*`([^`]+)`", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
    assert len(headings) > 3
    for heading in headings:
        for piece in re.split(r"\d+|…|;", heading):
            assert piece.strip() in code, heading


@pytest.mark.parametrize("page", ["README.md", "docs/troubleshooting.md"])
def test_the_way_to_save_a_model_makes_one_that_is_read(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from yuzu_cli.model import load_model

    [block] = re.findall(r"```python\n(rows = .*?)```", (ROOT / page).read_text(), re.S)
    layers = (torch.nn.Conv1d(4, 3, 7), torch.nn.AdaptiveMaxPool1d(1), torch.nn.Flatten())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"torch": torch, "model": torch.nn.Sequential(*layers)}
    exec(block, names)
    model = load_model("model.pt2", length=500)
    assert model.n_targets == 3
    x = torch.rand(5, 4, 500)
    torch.testing.assert_close(model(x), names["model"](x))


def test_make_targets_of_the_readme_exist() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    for name in re.findall(r"^make (\w+)$", README, re.M):
        assert name in targets


def test_ci_runs_the_command_of_the_readme() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text().splitlines()
    assert script.splitlines()[-1].startswith("make test")


def shell_lines(page: Path) -> list[str]:
    """Every line of the page's `sh` blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


def test_commands_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "example_data", tmp_path / "example_data")
    # Two regions and two records are enough to see that the commands work.
    peaks, records = (tmp_path / "example_data" / n for n in ("peaks.bed", "sequences.fa"))
    lines = peaks.read_text().splitlines(keepends=True)
    peaks.write_text("".join(line for line in lines if "SuHw_1\t" in line or "BEAF_1\t" in line))
    records.write_text(">".join(records.read_text().split(">")[:3]))
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    commands = shell_lines(ROOT / "README.md")
    assert len(commands) >= 5
    for command in commands:
        tool, *argv = shlex.split(command)
        assert tool == "yuzu"
        code, out, err = invoke(argv, capsys)
        assert code == 0, (command, out, err)
    assert (tmp_path / "out/example.h5").exists()
    assert (tmp_path / "out/SuHw_1.png").stat().st_size > 10_000
