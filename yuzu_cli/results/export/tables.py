"""Results as a table of mutations and as plain numpy arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

import numpy as np

from yuzu_cli.alphabet import UNKNOWN
from yuzu_cli.errors import UsageError
from yuzu_cli.files import replacing
from yuzu_cli.results.derived import ACROSS
from yuzu_cli.results.export import Exported, ExportOptions
from yuzu_cli.results.export.files import NpzStream, check_space, open_text
from yuzu_cli.results.schema import REGIONS
from yuzu_cli.results.streaming import Source

_TABLE_SCORES = ("delta", "prediction", "centered", *ACROSS)


def tsv(source: Source, out: Path, options: ExportOptions) -> Exported:
    """One line per mutation: chrom, 0-based position, ref, alt, name, strand, score per target.

    Position and letters are those of the forward strand. Unknown letters have no line. Gzip when
    the name ends in .gz.
    """
    statistic = options.score or (source.saved[0] if set(source.saved) <= set(ACROSS) else "delta")
    if statistic not in _TABLE_SCORES:
        what = f"a line per mutation cannot hold {statistic}, which is none of a mutation"
        raise UsageError("--score", what, f"one of {', '.join(_TABLE_SCORES)}")
    source.need(statistic)
    targets = source.choose(options.targets)
    names = [statistic] if statistic in ACROSS else [_field(source.targets[i]) for i in targets]
    mutations = (len(source.alphabet) - 1) * source.sizes["M"] * source.n_regions
    packed = out.suffix == ".gz"
    check_space(out, mutations * (1 if packed else 4 * len(names) + 12))
    with replacing([out], options.force) as (path,), open_text(path, packed) as file:
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
    minus = source.regions.minus[part]
    if minus.any():
        scores = source.forward(scores, part, letters=2)
        codes = np.where(minus[:, None], source.complement[codes[:, ::-1]], codes)
    first, _ = source.covered(part)
    letters, where = np.array(list(source.alphabet)), source.regions
    line = "%s\t%d\t%s\t%s\t%s\t%s" + "\t%.7g" * scores.shape[1] + "\n"
    for row, at in enumerate(range(part.start, part.stop)):
        known = codes[row][:, None] != UNKNOWN
        others = codes[row][:, None] != np.arange(len(letters))
        position, letter = np.nonzero(known & others)
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
    targets = source.choose(options.targets)
    where = source.regions
    check_space(out, source.n_regions * source.length)
    every = [slice(rows.start, rows.stop) for rows in source.batches(len(targets))]
    with replacing([out], options.force) as (path,), NpzStream(path) as file:
        file.add_whole("attributes", np.array(json.dumps(source.attributes)))
        file.add_whole("targets", np.array([source.targets[i] for i in targets], dtype="U"))
        for name in REGIONS:
            column = getattr(where, name)
            file.add_whole(f"regions/{name}", column.astype("U") if column.dtype == "O" else column)
        shape = (source.n_regions, source.length)
        file.add("sequences", shape, np.dtype(np.uint8), (source.sequences(s) for s in every))
        reference = (source.reference(s, targets) for s in every)
        file.add("reference", (source.n_regions, len(targets)), np.dtype(np.float32), reference)
        for name in source.saved:
            saved = source.file[f"scores/{name}"]
            rest = saved.shape[1:] if name in ACROSS else (len(targets), *saved.shape[2:])
            pieces = (source.values(name, s, targets) for s in every)
            file.add(f"scores/{name}", (source.n_regions, *rest), saved.dtype, pieces)
    return Exported((out,), source.n_regions)
