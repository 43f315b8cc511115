"""The tables and figures of the papers again: what they measured, and what is measured here.

A suite is a list of cases with methods. By default each is cut to what a laptop does in minutes; in
full it has the sizes of its paper, methods that take long being run on a part and scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from yuzu_cli.bench.papers.zoo import architecture
from yuzu_cli.bench.subject import Case
from yuzu_cli.engine.device import DTYPES, resolve_device
from yuzu_cli.errors import UsageError

ATTRIBUTIONS = ("gradient-x-input", "integrated-gradients", "deeplift")
MUTAGENESIS = ("naive-compiled", "tangermeme", "tangermeme-fast", "captum")
USUAL = ("naive", "windowed", "yuzu:interleaved", "taylor")
SIX = (
    *("onelayer", "toynet", "deepsea-padded", "basset"),
    *("factorized-basset-164", "bpnet3-plain"),
)
FASTISM = ("basset-scalar", "factorized-basset", "bpnet9-untrimmed")
TISM = ("aitac3-timed", "aitac8-timed")
ALPHAS = (0.9, 0.95, 1.0, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class Suite:
    """A table or figure.

    Attributes
    ----------
    name, title : str
    cases : function of (full) -> list of Case
    backends : tuple of str or None
        None for all there are.
    peers : tuple of str
        Other tools' methods that belong to it.
    chart : str
        A name in `charts.CHARTS`.
    paper : str
        Its paper, in a word; suites of one paper share a picture.
    theirs, ours, differs : str
        Model, length, batch and output of the paper; those here in full; and what differs.
    keep : bool
        Whether the compared values are needed for the chart.
    """

    name: str
    title: str
    cases: Callable[[bool], list[Case]]
    backends: tuple[str, ...] | None = None
    peers: tuple[str, ...] = ()
    chart: str = "bars"
    paper: str = ""
    theirs: str = ""
    ours: str = ""
    differs: str = ""
    keep: bool = False


def _grid(
    models: Sequence[str],
    lengths: Sequence[int],
    counts: Sequence[int],
    batches: Sequence[int | None] = (None,),
    width: float = 1.0,
    score: str = "auto",
) -> list[Case]:
    return [
        Case(model, length, count, batch, width=width, score=score)
        for model, length, count, batch in product(models, lengths, counts, batches)
    ]


def _one_layer(full: bool) -> list[Case]:
    """By filters, by width of the kernel and by length, the other two kept."""
    base, length = (64, 500) if full else (16, 200)
    sizes = [(n, 7, length) for n in ((64, 8, 128) if full else (16, 4, 32))]
    sizes += [(base, kernel, length) for kernel in ((1, 3, 21) if full else (1, 3))]
    sizes += [(base, 7, n) for n in ((250, 1000, 2000) if full else (100,))]
    return [Case(f"two-layers-{n}x{k}", length, score="l2") for n, k, length in sizes]


def _six(full: bool) -> list[Case]:
    if full:
        return _grid(SIX, (1000,), (4096,), (1, 16), score="l2")
    return _grid(SIX, (200,), (4,), (1, 4), 0.25, "l2")


def _alphas(full: bool) -> list[Case]:
    return _grid(SIX, (1000 if full else 200,), (1,), width=1.0 if full else 0.25, score="l2")


def _fastism(full: bool) -> list[Case]:
    if full:
        return _grid(FASTISM, (1000, 2000), (64,))
    return _grid(FASTISM, (300,), (2,), width=0.25)


def _tism1(full: bool) -> list[Case]:
    return _grid(TISM, (1000,), (10, 100)) if full else _grid(TISM, (250,), (1, 4), width=0.25)


def _tism2(full: bool) -> list[Case]:
    if full:
        return _grid(TISM, (500, 1000, 2000, 5000, 10000, 20000), (1,))
    return _grid(TISM, (250, 500), (1,), width=0.25)


def _tism_fig1(full: bool) -> list[Case]:
    models = ("aitac3", "aitac8", "aitac-residual")
    return _grid(models, (251,), (100 if full else 2,), width=1.0 if full else 0.25)


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "yuzu-fig2",
            "Yuzu, figure 2A to C: one convolution, by its sizes",
            _one_layer,
            backends=("naive", "windowed", "yuzu:interleaved!", "yuzu:gaussian!"),
            chart="sizes",
            paper="Yuzu",
            theirs="one convolution; filters, width of the kernel (from 1) and length varied; GPU",
            ours="a first convolution of width 7 and the one that varies, summed over positions; "
            "64 filters of 7 at 500 letters; one sequence; every way runs both",
            differs="a CPU; figure 2D is not repeated",
        ),
        Suite(
            "yuzu-fig3a",
            "Yuzu, figure 3A: six models, several sequences at a time",
            _six,
            backends=("naive", "windowed", "yuzu:interleaved", "yuzu:gaussian"),
            peers=("yuzu-ism", "fastism"),
            paper="Yuzu",
            theirs="OneLayer, ToyNet, DeepSEA (padded, one dense layer), Basset, Factorized Basset "
            "(164 outputs), BPNet (no skips); 1,000 letters; 4,096 sequences by batch; l2; GPU",
            ours="the same six, 1,000 letters, 4,096 sequences, 1 and 16 at a time, l2",
            differs="a CPU; methods run as many of the sequences as there is time for; BPNet has "
            "the three dilated layers of the published code, whose Factorized Basset has 1 output",
        ),
        Suite(
            "yuzu-fig3bc",
            "Yuzu, figure 3B and C: error against alpha",
            _alphas,
            backends=("naive", *(f"yuzu:gaussian@{alpha:g}" for alpha in ALPHAS)),
            chart="alpha",
            paper="Yuzu",
            theirs="the six models, 1,000 letters; gaussian sensing matrices, alpha from below 1",
            ours="the same; alpha from 0.9 to 2",
            differs="one sequence of random letters; weights are random",
        ),
        Suite(
            "fastism-table1",
            "fastISM, table 1: exact mutagenesis beside gradient methods",
            _fastism,
            backends=USUAL,
            peers=("fastism", *MUTAGENESIS, *ATTRIBUTIONS),
            paper="fastISM",
            theirs="Basset and Factorized Basset with one output; BPNet with kernels of 25, "
            "dilations 1 to 256, untrimmed, every output of the profile explained; 1,000 and 2,000 "
            "letters; the best batch of 64 to 4,096; DeepLIFT with ten shuffles; one P100",
            ours="the same models and lengths, 64 sequences, every output explained by itself, ten "
            "shuffles",
            differs="a CPU; fastISM at the best batch of 1 to 64, on some positions; BPNet's total "
            "count is left out",
        ),
        Suite(
            "tism-table1",
            "TISM, table 1: number of sequences",
            _tism1,
            backends=USUAL,
            peers=("yuzu-ism", "fastism", "tangermeme", "tangermeme-fast"),
            paper="TISM",
            theirs="AI-TAC with 3 and with 8 convolutions, one output, pools of 5, 6, 6 and 2, 3, "
            "3, 3, 3; 1,000 letters; 10, 50 and 100 sequences; GPU",
            ours="the same, 10 and 100 sequences",
            differs="a CPU",
        ),
        Suite(
            "tism-table2",
            "TISM, table 2: length of the sequence",
            _tism2,
            backends=USUAL,
            peers=("yuzu-ism", "fastism", "tangermeme", "tangermeme-fast"),
            paper="TISM",
            theirs="the same two models, pools growing with the length to 20,000 letters; 10 "
            "sequences; GPU",
            ours="the same models, 500 to 20,000 letters, one sequence",
            differs="a CPU; pools beyond 2,000 letters are chosen here, to leave as many positions",
        ),
        Suite(
            "tism-fig1a",
            "TISM, figure 1A: concordance of the first-order estimate",
            _tism_fig1,
            backends=USUAL,
            chart="concordance",
            paper="TISM",
            theirs="trained AI-TAC, 251 letters, thousands of peaks, 81 outputs",
            ours="AI-TAC with random weights on 100 random sequences; the example's trained model "
            "on its peaks",
            differs="only the example's model is trained, and it is another one",
            keep=True,
        ),
    )
}


def get_suites(name: str) -> list[Suite]:
    """The suite of that name, or `all` of them.

    Raises
    ------
    UsageError
        There is none.
    """
    if name == "all":
        return list(SUITES.values())
    if name not in SUITES:
        raise UsageError("--suite", f"no suite {name!r}", "one of all, " + ", ".join(SUITES))
    return [SUITES[name]]


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
        cases.append(
            Case(model, 500, 8 if full else 2, device=device, config={"input": {"fasta": fasta}})
        )
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
    config: dict[str, object] | None = None


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
                sizes = (model, length, count, batch, precision, place, grid.width, grid.seed)
                cases.append(Case(*sizes, score=grid.score, config=grid.config))
    return Suite("bench", "The methods side by side", lambda full: cases)


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
    try:
        return architecture(model).length
    except UsageError as error:
        raise UsageError("--arch", f"no architecture {model!r}", error.hint) from None
