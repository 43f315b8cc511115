"""A tiny world for tests of the command line: a model, sequences, a genome and regions of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

LENGTH = 40


@dataclass(frozen=True)
class World:
    """Paths in one folder; the genome has chr1 of 600 and chr2 of 300 letters."""

    folder: Path

    def __getattr__(self, name: str) -> str:
        """`world.model` is the path of `model.*`, as text."""
        return str(next(self.folder.glob(f"{name}.*")))


def make_world(folder: Path, records: int = 24) -> World:
    """Write it; the same every time."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool1d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(24, 3),
    ).eval()
    torch.jit.script(model).save(str(folder / "model.pt"))
    letters = random.Random(1)
    text = ["".join(letters.choices("ACGT", k=LENGTH)) for _ in range(records)]
    (folder / "seqs.fa").write_text("".join(f">s{i}\n{line}\n" for i, line in enumerate(text)))
    genome = {"chr1": 600, "chr2": 300}
    (folder / "genome.fa").write_text(
        "".join(f">{name}\n{''.join(letters.choices('ACGT', k=n))}\n" for name, n in genome.items())
    )
    (folder / "peaks.bed").write_text("chr1\t100\t200\tp0\t0\t+\nchr2\t50\t90\tp1\t0\t-\n")
    (folder / "edge.bed").write_text("chr1\t100\t200\nchr2\t290\t300\n")
    (folder / "backwards.bed").write_text("chr1\t100\t200\nchr1\t90\t80\n")
    (folder / "elsewhere.bed").write_text("chr9\t100\t200\n")
    (folder / "unknown.fa").write_text(f">a\n{'ACGT' * 10}\n>b\n{'ACGN' * 10}\n")
    (folder / "lengths.fa").write_text(f">a\n{'ACGT' * 10}\n>b\n{'ACGT' * 9}\n")
    (folder / "empty.fa").write_text("")
    (folder / "typo.yaml").write_text("compute: {precison: tf32}\n")
    torch.save(model.state_dict(), folder / "weights.pth")
    return World(folder)


def invoke(argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command line in this process: exit code, stdout, stderr."""
    from yuzu_cli.cli import main

    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(list(argv))
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def start(argv: Sequence[str], folder: Path, **more: str) -> subprocess.Popen[str]:
    """Start a command line in a process of its own, with one thread for torch."""
    return subprocess.Popen(
        [sys.executable, "-m", "yuzu_cli", *argv],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def contents(path: Path | str) -> dict[str, bytes]:
    """Every dataset as bytes, and the attributes that must not depend on how a run went."""
    found: dict[str, bytes] = {}
    with h5py.File(path) as file:

        def take(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                values = item[()]
                text = values.dtype == object
                found[name] = b"\n".join(values) if text else np.ascontiguousarray(values).tobytes()

        file.visititems(take)
        for name, value in file.attrs.items():
            if name not in {"created", "command", "config"}:
                found[f"@{name}"] = repr(value).encode()
    return found
