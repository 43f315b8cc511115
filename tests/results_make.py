"""Result files for tests of what is done with results, with numbers known in advance."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

LETTERS = "ACGT"
MOTIF = "TGACTCATG"


@dataclass
class Made:
    """A result on disk and the arrays it was made from, each row in its own strand."""

    path: Path
    codes: np.ndarray
    delta: np.ndarray
    reference: np.ndarray
    rows: list[tuple[str, int, int, str, str]]
    targets: list[str]
    start: int
    end: int
    status: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))

    @property
    def contribution(self) -> np.ndarray:
        return -self.delta.mean(axis=2)

    @property
    def centered(self) -> np.ndarray:
        return self.delta - self.delta.mean(axis=2, keepdims=True)


def encode(text: str, letters: str = LETTERS) -> np.ndarray:
    """uint8 codes; 255 for other letters."""
    return np.array([letters.find(letter) % 256 for letter in text], np.uint8)


def make_result(
    path: Path,
    rows: list[tuple[str, int, int, str, str]],
    sequences: list[str],
    *,
    mutate: tuple[int, int] | None = None,
    targets: tuple[str, ...] = ("first", "second"),
    save: tuple[str, ...] = ("delta",),
    letters: str = LETTERS,
    status: list[int] | None = None,
    dtype: str = "float32",
    delta: np.ndarray | None = None,
    config: str = "{}",
    seed: int = 0,
) -> Made:
    """Write a result with random deltas (or the ones given) in format version 1.

    `rows` are (chrom, start, end, name, strand); `sequences` run 5'->3' of that strand.
    """
    rng = np.random.default_rng(seed)
    codes = np.stack([encode(text, letters) for text in sequences])
    n, length = codes.shape
    start, end = mutate or (0, length)
    shape = (n, len(targets), len(letters), end - start)
    delta = rng.normal(size=shape).astype(np.float32) if delta is None else delta.copy()
    inside = codes[:, start:end]
    there = inside[:, None, None, :] == np.arange(len(letters))[None, None, :, None]
    delta[np.broadcast_to(there, shape)] = 0
    delta[np.broadcast_to((inside == 255)[:, None, None, :], shape)] = np.nan
    reference = rng.normal(size=(n, len(targets))).astype(np.float32)
    bits = np.array(status or [0] * n, np.uint8) | (codes == 255).any(axis=1)
    made = Made(path, codes, delta, reference, rows, list(targets), start, end, bits)
    scores = {
        "delta": delta,
        "contribution": made.contribution,
        "centered": made.centered,
        "prediction": delta + reference[:, :, None, None],
        "l2": np.sqrt((delta**2).sum(axis=1)),
    }
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file.attrs.update(_attributes(letters, start, end, n, config))
        for at, name in enumerate(("chrom", "start", "end", "name", "strand")):
            column = [row[at] for row in rows]
            kind = {"strand": "S1", "start": "i8", "end": "i8"}.get(name, text)
            file.create_dataset(f"regions/{name}", data=column, dtype=kind)
        file["regions/input_index"] = np.arange(n) * 2
        file["regions/status"] = bits.astype(np.uint8)
        file["sequences"] = codes
        file.create_dataset("targets", data=list(targets), dtype=text)
        file["reference"] = reference
        for name in save:
            file.create_dataset(f"scores/{name}", data=scores[name].astype(dtype))
    return made


def _attributes(letters: str, start: int, end: int, n: int, config: str) -> dict[str, object]:
    return {
        "format": "yuzu",
        "format_version": 1,
        "yuzu_version": "0.1.0",
        "torch_version": "2.13.0",
        "created": "2026-11-21T00:00:00Z",
        "command": "yuzu run -m model.pt -b peaks.bed -g genome.fa -o out.h5",
        "config": config,
        "model_sha256": "0" * 64,
        "input_sha256": "1" * 64,
        "alphabet": letters,
        "backend": "windowed",
        "device": "cpu",
        "precision": "float32",
        "mutate_start": start,
        "mutate_end": end,
        "verify_max_abs_error": 1.5e-7,
        "verify_max_rel_error": 2.5e-6,
        "n_regions": n,
        "n_records": 2 * n,
        "record_start": 0,
        "record_stop": 2 * n,
        "batch_size": 4,
    }


def random_sequences(n: int, length: int, seed: int = 0) -> list[str]:
    """n random DNA sequences."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(LETTERS), length)) for _ in range(n)]


def planted_result(path: Path, n: int = 60, length: int = 120, seed: int = 3) -> Made:
    """Windows that hold `MOTIF` (about half of them reversed) and lose with each change of it."""
    rng = np.random.default_rng(seed)
    sequences, rows = [], []
    delta = rng.normal(scale=0.004, size=(n, 1, 4, length)).astype(np.float32)
    reverse = MOTIF.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    for i, text in enumerate(random_sequences(n, length, seed)):
        word = MOTIF if rng.random() < 0.5 else reverse
        at = int(rng.integers(10, length - len(word) - 10))
        sequences.append(text[:at] + word + text[at + len(word) :])
        weight = 0.7 + 0.3 * rng.random((4, len(word)))
        delta[i, 0, :, at : at + len(word)] = -weight
        start = 1000 + 300 * i
        rows.append(("chr1", start, start + length, f"peak{i}", "+"))
    return make_result(path, rows, sequences, targets=("open",), delta=delta, seed=seed)
