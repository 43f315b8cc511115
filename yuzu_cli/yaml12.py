"""YAML by the rules of version 1.2, read and written.

PyYAML follows version 1.1, in which `1:40` is 100, `010` is 8 and `no` is false: traps in a file of
settings. Here only `true` and `false` are booleans, numbers are what they look like, and there are
no dates. What is written reads the same by either version. Knows no setting.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_SIGNS = "-+0123456789"
_RULES = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list(_SIGNS)),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list(_SIGNS + ".")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
)
"""Kind, how it is written, and the characters it may begin with: the core schema of YAML 1.2."""


class _Loader(yaml.SafeLoader):
    """Plain values only, by the core schema; a key given twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is given twice", key.start_mark
                )
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def whole(self, node: yaml.ScalarNode) -> int:
        """An integer; a leading zero means nothing."""
        text = node.value
        if text.startswith(("0o", "0x")):
            return int(text, 0)
        return int(text)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version would read as something else than text."""


_Loader.yaml_implicit_resolvers = {}  # nothing of version 1.1
for _kind, _pattern, _first in _RULES:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)
_Loader.add_constructor(f"{_TAG}int", _Loader.whole)


def read_yaml(text: str) -> Any:
    """The value that a text in YAML 1.2 stands for.

    Raises
    ------
    yaml.YAMLError
        It is no YAML of plain values, or a key stands twice.
    RecursionError
        It is nested too deeply.
    ValueError
        It has a number of more digits than Python reads.
    """
    return yaml.load(text, Loader=_Loader)


def write_yaml(value: Any, flow: bool = False) -> str:
    """Plain values as YAML, in their own order, no line broken; `flow` is `[a, {b: c}]`."""
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 10_000}
    return str(yaml.dump(value, Dumper=_Dumper, default_flow_style=flow, **options))
