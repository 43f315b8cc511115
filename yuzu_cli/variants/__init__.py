"""Effects of the variants of a VCF on a model's outputs.

Streams records through genome, model and writer, a batch at a time; the parts are beside this file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from yuzu_cli.alphabet import parse_alphabet
from yuzu_cli.errors import InputError, UsageError
from yuzu_cli.files import replacing
from yuzu_cli.inputs.genome import Genome
from yuzu_cli.ready import input_files
from yuzu_cli.variants.alleles import EDIT, PASS, REASONS, Judge, Judged
from yuzu_cli.variants.records import Record, Vcf
from yuzu_cli.variants.write import kind_of, writer

if TYPE_CHECKING:
    import numpy as np

    from yuzu_cli.config import RunConfig
    from yuzu_cli.variants.score import Effects

logger = logging.getLogger(__name__)

BATCH = 256


@dataclass(slots=True)
class VariantSummary:
    """What became of the variants of a VCF.

    Attributes
    ----------
    path : Path
        The output.
    records : int
    methods : dict
        Alleles by method or reason; see `alleles.REASONS`.
    first : dict
        Line of the first allele with each.
    backend, device : str
    verified : int
        Alleles computed both as edits and as whole passes.
    max_abs_error : float
        The largest difference; NaN when none was.
    """

    path: Path
    records: int = 0
    methods: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    backend: str = ""
    device: str = ""
    verified: int = 0
    max_abs_error: float = float("nan")

    @property
    def scored(self) -> int:
        """Alleles with an effect."""
        return self.methods.get(EDIT, 0) + self.methods.get(PASS, 0)

    def count(self, one: Judged) -> None:
        """Add a record."""
        self.records += 1
        for method in one.methods:
            self.methods[method] = self.methods.get(method, 0) + 1
            self.first.setdefault(method, one.record.line)

    def describe(self) -> str:
        """For the end of a run: what was scored and how."""
        edits, passes = self.methods.get(EDIT, 0), self.methods.get(PASS, 0)
        text = (
            f"{self.path}: {self.scored} of {sum(self.methods.values())} alleles of {self.records} "
            f"records scored ({edits} as edits, {passes} by whole passes; {self.backend} on "
            f"{self.device})"
        )
        if self.verified:
            text += (
                f"\nchecked {self.verified} edits against whole passes: largest error "
                f"{self.max_abs_error:.2g}"
            )
        return text


def variants(
    config: RunConfig,
    vcf: str,
    out: str | Path,
    *,
    strand: str = "+",
    indels: bool = True,
    edge: str = "pad",
    progress: Callable[[int, int], None] | None = None,
) -> VariantSummary:
    """Score the variants of a VCF and write them with their effects.

    Parameters
    ----------
    config : RunConfig
        The model and how to compute; of its input the genome, the length and what to do about
        unknown letters. Windows are those of a BED line of the variant's first letter.
    vcf : str
        Plain or gzip, or ``-`` for standard input.
    out : path-like
        .vcf or .tsv, either with .gz after it.
    strand : str
        ``+`` or ``-``: the strand of the genome that the model reads.
    indels : bool
        Score insertions and deletions by whole passes; otherwise they are named and left out.
    edge : str
        Windows past a chromosome's end: ``pad`` with unknown letters, ``drop`` or ``error``.
    progress : function of (records done, records in all), optional

    Raises
    ------
    YuzuError
        Something in the arguments, the VCF, the genome or the model is at fault; or no REF at all
        is what the genome has.
    """
    out = Path(out)
    kind_of(out)
    _check(config, vcf, out)
    assert config.input.genome is not None
    assert config.input.length is not None
    alphabet = parse_alphabet(config.model.alphabet)
    summary = VariantSummary(out)
    with Vcf(vcf) as records, replacing([out], config.run.force) as (temporary,):
        from yuzu_cli.variants.score import opened

        genome = Genome(config.input.genome)
        try:
            with opened(config, alphabet, config.input.length) as effects:
                judge = Judge(
                    genome,
                    alphabet,
                    length=config.input.length,
                    flank=effects.flank,
                    label=records.label,
                    strand=strand,
                    indels=indels,
                    edge=edge,
                    unknown=config.input.unknown,
                )
                _stream(records, judge, effects, temporary, summary, progress)
            _check_found(summary, records, genome)
        finally:
            genome.close()
    return summary


def _check(config: RunConfig, vcf: str, out: Path) -> None:
    if not config.model.path:
        raise UsageError("model.path", "no model", "give -m MODEL or model.path")
    if config.input.genome is None:
        raise UsageError("input.genome", "no genome", "give -g GENOME")
    if config.input.length is None:
        raise UsageError("input.length", "the model's window length is needed", "give -l LENGTH")
    if out.resolve() in {Path(path).resolve() for path in (vcf, *input_files(config))}:
        raise UsageError("--output", f"{out} is an input of this run", "name another file")


def _stream(
    records: Vcf,
    judge: Judge,
    effects: Effects,
    temporary: Path,
    summary: VariantSummary,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Judge, score and write, a batch at a time."""
    from yuzu_cli.engine.device import describe_device

    summary.device = describe_device(effects.models[0].device)
    scored = _scored(records, judge, effects)
    # The first batch decides which backend is used, and the header names it.
    first = next(scored, None)
    header, facts = records.header, _facts(effects, judge)
    with writer(temporary, summary.path, header, effects.targets, facts) as lines:
        for batch in chain([first] if first else [], scored):
            for one, found in batch:
                lines.record(one, found)
                summary.count(one)
            if progress:
                progress(summary.records, records.n_records)
    summary.backend = effects.choice.name
    summary.verified = effects.measured.alleles
    summary.max_abs_error = effects.measured.max_abs_error


def _scored(
    records: Vcf, judge: Judge, effects: Effects
) -> Iterator[list[tuple[Judged, list[np.ndarray | None]]]]:
    for batch in _batches(records.records(), BATCH):
        judged = [judge.judge(record) for record in batch]
        yield list(zip(judged, effects.score(judged, judge.position), strict=True))


def _batches(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    while batch := list(islice(records, size)):
        yield batch


def _facts(effects: Effects, judge: Judge) -> str:
    from yuzu_cli import __version__

    hashes = ",".join(model.sha256 for model in effects.models)
    return (
        f'<Version="{__version__}",Backend="{effects.choice.name}",ModelSha256="{hashes}",'
        f'Length={effects.models[0].length},Strand="{judge.strand}">'
    )


def _check_found(summary: VariantSummary, records: Vcf, genome: Genome) -> None:
    """Say what was left out; refuse when the genome is plainly another."""
    total = sum(summary.methods.values())
    for reason in ("unknown_contig", "ref_mismatch"):
        if total and summary.methods.get(reason) == total:
            hint = "is it the genome of this VCF?"
            if reason == "unknown_contig":
                hint = genome.other_name(next(records.records()).chrom)
            raise InputError(records.label, f"none can be scored: {REASONS[reason]}", hint)
    for reason, words in REASONS.items():
        if count := summary.methods.get(reason):
            logger.warning(
                "%s: %d alleles without an effect (%s): %s; the first is at line %d",
                *(records.label, count, reason, words, summary.first[reason]),
            )
