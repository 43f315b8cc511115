"""The tables of docs/format.md, made of the schema."""

from __future__ import annotations

from yuzu_cli.results.schema import ATTRIBUTES, DATASETS, SCORE, TEXT


def schema_markdown() -> str:
    """The two tables of the format as Markdown."""
    types = {TEXT: "UTF-8", SCORE: "float32 or float16"}
    lines = ["| dataset | shape | type | meaning |", "|---|---|---|---|"]
    for d in DATASETS:
        axes = d.axes.replace(" ", ", ") + ("," if " " not in d.axes else "")
        lines.append(f"| `/{d.path}` | ({axes}) | {types.get(d.dtype, d.dtype)} | {d.meaning} |")
    lines += ["", "| attribute of `/` | type | meaning |", "|---|---|---|"]
    for a in ATTRIBUTES:
        meaning = f"{a.meaning} (only in a shard)" if a.optional else a.meaning
        lines.append(f"| `{a.name}` | {a.dtype} | {meaning} |")
    return "\n".join(lines) + "\n"
