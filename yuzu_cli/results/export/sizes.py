"""Where the sizes of chromosomes come from: a table, a genome's index, the genome, or the run.

Reads only; makes no index beside the user's genome.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from yuzu_cli.errors import InputError
from yuzu_cli.results.export import ExportOptions
from yuzu_cli.results.streaming import Source


def chromosome_sizes(source: Source, options: ExportOptions) -> dict[str, int] | None:
    """Length of each chromosome by name; None when nobody said.

    From `--chrom-sizes`, `--genome`, the genome named in the run's own config if it is still there,
    or for FASTA input the records themselves.

    Raises
    ------
    InputError
        When the file cannot be read as sizes.
    """
    if options.chrom_sizes is not None:
        return _read_sizes(options.chrom_sizes)
    if options.genome is not None:
        return _genome_sizes(options.genome)
    inputs = source.config.get("input") or {}
    genome = inputs.get("genome")
    if genome and Path(genome).exists():
        return _genome_sizes(Path(genome))
    if inputs.get("fasta"):
        return {str(name): source.length for name in source.regions.chrom}
    return None


def _read_sizes(path: Path) -> dict[str, int]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error)) from error
    sizes = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) < 2 or not fields[1].strip().isdecimal():
            raise InputError(f"{path}:{number}", "not a name and a size with a tab between")
        sizes[fields[0]] = int(fields[1])
    return sizes


def _genome_sizes(path: Path) -> dict[str, int]:
    if path.suffix == ".fai":
        return _read_sizes(path)
    index = path.with_name(path.name + ".fai")
    if index.exists():
        return _read_sizes(index)
    if not path.exists():
        raise InputError(str(path), "no such file")
    return _count_letters(path)


def _count_letters(path: Path) -> dict[str, int]:
    """Sizes by reading the FASTA once; nothing is written beside the user's genome."""
    sizes: dict[str, int] = {}
    name = None
    packed = path.suffix in (".gz", ".bgz")
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        for line in file:
            if line.startswith(b">"):
                name = (line[1:].split() or [b""])[0].decode()
                sizes[name] = 0
            elif name is not None:
                sizes[name] += len(line.strip())
    if not sizes:
        raise InputError(str(path), "no FASTA record in it")
    return sizes
