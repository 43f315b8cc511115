"""What is measured: model, sequences, precision and device, and the true effects of some mutants.

A case is made ready as a run is, by the engine; an architecture and random sequences are written
into files first. The truth is naive mutagenesis in double precision.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from yuzu_cli.alphabet import parse_alphabet
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.backends.passes import row_cost
from yuzu_cli.bench.papers import zoo
from yuzu_cli.engine.draw import sample
from yuzu_cli.engine.setup import Setup, first_codes, load_models, prepared
from yuzu_cli.engine.verify import InDouble
from yuzu_cli.errors import ModelError
from yuzu_cli.model import Model

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig

TRUE_SEQUENCES = 4
TRUE_LETTERS = 8_000
TRUE_VALUES = 3_000_000
TRUE_WORK = 5e11
"""At most so many sequences, letters of them, values (mutants times targets) and multiply-adds of
mutants are compared; 16 mutants at least.
"""

DELTA_BYTES = 256 << 20
"""Where the deltas of the sequences in work are more than this, the l2 score is taken instead."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure."""

    model: str  # an architecture of the zoo, or a file
    length: int
    sequences: int = 1
    batch: int | None = None  # sequences given to a backend at a time; None: as memory allows
    precision: str = "float32"
    device: str = "cpu"
    width: float = 1.0  # factor on the channels of an architecture
    seed: int = 0  # of the weights of an architecture, and of the sequences
    score: str = "auto"  # what backends return: delta, l2, or auto: deltas unless too large
    config: dict[str, Any] | None = None  # the rest of a user's config as plain values

    @property
    def name(self) -> str:
        """The model, for tables."""
        return Path(self.model).name if self.is_file else self.model

    @property
    def is_file(self) -> bool:
        """Whether the model is a file and not an architecture."""
        return self.model.endswith((".pt", ".pt2", ".pth")) or "/" in self.model

    @property
    def key(self) -> str:
        """All of it, to tell whether two cases are the same."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def label(self) -> str:
        """What tells it from others, for pages and messages."""
        parts = [self.name, f"{self.length:,} letters"]
        if self.batch:
            parts.append(f"{self.batch} at a time")
        elif self.sequences > 1:
            parts.append(f"{self.sequences:,} sequences")
        parts += [] if self.width == 1.0 else [f"{self.width:g} of the channels"]
        parts += [] if self.precision == "float32" else [self.precision]
        return ", ".join(parts + ([] if self.device == "cpu" else [self.device]))


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """True effects of E mutants of the first S sequences."""

    codes: torch.Tensor  # uint8 (S, L)
    index: torch.Tensor  # int64 (E,), flat as in `Block`, over `codes` and the mutated positions
    sequence: np.ndarray  # int64 (E,): the same, taken apart
    position: np.ndarray  # int64 (E,), in the window
    letter: np.ndarray  # int64 (E,)
    delta: np.ndarray  # float64 (E, T)
    double: bool  # a model that does not run in double precision is its own truth


@dataclass(slots=True, eq=False)
class Subject:
    """A case made ready."""

    case: Case
    model: Model
    module: nn.Module | None  # the network as plain Python, for methods that need that
    codes: torch.Tensor  # uint8 (N, L)
    positions: np.ndarray  # int64 (M,)
    settings: Settings
    batch: int  # sequences at a time
    score: str  # what methods return: `delta`, or `l2` where deltas would be too large
    truth: Truth

    @property
    def mutants(self) -> int:
        """Mutants of one sequence."""
        return len(self.positions) * (self.model.alphabet_size - 1)

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.settings.device


@contextlib.contextmanager
def ready(case: Case) -> Iterator[Subject]:
    """Load the model, draw the sequences, compute the truth; within it the precision is in force.

    Raises
    ------
    YuzuError
        There is no such model or device, or the model cannot take such sequences.
    """
    with tempfile.TemporaryDirectory() as folder, prepared(_config(case, Path(folder))) as setup:
        model, settings, module = setup.models[0], setup.settings, None
        if not case.is_file:
            module = zoo.build(case.model, case.length, case.seed, width=case.width)
        codes = torch.as_tensor(first_codes(setup, case.sequences)).to(settings.device)
        fits = settings.memory // (4 * max(1, row_cost(model, settings).bytes))
        batch = max(1, min(case.batch or case.sequences, case.sequences, fits, 1024))
        deltas = 4 * batch * len(setup.positions) * model.alphabet_size * model.n_targets
        score = case.score
        if score == "auto":
            score = "delta" if deltas <= DELTA_BYTES else "l2"
        truth = find_truth(setup, codes)
        yield Subject(case, model, module, codes, setup.positions, settings, batch, score, truth)


def _config(case: Case, folder: Path) -> RunConfig:
    """What a run of the case would be given; what is no file yet is written into the folder."""
    from yuzu_cli.config import RunConfig

    config = RunConfig.model_validate_json(json.dumps(case.config or {}))
    model: dict[str, Any] = {"path": [case.model]}
    if not case.is_file:
        path = zoo.save(
            case.model, folder / "model.pt", length=case.length, seed=case.seed, width=case.width
        )
        model = {"path": [str(path)], "layout": "NCL"}
    source: dict[str, Any] = {"length": case.length, "wrong_length": "crop"}
    if config.input.fasta is None and config.input.bed is None:
        alphabet = parse_alphabet(config.model.alphabet)
        draw = torch.Generator().manual_seed(case.seed + 1)
        shape = (case.sequences, case.length)
        codes = torch.randint(alphabet.size, shape, generator=draw, dtype=torch.uint8).numpy()
        source["fasta"] = str(folder / "sequences.fa")
        records = (f">{i}\n{alphabet.decode(row)}\n" for i, row in enumerate(codes))
        Path(source["fasta"]).write_text("".join(records))
    compute = {"device": case.device, "precision": case.precision, "seed": case.seed}
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=model),
            "input": config.input.model_copy(update=source),
            "compute": config.compute.model_copy(update=compute),
        }
    )


def find_truth(setup: Setup, codes: torch.Tensor) -> Truth:
    """Effects of evenly chosen mutants of the first sequences, in double precision if it can be."""
    model, settings, positions = setup.models[0], setup.settings, setup.positions
    size = model.alphabet_size
    codes = codes[: max(1, min(TRUE_SEQUENCES, TRUE_LETTERS // settings.length))]
    work = int(TRUE_WORK / max(1, row_cost(model, settings).macs))
    most = max(16, min(TRUE_VALUES // model.n_targets, work))
    index = sample(mutant_index(codes, positions, size), min(96 * len(codes), most))
    double = replace(settings, dtype=torch.float64)
    try:
        (exact,) = load_models(setup.config, size, double)
        naive: NaiveRunner = InDouble(exact, double)
        naive.reference(codes)
    except (ModelError, TypeError):
        naive = NaiveRunner(model, settings)
        naive.reference(codes)
    delta = naive.at(index, positions).double().cpu().numpy()
    flat = index.cpu().numpy()
    sequence, letter = flat // (size * len(positions)), flat % size
    position = positions[flat // size % len(positions)]
    return Truth(codes, index, sequence, position, letter, delta, isinstance(naive, InDouble))
