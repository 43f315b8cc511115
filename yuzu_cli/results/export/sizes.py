"""Where the sizes of chromosomes come from: a table, a genome, or the run."""

from __future__ import annotations

from pathlib import Path

from yuzu_cli.errors import InputError
from yuzu_cli.inputs.genome import Genome
from yuzu_cli.results.export import ExportOptions
from yuzu_cli.results.streaming import Source


def chromosome_sizes(source: Source, options: ExportOptions) -> dict[str, int] | None:
    """Length of each chromosome by name; None when nobody said.

    From `--chrom-sizes`, `--genome`, the genome named in the run's own config if it is still there,
    or for FASTA input the records themselves.

    Raises
    ------
    InputError
        When the file cannot be read as sizes, or lacks a chromosome of the result.
    """
    sizes = _sizes(source, options)
    missing = sorted(set(source.regions.chrom) - set(sizes or ()))
    if sizes is not None and missing:
        what = f"chromosome {missing[0]} of the result is not among the {len(sizes)} of the genome"
        raise InputError(str(source.path), what, "is this the genome of the run?")
    return sizes


def _sizes(source: Source, options: ExportOptions) -> dict[str, int] | None:
    if options.chrom_sizes is not None:
        return _read_sizes(options.chrom_sizes)
    inputs = source.config.get("input") or {}
    genome = options.genome
    if genome is None and inputs.get("genome") and Path(inputs["genome"]).exists():
        genome = Path(inputs["genome"])
    if genome is not None:
        return _read_sizes(genome) if genome.suffix == ".fai" else _genome_sizes(genome, source)
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


def _genome_sizes(path: Path, source: Source) -> dict[str, int]:
    """By the genome's index, which is compared with the genome where the result has regions."""
    if not path.exists():
        return _read_sizes(path.with_name(f"{path.name}.fai"))
    genome = Genome(str(path))
    try:
        for chrom in sorted(set(source.regions.chrom) & set(genome.sizes)):
            genome.fetch(chrom, 0, min(1, genome.sizes[chrom]))
        return dict(genome.sizes)
    finally:
        genome.close()
