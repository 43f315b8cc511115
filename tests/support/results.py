"""Result files for tests of what is done with results, with numbers known in advance."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yuzu_cli.runs.writer import OutputRun, RunInfo

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


def _distance(delta: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance of softmaxes over the targets, by its definition."""
    logits = reference[:, :, None, None]
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits, logits + delta))
    m = (p + q) / 2
    return np.sqrt(((p * np.log2(p / m) + q * np.log2(q / m)).sum(1) / 2).clip(0))


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
    codes = np.array([encode(text, letters) for text in sequences], np.uint8)
    codes = codes.reshape(len(rows), -1) if rows else np.zeros((0, 8), np.uint8)
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
    if "jsd" in save:
        scores["jsd"] = _distance(delta.astype(np.float64), reference.astype(np.float64))
    run = OutputRun.open(path, _info(made, save, dtype, config, letters))
    everything: dict[str, Any] = {
        "regions/chrom": [row[0] for row in rows],
        "regions/start": np.array([row[1] for row in rows], np.int64),
        "regions/end": np.array([row[2] for row in rows], np.int64),
        "regions/name": [row[3] for row in rows],
        "regions/strand": np.array([row[4].encode() for row in rows], "S1"),
        "regions/input_index": np.arange(n, dtype=np.int64) * 2,
        "regions/status": bits.astype(np.uint8),
        "sequences": codes,
        "reference": reference,
        **{f"scores/{name}": scores[name].astype(dtype) for name in save},
    }
    for batch, first, last in list(run.pending()):
        chosen = slice((first + 1) // 2, (last + 1) // 2)
        run.write(batch, {name: column[chosen] for name, column in everything.items()})
    run.finish()
    return made


def _info(made: Made, save: tuple[str, ...], dtype: str, config: str, letters: str) -> RunInfo:
    """A run of twice as many records as rows: every other one was dropped."""
    return RunInfo(
        config=config,
        model_sha256="0" * 64,
        input_sha256="1" * 64,
        alphabet=letters,
        backend="windowed",
        device="cpu",
        precision="float32",
        length=made.codes.shape[1],
        mutate_start=made.start,
        mutate_end=made.end,
        targets=tuple(made.targets),
        save=save,
        dtype=dtype,
        batch_size=40,
        n_records=2 * len(made.rows),
        verify_max_abs_error=1.5e-7,
        verify_max_rel_error=2.5e-6,
        command="yuzu run -m model.pt -b peaks.bed -g genome.fa -o out.h5",
        torch_version="2.13.0",
    )


def random_sequences(n: int, length: int, seed: int = 0) -> list[str]:
    """n random DNA sequences."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(LETTERS), length)) for _ in range(n)]


def odd_result(path: Path, config: str = "{}") -> Made:
    """Four windows with an N and a minus strand; a target and a name that are not HTML."""
    sequences = random_sequences(4, 40)
    sequences[3] = "N" * 5 + sequences[3][5:]
    rows = [
        ("chr1", 100, 140, "a<b>&", "+"),
        ("chr1", 300, 340, "second", "-"),
        ("chr2", 0, 40, "third", "."),
        ("chr2", 50, 90, "fourth", "+"),
    ]
    targets = ("open<1>", "closed")
    return make_result(path, rows, sequences, targets=targets, mutate=(2, 38), config=config)


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
