"""What people and programs read about the config, made from its keys: nothing is said twice.

`python -m yuzu_cli.config_pages` (`make settings`) writes the JSON Schema that ships with the code,
configs/default.yaml and the table in docs/config.md; a test holds that they are up to date.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from yuzu_cli.config import RunConfig
from yuzu_cli.yaml12 import write_yaml

SCHEMA = Path(__file__).with_name("config.schema.json")
_TITLE = """\
Every setting of `yuzu run`, at its default. Copy what you change: a config may leave out the
rest. Options of the command line (in brackets) win over a config, a config over these defaults.
Unknown keys are refused. Paths are relative to the directory the command is started in.
Made from yuzu_cli/config_keys.py by `make settings`.
"""
_TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- end of settings -->)", re.S)


def schema() -> str:
    """The JSON Schema of a config, as text."""
    tree = RunConfig.model_json_schema()
    tree = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | tree
    tree["title"], tree["description"] = "yuzu config", "A config of `yuzu run`."
    return json.dumps(_without_titles(tree), indent=1, ensure_ascii=False) + "\n"


def _without_titles(value: Any, top: bool = True) -> Any:
    """Drop the titles that pydantic makes of names; they say nothing."""
    if isinstance(value, list):
        return [_without_titles(inner, False) for inner in value]
    if not isinstance(value, dict):
        return value
    kept = {k: v for k, v in value.items() if top or k != "title" or not isinstance(v, str)}
    return {key: _without_titles(inner, False) for key, inner in kept.items()}


def _keys(section: str) -> dict[str, tuple[str, str, str]]:
    """Key to default (as YAML), text and option, of one section."""
    model = type(RunConfig.model_fields[section].default)
    found = {}
    for key, field in model.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        default = write_yaml([field.default], flow=True).strip().removeprefix("[")
        option = str(extra.get("x-option", ""))
        found[key] = (default.removesuffix("]"), field.description or "", option)
    return found


def default_yaml() -> str:
    """configs/default.yaml: every key at its default, its text above it."""
    lines = [f"# {line}" for line in _TITLE.splitlines()]
    for section, field in RunConfig.model_fields.items():
        lines += ["", f"# {type(field.default).__doc__}", f"{section}:"]
        for key, (default, text, option) in _keys(section).items():
            lines += _comment(f"{text} ({option})" if option else text)
            lines.append(f"  {key}: {default}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    lines = textwrap.wrap(text, 96, break_on_hyphens=False, break_long_words=False)
    return [f"  # {line}" for line in lines]


def table() -> str:
    """The table of docs/config.md."""
    lines = ["| key | default | option | what it does |", "|---|---|---|---|"]
    for section in RunConfig.model_fields:
        for key, (default, text, option) in _keys(section).items():
            text = text.replace("|", "\\|")
            said = ", ".join(f"`{name}`" for name in re.split(", |/(?=--)", option) if name)
            lines.append(f"| `{section}.{key}` | `{default}` | {said} | {text} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """docs/config.md with the table as it should be."""
    return _TABLE.sub(lambda _: table(), page)


def main() -> None:
    """Write all three."""
    root = Path(__file__).parent.parent
    SCHEMA.write_text(schema(), encoding="utf-8")
    (root / "configs/default.yaml").write_text(default_yaml(), encoding="utf-8")
    page = root / "docs/config.md"
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
