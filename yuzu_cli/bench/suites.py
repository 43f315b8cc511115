"""What is measured: the default comparison, and the tables and figures of the papers again.

A suite is a list of cases with methods, and the charts that go with it. By default each is cut to
what a laptop does in minutes; in full it has the size of its paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from yuzu_cli.bench.sensing_study import Line, layer_table
from yuzu_cli.bench.subject import Case
from yuzu_cli.bench.zoo import ZOO
from yuzu_cli.engine.device import DTYPES, resolve_device
from yuzu_cli.errors import UsageError

ATTRIBUTIONS = ("gradient-x-input", "integrated-gradients", "deeplift")
USUAL = ("naive", "windowed", "yuzu:interleaved", "taylor")
SIX = ("onelayer", "toynet", "deepsea", "basset", "factorized-basset", "bpnet4-plain")


@dataclass(frozen=True, slots=True)
class Suite:
    """A table or figure.

    Attributes
    ----------
    name, title, about : str
    cases : function of (full) -> list of Case
    backends : tuple of str or None
        None for all there are.
    peers : tuple of str
        Other tools' methods that belong to it.
    charts : tuple of str
        Names in `charts.CHARTS`.
    keep : bool
        Whether the compared values are needed for the charts.
    study : function of (full) -> lines, optional
        Measures what is no method on a case; the lines become a table and a chart.
    """

    name: str
    title: str
    about: str
    cases: Callable[[bool], list[Case]]
    backends: tuple[str, ...] | None = None
    peers: tuple[str, ...] = ()
    charts: tuple[str, ...] = ("speed",)
    keep: bool = False
    study: Callable[[bool], Iterable[Line]] | None = None


def _grid(
    models: Sequence[str],
    lengths: Sequence[int],
    counts: Sequence[int],
    width: float = 1.0,
    score: str = "auto",
) -> list[Case]:
    return [
        Case(model, length, count, width=width, score=score)
        for model in models
        for length in lengths
        for count in counts
    ]


def _fig2(full: bool) -> list[Case]:
    if full:
        return _grid(SIX, (1000,), (1, 4, 16, 64), score="l2")
    return _grid(SIX, (250,), (1, 4), 0.5, "l2")


def _one_convolution(full: bool) -> Iterable[Line]:
    """By filters, by width of the kernel and by length, the other two kept."""
    base, length = (64, 500) if full else (32, 250)
    filters, kernels = (8, 128), (3, 21)
    lengths = (250, 1000, 2000) if full else (125, 500)
    sizes = [(base, 7, length), *((n, 7, length) for n in filters)]
    sizes += [*((base, k, length) for k in kernels), *((base, 7, n) for n in lengths)]
    return layer_table(sizes, 15, ("interleaved", "gaussian"))


def _fig3(full: bool) -> list[Case]:
    return _grid(SIX, (1000,), (1,)) if full else _grid(SIX, (200,), (1,), 0.25, "l2")


def _fastism(full: bool) -> list[Case]:
    models = ("basset", "factorized-basset")
    if not full:
        return _grid((*models, "bpnet9"), (400,), (2,))
    return _grid((*models, "bpnet9"), (1000, 2000), (10,))


def _tism1(full: bool) -> list[Case]:
    counts = (1, 10, 100, 1000) if full else (1, 8)
    return _grid(("aitac3", "aitac8"), (251,), counts, 1.0 if full else 0.5)


def _tism2(full: bool) -> list[Case]:
    lengths = (251, 500, 1000, 2000) if full else (251, 502)
    return _grid(("aitac3", "aitac8"), lengths, (10 if full else 1,), 1.0 if full else 0.5)


def _tism_fig2(full: bool) -> list[Case]:
    models = ("aitac3", "aitac8", "aitac-residual")
    return _grid(models, (251,), (1000 if full else 4,))


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "yuzu-fig2",
            "Yuzu, figure 2: six models, several sequences at once",
            "After Schreiber et al., Bioinformatics 38(14), 2022: time of a sequence against the "
            "number of sequences. The l2 score, as there. Random weights, random sequences. Below: "
            "one convolution alone, in seconds, by filters, width of the kernel "
            "and length; the time of probes in its three parts.",
            _fig2,
            backends=(
                *("naive", "windowed", "yuzu:interleaved", "yuzu:orthogonal", "yuzu:gaussian"),
            ),
            peers=("yuzu-ism",),
            charts=("speed", "counts", "layers"),
            study=_one_convolution,
        ),
        Suite(
            "yuzu-fig3",
            "Yuzu, figure 3: error against alpha",
            "After Schreiber et al., Bioinformatics 38(14), 2022: sensing matrices of independent "
            "Gaussian columns with alpha times as many probes as there are mutants at a position. "
            "Random weights, random sequences.",
            _fig3,
            backends=(
                "naive",
                *(f"yuzu:gaussian@{alpha:g}" for alpha in (1.0, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0)),
            ),
            charts=("alpha",),
        ),
        Suite(
            "fastism-table1",
            "fastISM, table 1: exact mutagenesis beside gradient methods",
            "After Nair et al., Bioinformatics 38, 2022. Gradient methods give another quantity; "
            "only their time is shown. Random weights, random sequences.",
            _fastism,
            backends=USUAL,
            peers=("fastism", "tangermeme", "captum", *ATTRIBUTIONS),
        ),
        Suite(
            "tism-table1",
            "TISM, table 1: number of sequences",
            "After Sasse et al., iScience 27, 2024: AI-TAC with 3 and with 8 convolutions. Random "
            "weights, random sequences.",
            _tism1,
            backends=USUAL,
            peers=("yuzu-ism", "fastism"),
            charts=("speed", "counts"),
        ),
        Suite(
            "tism-table2",
            "TISM, table 2: length of the sequence",
            "After Sasse et al., iScience 27, 2024: AI-TAC with 3 and with 8 convolutions. Random "
            "weights, random sequences.",
            _tism2,
            backends=USUAL,
            peers=("yuzu-ism", "fastism"),
            charts=("speed", "lengths"),
        ),
        Suite(
            "tism-fig2",
            "TISM, figure 2: concordance of the first-order estimate",
            "After Sasse et al., iScience 27, 2024: correlation of the estimate from gradients "
            "with true effects, by sequence and target. The example's model is trained; other "
            "weights and their sequences are random.",
            _tism_fig2,
            backends=("naive", "taylor"),
            charts=("concordance",),
            keep=True,
        ),
    )
}


def get_suite(name: str) -> Suite:
    """The suite of that name.

    Raises
    ------
    UsageError
        There is none.
    """
    if name not in SUITES:
        raise UsageError("--suite", f"no suite {name!r}", "one of all, " + ", ".join(SUITES))
    return SUITES[name]


def cases_of(suite: Suite, full: bool, device: str, example: tuple[str, str] | None) -> list[Case]:
    """The cases of a suite on a device.

    Parameters
    ----------
    suite : Suite
    full : bool
    device : str
    example : (model, fasta) or None
        A trained model with sequences, for suites that ask for one.
    """
    cases = [replace(case, device=device) for case in suite.cases(full)]
    if suite.keep and example:
        model, fasta = example
        cases.append(Case(model, 500, 8 if full else 4, device=device, fasta=fasta))
    return cases


@dataclass(frozen=True, slots=True)
class Grid:
    """Cases of one's own: every combination of these."""

    models: Sequence[str]
    lengths: Sequence[int]
    counts: Sequence[int] = (1,)
    batches: Sequence[int | None] = (None,)
    precisions: Sequence[str] = ("float32",)
    devices: Sequence[str] = ("auto",)
    width: float = 1.0
    seed: int = 0
    score: str = "auto"
    fasta: str | None = None
    config: str = ""


def custom(grid: Grid) -> Suite:
    """A suite of cases of one's own.

    Raises
    ------
    UsageError
        No model is given, a file's length is missing, or there is no such precision or device.
    """
    if not grid.models:
        raise UsageError("yuzu bench", "no model", "give --model or --arch")
    for name in grid.precisions:
        if name not in DTYPES:
            raise UsageError("--precision", f"no precision {name!r}", "one of " + ", ".join(DTYPES))
    cases = []
    for model in grid.models:
        own = _own_length(model, bool(grid.lengths))
        for length in grid.lengths or (own,):
            for rest in product(grid.counts, grid.batches, grid.precisions, grid.devices):
                count, batch, precision, device = rest
                kind = resolve_device(device)
                place = str(kind) if kind.type != "cuda" or ":" in device else "cuda"
                cases.append(
                    Case(
                        *(model, length, count, batch, precision, place, grid.width, grid.seed),
                        fasta=grid.fasta,
                        score=grid.score,
                        config=grid.config if Case(model, 1).is_file else "",
                    )
                )
    return Suite(
        "bench",
        "The methods side by side",
        "Sequences are random. Errors are those of some mutants against naive mutagenesis in "
        "double precision.",
        lambda full: cases,
        charts=("speed", "counts", "lengths"),
    )


def _own_length(model: str, given: bool) -> int:
    """The length that an architecture's paper gives it; of no use where one is `given`.

    Raises
    ------
    UsageError
        The model is a file, or no architecture.
    """
    if Case(model, 1).is_file and given:
        return 0
    if Case(model, 1).is_file:
        raise UsageError("--length", f"is needed for {model}", "like -l 1000")
    if model not in ZOO:
        raise UsageError("--arch", f"no architecture {model!r}", "one of " + ", ".join(ZOO))
    return ZOO[model].length
