"""Everything people and programs read about the config is made from its keys, and up to date."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from yuzu_cli import config_pages
from yuzu_cli.cli._options import OPTIONS, descriptions
from yuzu_cli.config import KEYS, RunConfig, load_config
from yuzu_cli.config_pages import default_yaml, schema, table, with_table
from yuzu_cli.errors import UsageError
from yuzu_cli.yaml12 import read_yaml

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


def test_default_yaml_is_made_from_the_keys() -> None:
    text = (CONFIGS / "default.yaml").read_text()
    assert text == default_yaml(), "run `make settings`"
    assert {section: list(keys) for section, keys in read_yaml(text).items()} == KEYS
    assert load_config(CONFIGS / "default.yaml") == RunConfig()
    assert max(len(line) for line in text.splitlines()) <= 100


def test_the_table_of_the_docs_is_made_from_the_keys() -> None:
    page = (ROOT / "docs/config.md").read_text()
    assert table() in page, "run `make settings`"
    assert with_table(page) == page
    cut = page.replace(table(), "something old\n")
    assert with_table(cut) == page


def test_the_schema_that_ships_is_made_from_the_keys() -> None:
    assert config_pages.SCHEMA.read_text() == schema(), "run `make settings`"
    jsonschema.Draft202012Validator.check_schema(json.loads(schema()))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_configs_that_ship_are_valid_by_the_schema(path: Path) -> None:
    jsonschema.validate(read_yaml(path.read_text()), json.loads(schema()))


SPELLINGS: list[dict[str, Any]] = [
    {"model.path": "a.pt", "score.targets": "0,3-4,CTCF*", "score.save": "l2,delta"},
    {"model.path": ["a.pt"], "score.targets": [0, "CTCF"], "model.target_names": ["a", 3]},
    {"score.targets": 3, "compute.shifts": "0,1,-1", "sensing.alpha": 1.5, "run.shard": "2/8"},
    {"model.output": "counts", "compute.batch_size": 8, "compute.device": "cuda:1"},
    {"output.compression": "gzip:4", "model.extra_inputs": {"cell": "c.npy", "1": 2.0}},
]
REFUSED: list[dict[str, Any]] = [
    {"score.targets": 1.5},
    {"score.save": ["dleta"]},
    {"compute.batch_size": 0},
    {"compute.device": "gpu"},
    {"sensing.alpha": 0},
    {"output.compression": "zip"},
    {"run.shard": "a"},
    {"input.length": 0},
    {"model.layout": "LNC"},
    {"model.colour": "red"},
]


def tree_of(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        section, key = dotted.split(".")
        tree.setdefault(section, {})[key] = value
    return tree


@pytest.mark.parametrize("flat", SPELLINGS, ids=str)
def test_the_schema_takes_what_the_config_takes(flat: dict[str, Any]) -> None:
    load_config(None, flat)
    jsonschema.validate(tree_of(flat), json.loads(schema()))


@pytest.mark.parametrize("flat", REFUSED, ids=str)
def test_the_schema_refuses_what_the_config_refuses(flat: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        load_config(None, flat)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree_of(flat), json.loads(schema()))


def test_every_key_has_a_text_that_names_its_choices() -> None:
    tree = json.loads(schema())
    texts = descriptions()
    assert list(texts) == [f"{section}.{key}" for section, keys in KEYS.items() for key in keys]
    for section, reference in tree["properties"].items():
        keys = tree["$defs"][reference["$ref"].rpartition("/")[2]]["properties"]
        for key, facts in keys.items():
            text = texts[f"{section}.{key}"]
            assert re.fullmatch(r".*[^.]", text), key
            for choice in facts.get("enum", []):
                assert re.search(rf"\b{choice}\b", text), (key, choice)


def test_options_say_what_the_keys_say() -> None:
    for option in OPTIONS.values():
        for key in option.about.split():
            assert descriptions()[key].lower() in option.help.lower()
        samples = {"mutate": "1:3", "reduce": "index:3", "mutate_center": 3, "model": ("a",)}
        assert set(option.about.split()) <= set(option.keys(samples.get(option.param, "1")))


def test_the_options_named_beside_a_key_are_those_that_set_it() -> None:
    named = {
        f"{section}.{key}": option
        for section in KEYS
        for key, (_, _, option) in config_pages._keys(section).items()
    }
    about: dict[str, list[str]] = {}
    for option in OPTIONS.values():
        for key in option.about.split():
            about.setdefault(key, []).extend(option.names)
    about |= {"run.verbosity": ["-v", "-q"], "run.debug": ["--debug"]}
    for key, text in named.items():
        assert bool(text) == (key in about), key
        for name in re.findall(r"--?[a-z][a-z-]*", text):
            assert name in "/".join(about[key]).split("/"), (key, name)


def test_make_settings_changes_nothing(tmp_path: Path) -> None:
    for name in ("configs/default.yaml", "docs/config.md", "yuzu_cli/config.schema.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    for path in (ROOT / "yuzu_cli").glob("*.py"):
        (tmp_path / "yuzu_cli" / path.name).write_text(path.read_text())
    (tmp_path / "configs/default.yaml").write_text("old")
    command = [sys.executable, "-m", "yuzu_cli.config_pages"]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, check=True)
    for name in ("configs/default.yaml", "docs/config.md", "yuzu_cli/config.schema.json"):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), name
    assert yaml.safe_load((tmp_path / "configs/default.yaml").read_text())
