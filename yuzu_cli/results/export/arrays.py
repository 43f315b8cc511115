"""Results as arrays for TF-MoDISco, chrombpnet's tools and basenji's scripts.

All three want one-hot sequences in the order ACGT and scores of the whole window. Scores outside
the mutated range, and at unknown letters, are zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from yuzu_cli.errors import UsageError
from yuzu_cli.files import replacing
from yuzu_cli.inputs.stream import HAS_UNKNOWN, PADDED
from yuzu_cli.results.export import Exported, ExportOptions
from yuzu_cli.results.export.files import NpzStream, check_space, new_hdf5
from yuzu_cli.results.streaming import Source

_HALF_MAX = float(np.finfo(np.float16).max)


def modisco(source: Source, out: Path, options: ExportOptions) -> Exported:
    """A folder with `ohe.npz` and `attr.npz` (N, 4, L) for `modisco motifs`, and `rows.tsv`."""
    keep, target = _kept(source, options), source.choose(options.targets, one=True)
    shape = (int(keep.sum()), 4, source.length)
    check_space(out, int(np.prod(shape)))
    names = [out / "ohe.npz", out / "attr.npz", out / "rows.tsv"]
    with replacing(names, options.force) as (ohe, attr, rows):
        with (
            NpzStream(ohe) as ohe_file,
            NpzStream(attr) as attr_file,
            ohe_file.array("arr_0", shape, np.dtype(np.int8)) as add_sequences,
            attr_file.array("arr_0", shape, np.dtype(np.float32)) as add_scores,
        ):
            for _, one_hot, scores in _windows(source, keep, target):
                add_sequences(one_hot)
                add_scores(scores[:, 0])
        _write_rows(source, keep, rows)
    notes = _notes(source, keep)
    covered = source.mutate_end - source.mutate_start
    if covered < 400:
        notes.append(f"modisco looks at 400 bp unless told otherwise: use `-w {covered}`")
    return Exported(tuple(names), shape[0], tuple(notes))


def chrombpnet(source: Source, out: Path, options: ExportOptions) -> Exported:
    """`raw/seq`, `shap/seq`, `projected_shap/seq` (N, 4, L) and a narrowPeak-like BED beside it.

    Rows run along the forward strand, for that is how chrombpnet's tools place them: row i covers
    start + summit - L/2 to start + summit + L/2 of line i.
    """
    asked, target = _kept(source, options), source.choose(options.targets, one=True)
    padded = asked & (source.regions.status & PADDED > 0)
    keep, length = asked & ~padded, source.length - source.length % 2
    shape = (int(keep.sum()), 4, length)
    check_space(out, int(np.prod(shape)))
    bed, half = out.with_suffix(".bed"), _Half()
    with replacing([bed, out], options.force) as (bed_path, h5_path):
        with new_hdf5(h5_path) as (file, check):
            raw = _dataset(file, "raw/seq", shape, np.int8)
            shap = _dataset(file, "shap/seq", shape, np.float16)
            projected = _dataset(file, "projected_shap/seq", shape, np.float16)
            for rows, one_hot, scores in _windows(source, keep, target, forward=True):
                one_hot, scores = one_hot[..., :length], half(scores[:, 0, :, :length])
                raw[rows], shap[rows], projected[rows] = one_hot, scores, scores * one_hot
                check()
        _write_peaks(source, keep, bed_path)
    notes = _notes(source, asked) + half.notes()
    if padded.any():
        notes.append(f"{padded.sum()} rows reach past a chromosome's end and are left out")
    if length != source.length:
        notes.append("windows have an odd length: the last base of each is left out")
    return Exported((out, bed), shape[0], tuple(notes))


def basenji(source: Source, out: Path, options: ExportOptions) -> Exported:
    """`seqs` (N, L, 4), `sum` (N, L, 4, T), `chr`, `start`, `end`, `strand`.

    Each row runs in its own strand. `sum` is centred over the four bases, as basenji writes it;
    with another `score` the dataset is named by that.
    """
    statistic = options.score or "centered"
    if statistic not in ("centered", "delta", "prediction"):
        what = f"basenji cannot hold {statistic}: its files have a value for each target"
        raise UsageError("--score", what, "centered or delta")
    keep = _kept(source, options, statistic, drop=True)
    targets = source.choose(options.targets)
    path = out if out.suffix in (".h5", ".hdf5") else out / "scores.h5"
    n, length, half = int(keep.sum()), source.length, _Half()
    check_space(path, n * length * (4 + len(targets)))
    with (
        replacing([path], options.force) as (temporary,),
        new_hdf5(temporary) as (file, check),
    ):
        name = "sum" if statistic == "centered" else statistic
        seqs = _dataset(file, "seqs", (n, length, 4), np.bool_)
        values = _dataset(file, name, (n, length, 4, len(targets)), np.float16)
        for rows, one_hot, scores in _windows(source, keep, targets, statistic):
            there = one_hot.astype(bool)
            # Scripts index scores by the one-hot: a column without a true would shift the rest.
            there[:, 0] |= ~there.any(axis=1)
            seqs[rows] = there.transpose(0, 2, 1)
            values[rows] = half(scores).transpose(0, 3, 2, 1)
            check()
        where = source.regions
        file["chr"] = where.chrom[keep].astype("S")
        file["start"], file["end"] = where.start[keep], where.end[keep]
        file["strand"] = np.where(where.minus[keep], b"-", b"+")
        file["input_index"] = where.input_index[keep]
        file["target_ids"] = np.array([source.targets[i].encode() for i in targets])
    return Exported((path,), n, tuple(_notes(source, keep) + half.notes()))


def _kept(
    source: Source, options: ExportOptions, statistic: str = "centered", *, drop: bool = False
) -> np.ndarray:
    """Which rows are written, bool (N,), by what is asked for those with unknown letters.

    Raises
    ------
    UsageError
        For another alphabet than that of DNA or RNA.
    OutputError
        When the score can be made from none that was saved.
    """
    if sorted(source.alphabet.replace("U", "T")) != list("ACGT"):
        what = f"alphabet {source.alphabet} is not that of DNA or RNA"
        raise UsageError(str(source.path), what, "--to npz and --to tsv take any alphabet")
    source.need(statistic)
    if options.unknown == "keep" or (options.unknown == "auto" and not drop):
        return np.ones(source.n_regions, bool)
    return source.regions.status & HAS_UNKNOWN == 0


def _windows(
    source: Source,
    keep: np.ndarray,
    targets: Sequence[int],
    statistic: str = "centered",
    *,
    forward: bool = False,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Whole windows of the rows to keep, batch by batch, letters in the order ACGT.

    With `forward` those of the minus strand are turned round.

    Yields
    ------
    (slice, ndarray, int8, (B, 4, L), ndarray, float32, (B, T, 4, L))
        Which of the rows they are, sequences, and scores; zero where a letter is unknown.
    """
    order, done = [source.alphabet.replace("U", "T").index(letter) for letter in "ACGT"], 0
    for part in source.batches(len(targets)):
        codes = source.sequences(part)[:, None, :]
        one_hot = (codes == np.arange(4, dtype=np.uint8)[:, None]).astype(np.int8)
        values = source.values(statistic, part, targets)
        scores = np.zeros((*values.shape[:3], source.length), np.float32)
        scores[..., source.mutate_start : source.mutate_end] = np.nan_to_num(values, nan=0.0)
        if forward:
            one_hot, scores = source.forward(one_hot, part, 1), source.forward(scores, part, 2)
        one_hot, scores = one_hot[keep[part]][:, order], scores[keep[part]][:, :, order]
        yield slice(done, done + len(one_hot)), one_hot, scores
        done += len(one_hot)


class _Half:
    """Conversion to float16 that remembers what float16 could not hold."""

    def __init__(self) -> None:
        self._largest = 0.0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        self._largest = max(self._largest, float(np.abs(values).max(initial=0.0)))
        return np.clip(values, -_HALF_MAX, _HALF_MAX).astype(np.float16)

    def notes(self) -> list[str]:
        if self._largest > _HALF_MAX:
            return [f"scores up to {self._largest:.3g} were cut to 65504, the largest float16"]
        if 0 < self._largest < 1e-3:
            return [f"the largest score is {self._largest:.2g}: in float16 small ones are coarse"]
        return []


def _dataset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: type) -> h5py.Dataset:
    """A gzip dataset in chunks of some rows, about 1 MiB."""
    if not shape[0]:
        return file.create_dataset(name, shape, dtype)
    row = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    rows = max(1, min(shape[0], (1 << 20) // max(1, row)))
    chunks = (rows, *shape[1:])
    return file.create_dataset(name, shape, dtype, chunks=chunks, compression="gzip", shuffle=True)


def _notes(source: Source, keep: np.ndarray) -> list[str]:
    notes = []
    if not keep.all():
        notes.append(f"{(~keep).sum()} rows with unknown letters are left out")
    if (source.mutate_start, source.mutate_end) != (0, source.length):
        notes.append(
            f"scores cover {source.mutate_start}:{source.mutate_end} of {source.length} positions; "
            "outside they are written as 0"
        )
    return notes


def _write_rows(source: Source, keep: np.ndarray, path: Path) -> None:
    names = ("input_index", "chrom", "start", "end", "name", "strand", "status")
    columns = [getattr(source.regions, name)[keep] for name in names]
    rows = zip(range(keep.sum()), *columns, strict=True)
    _write_lines(path, chain([("row", *names)], rows))


def _write_peaks(source: Source, keep: np.ndarray, path: Path) -> None:
    where, rest = source.regions, (0, ".", 0, -1, -1, source.length // 2)
    columns = (where.chrom[keep], where.start[keep], where.end[keep], where.name[keep])
    rows = zip(*columns, strict=True)
    _write_lines(path, ((*place, name or ".", *rest) for *place, name in rows))


def _write_lines(path: Path, lines: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines("\t".join(map(str, cells)) + "\n" for cells in lines)
