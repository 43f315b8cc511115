"""Inputs and configs of small runs of the engine, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.engine_nets import L
from yuzu_cli.config import RunConfig, load_config
from yuzu_cli.engine.summary import Estimate, RunSummary

LETTERS = "ACGT"


def sequences(count: int, length: int = L) -> list[str]:
    draw = np.random.default_rng(3)
    texts = ["".join(draw.choice(list(LETTERS), length)) for _ in range(count)]
    if count > 2:
        texts[2] = texts[2][:6] + "N" + texts[2][7:]
    return texts


def fasta(folder: Path, texts: Sequence[str]) -> Path:
    path = folder / "in.fa"
    path.write_text("".join(f">r{i}\n{text}\n" for i, text in enumerate(texts)))
    return path


def config(folder: Path, models: Sequence[Path], **keys: Any) -> RunConfig:
    overrides: dict[str, Any] = {
        "model.path": [str(path) for path in models],
        "output.path": str(folder / "out.h5"),
        "compute.device": "cpu",
    }
    if (folder / "in.fa").exists():
        overrides["input.fasta"] = str(folder / "in.fa")
    return load_config(None, overrides | {k.replace("__", "."): v for k, v in keys.items()})


def done(summary: RunSummary | Estimate) -> RunSummary:
    assert isinstance(summary, RunSummary)
    assert summary.complete
    return summary
