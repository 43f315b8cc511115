"""The table of the format: complete, consistent, and chunked as promised."""

from __future__ import annotations

import math

import pytest

from tests.support.format_page import schema_markdown
from yuzu_cli.results import schema

BY_PATH = {d.path: d for d in schema.DATASETS}


def test_names_are_unique_and_axes_known() -> None:
    assert len(BY_PATH) == len(schema.DATASETS)
    assert len({a.name for a in schema.ATTRIBUTES}) == len(schema.ATTRIBUTES)
    assert all(set(d.axes.split()) <= set("NTALM") for d in schema.DATASETS)
    assert schema.SAVE_NAMES == ("delta", "l2", "jsd", "contribution", "centered", "prediction")


def test_only_the_saved_scores_are_in_a_file() -> None:
    paths = {d.path for d in schema.datasets_for(["l2"])}
    assert "scores/l2" in paths
    assert "scores/delta" not in paths
    assert {"targets", "reference", "sequences", "regions/status"} <= paths


@pytest.mark.parametrize(
    ("path", "sizes", "chunk"),
    [
        pytest.param("scores/delta", (1, 4, 1000), (1, 1, 4, 1000), id="one-target"),
        pytest.param("scores/delta", (164, 4, 1000), (1, 55, 4, 1000), id="cut-in-three"),
        pytest.param("scores/delta", (3, 4, 200_000), (1, 1, 4, 200_000), id="huge-window"),
        pytest.param("scores/delta", (1, 4, 10), (409, 1, 4, 10), id="tiny-rows-share"),
        pytest.param("scores/l2", (9, 4, 1000), (1, 4, 1000), id="l2"),
        pytest.param("scores/contribution", (164, 4, 1000), (1, 164, 1000), id="contribution"),
        pytest.param("regions/start", (1, 4, 10), (1000,), id="column"),
    ],
)
def test_chunks(path: str, sizes: tuple[int, ...], chunk: tuple[int, ...]) -> None:
    axes = dict(zip("TAM", sizes, strict=True)) | {"L": 2000}
    assert schema.chunk_shape(BY_PATH[path], axes, "float32", 1000) == chunk


@pytest.mark.parametrize("targets", [1, 2, 7, 164, 5313])
@pytest.mark.parametrize("width", [1, 50, 1000, 2114, 40_000])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_no_chunk_is_large_and_none_is_mostly_padding(targets: int, width: int, dtype: str) -> None:
    sizes = {"T": targets, "A": 4, "L": width, "M": width}
    dataset = BY_PATH["scores/delta"]
    chunk = schema.chunk_shape(dataset, sizes, dtype, 10**6)
    size = math.prod(chunk) * (4 if dtype == "float32" else 2)
    assert size <= schema.CHUNK_BYTES
    if schema.row_is_chunks(dataset, sizes, dtype):
        assert chunk[0] == 1
        pieces = -(-targets // chunk[1])
        assert pieces * chunk[1] <= targets + pieces


def test_markdown_has_a_line_for_everything() -> None:
    text = schema_markdown()
    assert "| `/scores/delta` | (N, T, A, M) | float32 or float16 |" in text
    assert "| `/regions/chrom` | (N,) | UTF-8 |" in text
    for name in [*(f"/{d.path}" for d in schema.DATASETS), *(a.name for a in schema.ATTRIBUTES)]:
        assert f"| `{name}` |" in text
    for line in text.splitlines():
        assert line == "" or line.count("|") in (4, 5), "a bar in a cell breaks the table"
