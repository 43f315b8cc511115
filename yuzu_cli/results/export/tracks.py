"""Contributions of one target as a track along the genome: bigWig and bedGraph.

Windows lie in any order and overlap; a sweep along each chromosome needs memory for one window's
width only. Values of minus-strand windows are turned round to the forward strand.
"""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from yuzu_cli.errors import InputError, OutputError, UsageError
from yuzu_cli.files import open_text, replacing
from yuzu_cli.inputs.genome import Genome
from yuzu_cli.results.export import Exported, ExportOptions
from yuzu_cli.results.export.files import check_space
from yuzu_cli.results.export.sweep import sweep
from yuzu_cli.results.streaming import Source

Run = tuple[str, int, np.ndarray]

#: Bytes a base that the zoom levels of a bigWig, written at its end, may take; measured 1.4.
_SUMMARY_BYTES = 4


def bigwig(source: Source, out: Path, options: ExportOptions) -> Exported:
    """One value per base, float32, in a bigWig whose header holds the chromosomes' sizes."""
    try:
        import pyBigWig
    except ImportError as error:
        hint = "pip install 'yuzu-cli[export]', or --to bedgraph"
        raise UsageError("--to bigwig", "pyBigWig is not installed", hint) from error
    sizes = chromosome_sizes(source, options)
    if not sizes:
        hint = "give --genome or --chrom-sizes"
        if sizes is None:
            raise UsageError("--to bigwig", "the sizes of the chromosomes are needed", hint)
        what = "has no regions, and so no chromosome for the header of a bigWig"
        raise OutputError(str(source.path), what, hint)
    with replacing([out], options.force) as (path,):
        file = pyBigWig.open(str(path), "w")
        try:
            # Browsers look chromosomes up by bisection, so the header is sorted by name.
            file.addHeader(sorted(sizes.items()))
            bases = 0
            for chrom, start, values in runs(source, out, options, sizes):
                for at in range(0, len(values), 1 << 16):
                    piece = values[at : at + (1 << 16)].tolist()
                    file.addEntries(chrom, start + at, values=piece, span=1, step=1)
                bases += len(values)
            _reserve(path, _SUMMARY_BYTES * bases + (1 << 16))
        except BaseException as error:
            # pyBigWig crashes the process when it closes a file that it could not write.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(file))
            if isinstance(error, SystemError):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise
        file.close()
    return Exported((out,), source.n_regions)


def _reserve(path: Path, size: int) -> None:
    """Fail, while failing is safe, unless the disk has room for `size` bytes more."""
    if not hasattr(os, "posix_fallocate"):  # not on macOS
        check_space(path, size)
        return
    spare = path.with_name(f"{path.name}.room")
    fd = os.open(spare, os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
    finally:
        os.close(fd)
        os.unlink(spare)


def bedgraph(source: Source, out: Path, options: ExportOptions) -> Exported:
    """One line per base with a value, sorted by name and start; bgzip when the name ends in .gz."""
    sizes = chromosome_sizes(source, options)
    with replacing([out], options.force) as (path,), open_text(path, out) as file:
        for chrom, start, values in runs(source, out, options, sizes):
            lines = zip(range(start, start + len(values)), values.tolist(), strict=True)
            file.write("".join(f"{chrom}\t{p}\t{p + 1}\t{value:.7g}\n" for p, value in lines))
    return Exported((out,), source.n_regions)


def _check_records(source: Source) -> None:
    """Records of a FASTA are sequences of their own; under one name they would be averaged."""
    if not (source.config.get("input") or {}).get("fasta"):
        return
    names, counts = np.unique(source.regions.chrom.astype("U"), return_counts=True)
    if len(names) < source.n_regions:
        name, count = names[counts.argmax()], counts.max()
        what = f"{count} FASTA records are named {name}, and a track has one place for a name"
        hint = "give each record a name of its own, or run it apart"
        raise OutputError(str(source.path), what, hint)


def runs(
    source: Source, out: Path, options: ExportOptions, sizes: dict[str, int] | None
) -> Iterator[Run]:
    """Stretches of bases with a value, in order: chromosome, start, values float32 (W,).

    Contributions are first written, row by row and turned to the forward strand, to a scratch
    file beside the output: windows can then be taken in the order of the genome without unpacking
    a chunk of the result again for each.
    """
    (target,) = source.choose(options.targets, one=True)
    source.need("contribution")
    _check_records(source)
    width = source.mutate_end - source.mutate_start
    first = source.first_bases(slice(0, source.n_regions))
    chrom = source.regions.chrom
    middle = source.regions.start + source.regions.end
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out.parent) as scratch:
        for part in source.batches():
            values = source.values("contribution", part, [target])[:, 0]
            scratch.write(np.ascontiguousarray(source.forward(values, part)).tobytes())
        scratch.flush()
        if not source.n_regions:
            return
        stored = np.memmap(scratch, np.float32, "r", shape=(source.n_regions, width))
        names, number = np.unique(chrom.astype("U"), return_inverse=True)
        order = np.lexsort((middle, first, number))
        for index, name in enumerate(names.tolist()):
            rows = order[number[order] == index]
            windows = ((int(first[i]), stored[i], int(middle[i])) for i in rows.tolist())
            limit = sizes[name] if sizes else None
            for start, values in sweep(windows, options.overlap):
                start, values = _clip(start, values, limit)
                if len(values):
                    yield name, start, values


def _clip(start: int, values: np.ndarray, limit: int | None) -> tuple[int, np.ndarray]:
    skip = max(0, -start)
    stop = len(values) if limit is None else max(0, limit - start)
    return start + skip, values[skip:stop]


def chromosome_sizes(source: Source, options: ExportOptions) -> dict[str, int] | None:
    """Length of each chromosome by name; None when nobody said.

    From `--chrom-sizes`, `--genome`, the genome named in the run's own config if it is still there,
    or for FASTA input the records themselves.

    Raises
    ------
    InputError
        When the file cannot be read as sizes, or lacks a chromosome of the result.
    """
    inputs = source.config.get("input") or {}
    named = Path(inputs.get("genome") or "")
    genome = options.genome or (named if named.is_file() else None)
    if options.chrom_sizes is not None:
        sizes = _read_sizes(options.chrom_sizes)
    elif genome is not None:
        sizes = _genome_sizes(genome, source)
    elif inputs.get("fasta"):
        sizes = {str(name): source.length for name in source.regions.chrom}
    else:
        return None
    if missing := sorted(set(source.regions.chrom) - set(sizes)):
        what = f"chromosome {missing[0]} of the result is not among the {len(sizes)} of the genome"
        raise InputError(str(source.path), what, "is this the genome of the run?")
    return sizes


def _read_sizes(path: Path) -> dict[str, int]:
    """Of a table of names and sizes, as the index of a FASTA is one, too."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error)) from error
    sizes = {}
    for number, line in enumerate(lines, start=1):
        name, _, rest = line.partition("\t")
        size = rest.partition("\t")[0].strip()
        if size.isdecimal():
            sizes[name] = int(size)
        elif line.strip():
            raise InputError(f"{path}:{number}", "not a name and a size with a tab between")
    return sizes


def _genome_sizes(path: Path, source: Source) -> dict[str, int]:
    """By the genome's index, which is compared with the genome where the result has regions."""
    if path.suffix == ".fai" or not path.exists():
        return _read_sizes(path if path.suffix == ".fai" else path.with_name(f"{path.name}.fai"))
    with closing(Genome(str(path))) as genome:
        for chrom in sorted(set(source.regions.chrom) & set(genome.sizes)):
            genome.fetch(chrom, 0, min(1, genome.sizes[chrom]))
        return dict(genome.sizes)
