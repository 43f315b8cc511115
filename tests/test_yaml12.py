"""YAML by version 1.2: what a person sees in a file of settings is what it means."""

from __future__ import annotations

from math import inf, isnan
from pathlib import Path
from typing import Any

import pytest
import yaml

from yuzu_cli.config import load_config
from yuzu_cli.errors import UsageError
from yuzu_cli.yaml12 import read_yaml, write_yaml

MEANINGS: dict[str, Any] = {
    "1:40": "1:40",
    "1:40.5": "1:40.5",
    "010": 10,
    "-007": -7,
    "08": 8,
    "0o10": 8,
    "0x1F": 31,
    "0b1": "0b1",
    "1_000": "1_000",
    "yes": "yes",
    "No": "No",
    "on": "on",
    "OFF": "OFF",
    "y": "y",
    "true": True,
    "False": False,
    "tRue": "tRue",
    "~": None,
    "null": None,
    "nUll": "nUll",
    "2024-01-01": "2024-01-01",
    "1e5": 1e5,
    "1.": 1.0,
    ".5": 0.5,
    "+12e-2": 0.12,
    ".inf": inf,
    "-.INF": -inf,
    "1.2.3": "1.2.3",
    "=": "=",
    "<<": "<<",
    "chr1": "chr1",
    "": None,
}


@pytest.mark.parametrize(("text", "meaning"), MEANINGS.items())
def test_plain_words_mean_what_they_look_like(text: str, meaning: Any) -> None:
    found = read_yaml(f"a: {text}")["a"]
    assert (type(found), found) == (type(meaning), meaning)
    assert isnan(read_yaml("a: .NaN")["a"])


@pytest.mark.parametrize("text", MEANINGS)
def test_a_word_that_was_quoted_stays_one_in_either_version(text: str) -> None:
    written = write_yaml({"a": text, text: [text]})
    assert read_yaml(written) == yaml.safe_load(written) == {"a": text, text: [text]}


@pytest.mark.parametrize("value", [v for v in MEANINGS.values() if not isinstance(v, str)])
def test_a_value_is_written_so_that_either_version_reads_it(value: Any) -> None:
    written = write_yaml({"a": value})
    assert read_yaml(written) == yaml.safe_load(written) == {"a": value}


def test_names_in_a_config_are_no_booleans(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: {target_names: [yes, no, 010, 1e5x]}\nmutate: {start: 010}\n")
    config = load_config(path)
    assert config.model.target_names == ["yes", "no", "10", "1e5x"]
    assert config.mutate.start == 10


def test_a_time_of_day_is_no_position(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("mutate: {start: 1:40}\n")
    with pytest.raises(UsageError, match=r"mutate\.start: expected a whole number, found '1:40'"):
        load_config(tmp_path / "c.yaml")
    (tmp_path / "d.yaml").write_text("mutate: {start: " + "1" * 5000 + "}\n")
    with pytest.raises(UsageError, match="is not the YAML of a config"):
        load_config(tmp_path / "d.yaml")
