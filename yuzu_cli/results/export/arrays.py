"""Results as arrays for TF-MoDISco, chrombpnet's tools and basenji's scripts.

All three want one-hot sequences in the order ACGT and scores of the whole window. Scores outside
the mutated range, and at unknown letters, are zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from yuzu_cli.errors import UsageError
from yuzu_cli.files import replacing
from yuzu_cli.inputs.stream import HAS_UNKNOWN, PADDED
from yuzu_cli.results.export import Exported, ExportOptions
from yuzu_cli.results.export.files import write_hdf5, write_npz
from yuzu_cli.results.streaming import Source

_HALF_MAX = float(np.finfo(np.float16).max)


def modisco(source: Source, out: Path, options: ExportOptions) -> Exported:
    """A folder with `ohe.npz` and `attr.npz` (N, 4, L) for `modisco motifs`, and `rows.tsv`."""
    target, kept = source.choose(options.targets, one=True), _Windows(source, options)
    names = [out / "ohe.npz", out / "attr.npz", out / "rows.tsv"]
    with replacing(names, options.force) as (ohe, attr, rows):
        write_npz(ohe, kept.rows, {"arr_0": map(kept.one_hot, source.batches())})
        scores = (kept.scores(part, target)[:, 0] for part in source.batches())
        write_npz(attr, kept.rows, {"arr_0": scores})
        _write_rows(source, kept.keep, rows)
    covered = source.mutate_end - source.mutate_start
    if covered < 400:
        kept.notes.append(f"modisco looks at 400 bp unless told otherwise: use `-w {covered}`")
    return Exported(tuple(names), kept.rows, tuple(kept.notes))


def chrombpnet(source: Source, out: Path, options: ExportOptions) -> Exported:
    """`raw/seq`, `shap/seq`, `projected_shap/seq` (N, 4, L) and a narrowPeak-like BED beside it.

    Rows run along the forward strand, for that is how chrombpnet's tools place them: row i covers
    start + summit - L/2 to start + summit + L/2 of line i.
    """
    target, kept = source.choose(options.targets, one=True), _Windows(source, options, forward=True)
    padded = kept.keep & (source.regions.status & PADDED > 0)
    kept.keep &= ~padded
    length, half, bed = source.length - source.length % 2, _Half(), out.with_suffix(".bed")

    def arrays(part: slice) -> dict[str, np.ndarray]:
        one_hot = kept.one_hot(part)[..., :length]
        scores = half(kept.scores(part, target)[:, 0, :, :length])
        return {"raw/seq": one_hot, "shap/seq": scores, "projected_shap/seq": scores * one_hot}

    with replacing([bed, out], options.force) as (bed_path, h5_path):
        write_hdf5(h5_path, kept.rows, map(arrays, source.batches()))
        _write_peaks(source, kept.keep, bed_path)
    notes = kept.notes + half.notes()
    if padded.any():
        notes.append(f"{padded.sum()} rows reach past a chromosome's end and are left out")
    if length != source.length:
        notes.append("windows have an odd length: the last base of each is left out")
    return Exported((out, bed), kept.rows, tuple(notes))


def basenji(source: Source, out: Path, options: ExportOptions) -> Exported:
    """`seqs` (N, L, 4), `sum` (N, L, 4, T), `chr`, `start`, `end`, `strand`.

    Each row runs in its own strand. `sum` is centred over the four bases, as basenji writes it;
    with another `score` the dataset is named by that.
    """
    statistic = options.score or "centered"
    if statistic not in ("centered", "delta", "prediction"):
        what = f"basenji cannot hold {statistic}: its files have a value for each target"
        raise UsageError("--score", what, "centered or delta")
    kept = _Windows(source, options, statistic, drop=True)
    targets, half, where = source.choose(options.targets), _Half(), source.regions
    path = out if out.suffix in (".h5", ".hdf5") else out / "scores.h5"

    def arrays(part: slice) -> dict[str, np.ndarray]:
        there = kept.one_hot(part).astype(bool)
        # Scripts index scores by the one-hot: a column without a true would shift the rest.
        there[:, 0] |= ~there.any(axis=1)
        scores = half(kept.scores(part, targets)).transpose(0, 3, 2, 1)
        name = "sum" if statistic == "centered" else statistic
        return {"seqs": there.transpose(0, 2, 1), name: scores}

    columns = {
        "chr": where.chrom[kept.keep].astype("S"),
        "start": where.start[kept.keep],
        "end": where.end[kept.keep],
        "strand": np.where(where.minus[kept.keep], b"-", b"+"),
        "input_index": where.input_index[kept.keep],
        "target_ids": np.array([source.targets[i].encode() for i in targets]),
    }
    with replacing([path], options.force) as (temporary,):
        write_hdf5(temporary, kept.rows, map(arrays, source.batches(len(targets))), columns)
    return Exported((path,), kept.rows, tuple(kept.notes + half.notes()))


class _Windows:
    """Whole windows of the rows that are written, letters in the order ACGT.

    Rows with unknown letters are left out where that is asked for, or with `drop` unless they are
    asked for. With `forward` those of the minus strand are turned round.

    Raises
    ------
    UsageError
        For another alphabet than that of DNA or RNA.
    OutputError
        When the score can be made from none that was saved.
    """

    def __init__(
        self,
        source: Source,
        options: ExportOptions,
        statistic: str = "centered",
        *,
        forward: bool = False,
        drop: bool = False,
    ) -> None:
        letters = source.alphabet.replace("U", "T")
        if sorted(letters) != list("ACGT"):
            what = f"alphabet {source.alphabet} is not that of DNA or RNA"
            raise UsageError(str(source.path), what, "--to npz and --to tsv take any alphabet")
        source.need(statistic)
        self._source, self._statistic, self._forward = source, statistic, forward
        self._order = [letters.index(letter) for letter in "ACGT"]
        self.keep, self.notes = np.ones(source.n_regions, bool), []
        if options.unknown == "drop" or (options.unknown == "auto" and drop):
            self.keep = source.regions.status & HAS_UNKNOWN == 0
        if not self.keep.all():
            self.notes.append(f"{(~self.keep).sum()} rows with unknown letters are left out")
        if (source.mutate_start, source.mutate_end) != (0, source.length):
            covered = f"{source.mutate_start}:{source.mutate_end} of {source.length} positions"
            self.notes.append(f"scores cover {covered}; outside they are written as 0")

    @property
    def rows(self) -> int:
        """How many are written."""
        return int(self.keep.sum())

    def one_hot(self, part: slice) -> np.ndarray:
        """Of those of a batch that are written, int8 (B, 4, L); zero where a letter is unknown."""
        codes = self._source.sequences(part)[:, None, :]
        return self._laid(codes == np.arange(4, dtype=np.uint8)[:, None], part, 1).astype(np.int8)

    def scores(self, part: slice, targets: Sequence[int]) -> np.ndarray:
        """Likewise, float32 (B, T, 4, L); zero where nothing was mutated, too."""
        source = self._source
        values = source.values(self._statistic, part, targets)
        scores = np.zeros((*values.shape[:3], source.length), np.float32)
        scores[..., source.mutate_start : source.mutate_end] = np.nan_to_num(values, nan=0.0)
        return self._laid(scores, part, 2)

    def _laid(self, values: np.ndarray, part: slice, letters: int) -> np.ndarray:
        if self._forward:
            values = self._source.forward(values, part, letters)
        return np.take(values[self.keep[part]], self._order, letters)


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
