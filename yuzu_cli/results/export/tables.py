"""Results as a table of mutations and as plain numpy arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from yuzu_cli.errors import UsageError
from yuzu_cli.files import open_text, replacing
from yuzu_cli.results.derived import ACROSS, mutations
from yuzu_cli.results.export import Exported, ExportOptions
from yuzu_cli.results.export.files import write_npz
from yuzu_cli.results.schema import REGIONS
from yuzu_cli.results.streaming import Source

_TABLE_SCORES = ("delta", "prediction", "centered", *ACROSS)


def tsv(source: Source, out: Path, options: ExportOptions) -> Exported:
    """One line per mutation: chrom, 0-based position, ref, alt, name, strand, score per target.

    Position and letters are those of the forward strand. Unknown letters have no line. Bgzip when
    the name ends in .gz.
    """
    statistic = options.score or (source.saved[0] if set(source.saved) <= set(ACROSS) else "delta")
    if statistic not in _TABLE_SCORES:
        what = f"a line per mutation cannot hold {statistic}, which is none of a mutation"
        raise UsageError("--score", what, f"one of {', '.join(_TABLE_SCORES)}")
    source.need(statistic)
    targets = source.choose(options.targets)
    names = [statistic] if statistic in ACROSS else [_field(source.targets[i]) for i in targets]
    with replacing([out], options.force) as (path,), open_text(path, out) as file:
        head = ("chrom", "position_0based", "ref", "alt", "name", "strand", *names)
        file.write("\t".join(head) + "\n")
        for part in source.batches(len(targets)):
            _write_mutations(source, part, statistic, targets, file)
    return Exported((out,), source.n_regions)


def _field(text: str) -> str:
    return text.replace("\t", " ").replace("\n", " ")


def _write_mutations(
    source: Source, part: slice, statistic: str, targets: list[int], file: TextIO
) -> None:
    scores = source.values(statistic, part, targets)
    if statistic in ACROSS:
        scores = scores[:, None]
    codes = source.sequences(part)[:, source.mutate_start : source.mutate_end]
    scores = source.forward(scores, part, letters=2)
    minus = source.regions.minus[part]
    if minus.any():
        codes = np.where(minus[:, None], source.complement[codes[:, ::-1]], codes)
    first = source.first_bases(part)
    letters, where = np.array(list(source.alphabet)), source.regions
    line = "%s\t%d\t%s\t%s\t%s\t%s" + "\t%.7g" * scores.shape[1] + "\n"
    for row, at in enumerate(range(part.start, part.stop)):
        position, letter = mutations(codes[row], len(letters))
        fields = zip(
            (first[row] + position).tolist(),
            letters[codes[row][position]].tolist(),
            letters[letter].tolist(),
            scores[row][:, letter, position].T.tolist(),
            strict=True,
        )
        chrom, name, strand = where.chrom[at], _field(where.name[at]) or ".", where.strand[at]
        file.write(
            "".join(line % (chrom, p, ref, alt, name, strand, *s) for p, ref, alt, s in fields)
        )


def npz(source: Source, out: Path, options: ExportOptions) -> Exported:
    """Every dataset of the result under its own name; `attributes` holds the attributes as JSON."""
    targets, rows = source.choose(options.targets), source.n_regions
    arrays: dict[str, Iterable[np.ndarray]] = {
        "attributes": np.array(json.dumps(source.attributes)),
        "targets": np.array([source.targets[i] for i in targets], dtype="U"),
    }
    for name in REGIONS:
        column = getattr(source.regions, name)
        arrays[f"regions/{name}"] = column.astype("U") if column.dtype == "O" else column
    every = [*source.batches(len(targets))]
    arrays["sequences"] = map(source.sequences, every)
    arrays["reference"] = (source.reference(part, targets) for part in every)
    for name in source.saved:
        arrays[f"scores/{name}"] = _saved(source, name, every, targets)
    with replacing([out], options.force) as (path,):
        write_npz(path, rows, arrays)
    return Exported((out,), rows)


def _saved(
    source: Source, name: str, parts: list[slice], targets: list[int]
) -> Iterator[np.ndarray]:
    """One score, in the type it was saved in."""
    dtype = source.file[f"scores/{name}"].dtype
    return (source.values(name, part, targets).astype(dtype) for part in parts)
