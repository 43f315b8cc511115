"""Cuts ``genome.fa.gz``, ``peaks.bed`` and ``sequences.fa`` out of the source data.

    python example_data/make_example.py SOURCE_FOLDER

SOURCE_FOLDER holds the chromosome and the peak files named in README.md. Needs numpy and
biopython. Nothing is random. With ``--sums``, SHA256SUMS is written anew for all shipped files.
Nothing in the package imports this file.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import source
from Bio import bgzf

RECORD = "chr2R_piece"
LINE = 60
PER_PROTEIN = 5
SHIPPED = ("genome.fa.gz", "model.pt", "peaks.bed", "sequences.fa")


def write_genome(piece: bytes, path: Path) -> None:
    """One soft-masked record, bgzip-compressed so that readers can seek in it."""
    lines = [piece[first : first + LINE] for first in range(0, len(piece), LINE)]
    with bgzf.BgzfWriter(str(path), "wb", compresslevel=9) as handle:
        handle.write(b">" + RECORD.encode() + b"\n" + b"\n".join(lines) + b"\n")


def peaks_in_piece(peaks: list[np.ndarray]) -> list[tuple[int, int, str, int]]:
    """Start, end, name, score in the piece's coordinates, sorted by start.

    Only peaks whose window lies wholly in the piece. Names count from 1 along the piece for each
    protein; the score is 1000 when both cell lines have the peak, else 500.
    """
    first, last = source.PIECE
    rows = []
    for name, table in zip(source.FILE_NAMES, peaks, strict=True):
        number = 0
        for start, end, cell_lines in table.tolist():
            left = (start + end) // 2 - source.LENGTH // 2
            if start >= first and end <= last and first <= left <= last - source.LENGTH:
                number += 1
                score = 500 * cell_lines
                rows.append((start - first, end - first, f"{name}_{number}", score))
    return sorted(rows)


def write_sequences(rows: list[tuple[int, int, str, int]], piece: bytes, path: Path) -> None:
    """The windows of the first peaks of each protein that both cell lines have, 500 bp each."""
    with path.open("w", newline="\n") as handle:
        for name in source.FILE_NAMES:
            both = [row for row in rows if row[2].startswith(name + "_") and row[3] == 1000]
            for start, end, peak, _ in both[:PER_PROTEIN]:
                left = (start + end) // 2 - source.LENGTH // 2
                window = piece[left : left + source.LENGTH].decode()
                handle.write(f">{peak} {RECORD}:{left}-{left + source.LENGTH}\n")
                for at in range(0, source.LENGTH, LINE):
                    handle.write(window[at : at + LINE] + "\n")


def write_sums(folder: Path) -> None:
    """SHA256SUMS, as ``sha256sum -c SHA256SUMS`` reads it."""
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in SHIPPED
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="folder with the chromosome and the peak files")
    parser.add_argument("-o", "--output", type=Path, default=here, help="folder to write into")
    parser.add_argument("--sums", action="store_true", help="also write SHA256SUMS there")
    options = parser.parse_args()

    piece = source.read_sequence(options.source)[slice(*source.PIECE)]
    rows = peaks_in_piece(source.read_peaks(options.source))
    write_genome(piece, options.output / "genome.fa.gz")
    with (options.output / "peaks.bed").open("w", newline="\n") as handle:
        for start, end, name, score in rows:
            handle.write(f"{RECORD}\t{start}\t{end}\t{name}\t{score}\t.\n")
    write_sequences(rows, piece, options.output / "sequences.fa")
    if options.sums:
        write_sums(options.output)
    print(f"{len(rows)} peaks; piece of {len(piece):,} bp")


if __name__ == "__main__":
    main()
