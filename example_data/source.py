"""Reads the source data the example is made from, and fixes what is held out of training.

Shared by ``make_example.py`` and ``train.py``; numpy only. Nothing in the package imports it.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

CHROM = "chr2R"
LENGTH = 500
PROTEINS = ("BEAF-32", "CTCF", "CP190", "su(Hw)")
# As the peak files of the source spell them; also the prefix of the names in peaks.bed.
FILE_NAMES = ("BEAF", "CTCF", "Cp190", "SuHw")
CELL_LINES = ("Kc", "Mbn2")
# The model sees nothing right of HELD_OUT; windows between it and VALIDATION chose the settings.
VALIDATION = 14_500_000
HELD_OUT = 16_500_000
# What is shipped as genome.fa.gz: well inside the held-out part.
PIECE = (16_900_000, 17_300_000)
UNKNOWN = 4


def read_sequence(folder: Path) -> bytes:
    """The chromosome as it is written, soft-masked (upper and lower case)."""
    with gzip.open(folder / f"dm3.{CHROM}.fa.gz", "rb") as handle:
        lines = handle.read().split(b"\n")
    if lines[0].split() != [b">" + CHROM.encode()]:
        raise ValueError(f"{folder}: expected one record named {CHROM}, found {lines[0]!r}")
    return b"".join(lines[1:])


def encode(sequence: bytes) -> np.ndarray:
    """Codes 0 to 3 for ACGT in either case, ``UNKNOWN`` for anything else; uint8 (length,)."""
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    for code, letter in enumerate("ACGT"):
        table[ord(letter)] = table[ord(letter.lower())] = code
    return table[np.frombuffer(sequence, dtype=np.uint8)]


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """Reverse complement of codes 0 to 3 along the last axis; UNKNOWN stays."""
    return np.array([3, 2, 1, 0, UNKNOWN], dtype=np.uint8)[codes[..., ::-1]]


def one_hot(codes: np.ndarray) -> np.ndarray:
    """float32 (N, 4, L) of codes (N, L); an unknown letter is a column of zeros."""
    return np.eye(5, 4, dtype=np.float32)[codes].transpose(0, 2, 1).copy()


def read_peaks(folder: Path) -> list[np.ndarray]:
    """Peaks per protein, in the order of ``PROTEINS``: int64 (P, 3) of start, end, cell lines.

    Overlapping peaks, of one or of both cell lines, are merged; the third column counts the
    cell lines that support the merged peak.
    """
    peaks = []
    for name in FILE_NAMES:
        found = []
        for line_number, cell_line in enumerate(CELL_LINES):
            text = (folder / f"dm3.{CHROM}.{name}_{cell_line}.bed").read_text()
            for line in text.splitlines():
                chrom, start, end = line.split()[:3]
                if chrom == CHROM:
                    found.append((int(start), int(end), 1 << line_number))
        merged: list[list[int]] = []
        for start, end, seen in sorted(found):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(end, merged[-1][1])
                merged[-1][2] |= seen
            else:
                merged.append([start, end, seen])
        peaks.append(np.array([(s, e, bin(seen).count("1")) for s, e, seen in merged]))
    return peaks


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive scores above a negative; ties count one half."""
    negative = np.sort(negative)
    below = np.searchsorted(negative, positive, side="left")
    not_above = np.searchsorted(negative, positive, side="right")
    return float((below + not_above).mean() / 2 / len(negative))
