"""What is measured: model, sequences, precision and device, and the true effects of some mutants.

The truth is naive mutagenesis in double precision, written out here in a few lines so that it
shares no code with any backend. May not: know how anything else computes.
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
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.passes import one_hot, row_cost
from yuzu_cli.bench.papers import zoo
from yuzu_cli.engine.device import DTYPES, computing, resolve_device
from yuzu_cli.engine.limits import working_memory
from yuzu_cli.engine.setup import load_models, mutated_positions
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
    """One thing to measure.

    Attributes
    ----------
    model : str
        An architecture of the zoo, or a file.
    length : int
        Letters per sequence, L.
    sequences : int
        N.
    batch : int or None
        Sequences given to a backend at a time; None for as many as memory allows.
    precision, device : str
        As in the config.
    width : float
        Factor on the channels of an architecture.
    seed : int
        Of the weights of an architecture, and of the sequences.
    score : str
        What backends return: `delta`, `l2`, or `auto` for deltas unless they are too large.
    config : dict or None
        The rest of a user's config as plain values: layout, targets, sequences, mutated positions.
    """

    model: str
    length: int
    sequences: int = 1
    batch: int | None = None
    precision: str = "float32"
    device: str = "cpu"
    width: float = 1.0
    seed: int = 0
    score: str = "auto"
    config: dict[str, Any] | None = None

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
        """What tells it from others, for messages."""
        parts = [self.name, f"{self.length} letters"]
        if self.sequences != 1:
            parts.append(f"{self.sequences} sequences")
        if self.precision != "float32":
            parts.append(self.precision)
        return ", ".join(parts)


@dataclass(slots=True, eq=False)
class Subject:
    """A case made ready.

    Attributes
    ----------
    case : Case
    model : Model
        Loaded by the tool, in the precision of the case.
    module : nn.Module or None
        The same network as plain Python, for methods that need that; None for a file.
    codes : Tensor, uint8 (N, L)
    positions : ndarray, int64 (M,)
    settings : Settings
    batch : int
        Sequences at a time.
    score : str
        What methods return: `delta`, or `l2` where deltas would be too large.
    truth : Truth
    """

    case: Case
    model: Model
    module: nn.Module | None
    codes: torch.Tensor
    positions: np.ndarray
    settings: Settings
    batch: int
    score: str
    truth: Truth

    @property
    def mutants(self) -> int:
        """Mutants of one sequence."""
        return len(self.positions) * (self.model.alphabet_size - 1)

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.settings.device


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """True effects of some mutants.

    Attributes
    ----------
    codes : Tensor, uint8 (S, L)
        The first of the sequences.
    index : Tensor, int64 (E,)
        Flat indices as in `yuzu_cli.backends.base.Block`, over `codes` and the mutated positions.
    sequence, position, letter : ndarray, int64 (E,)
        The same, taken apart; the position is that in the window.
    delta : ndarray, float64 (E, T)
    double : bool
        Whether it was computed in double precision; a model that will not run so is its own truth.
    """

    codes: torch.Tensor
    index: torch.Tensor
    sequence: np.ndarray
    position: np.ndarray
    letter: np.ndarray
    delta: np.ndarray
    double: bool


@contextlib.contextmanager
def ready(case: Case) -> Iterator[Subject]:
    """Load the model, draw the sequences, compute the truth; within it the precision is in force.

    Raises
    ------
    YuzuError
        There is no such model or device, or the model cannot take such sequences.
    """
    device = resolve_device(case.device)
    with tempfile.TemporaryDirectory() as folder, computing(case.precision, device):
        path, module = case.model, None
        if not case.is_file:
            path = str(Path(folder) / "model.pt")
            zoo.save(case.model, path, length=case.length, seed=case.seed, width=case.width)
            module = zoo.build(case.model, case.length, case.seed, width=case.width)
        config = _config(case, path)
        size = parse_alphabet(config.model.alphabet).size
        memory, dtype = working_memory(device), DTYPES[case.precision]
        settings = Settings(case.length, device, dtype, memory=memory, seed=case.seed)
        (model,) = load_models(config, size, settings)
        config = _with(config, layout=model.layout)
        codes = _sequences(case, config, size).to(device)
        positions = mutated_positions(config.mutate, case.length)
        batch = _batch(case, model, settings)
        deltas = 4 * batch * len(positions) * size * model.n_targets
        yield Subject(
            case=case,
            model=model,
            module=module,
            codes=codes,
            positions=positions,
            settings=settings,
            batch=batch,
            score=_score(case, deltas),
            truth=find_truth(config, model, settings, codes, positions),
        )


def _config(case: Case, path: str) -> RunConfig:
    """The config of a case, its model at `path`."""
    from yuzu_cli.config import RunConfig

    config = RunConfig.model_validate_json(json.dumps(case.config or {}))
    return _with(config, path=[path], **({} if case.is_file else {"layout": "NCL"}))


def _with(config: RunConfig, **changes: Any) -> RunConfig:
    """The config with other settings of its model."""
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def _score(case: Case, deltas: int) -> str:
    """What is returned, `deltas` bytes of them being had at a time."""
    if case.score != "auto":
        return case.score
    return "delta" if deltas <= DELTA_BYTES else "l2"


def _batch(case: Case, model: Model, settings: Settings) -> int:
    fits = settings.memory // (4 * max(1, row_cost(model, settings).bytes))
    return max(1, min(case.batch or case.sequences, case.sequences, fits, 1024))


def _sequences(case: Case, config: RunConfig, size: int) -> torch.Tensor:
    """Codes (N, L): the first of the config's input, cut to the middle, or random."""
    source = config.input
    if source.fasta is None and source.bed is None:
        draw = torch.Generator().manual_seed(case.seed + 1)
        shape = (case.sequences, case.length)
        return torch.randint(size, shape, generator=draw, dtype=torch.uint8)
    from yuzu_cli.inputs.windows import open_windows

    stream = open_windows(
        alphabet=parse_alphabet(config.model.alphabet),
        fasta=source.fasta,
        bed=source.bed,
        genome=source.genome,
        length=case.length,
        center=source.center,
        edge=source.edge,
        wrong_length="crop",
    )
    with stream:
        windows = list(stream.iterate(0, min(case.sequences, stream.n_records)))
    return torch.as_tensor(np.stack([window.codes for window in windows]))


def find_truth(
    config: RunConfig, model: Model, settings: Settings, codes: torch.Tensor, positions: np.ndarray
) -> Truth:
    """Effects of evenly chosen mutants of the first sequences, in double precision if it can be."""
    double, size = replace(settings, dtype=torch.float64), model.alphabet_size
    try:
        (exact,) = load_models(config, size, double)
    except ModelError:
        exact, double = model, settings
    codes = codes[: max(1, min(TRUE_SEQUENCES, TRUE_LETTERS // settings.length))]
    mutants = len(codes) * len(positions) * (size - 1)
    work = max(1.0, get_backend("naive").cost(model, settings, 0))
    most = min(TRUE_VALUES // model.n_targets, int(TRUE_WORK / work))
    count = min(mutants, 32 * len(codes) * 3, max(16, most))
    where = torch.as_tensor(positions, device=codes.device)
    index = _some(codes[:, where], size, count)
    flat = index.cpu().numpy()
    sequence, letter = flat // (size * len(positions)), flat % size
    position = positions[flat // size % len(positions)]
    delta = _naive(exact, double, codes, sequence, position, letter).cpu().numpy()
    exactly = double.dtype == torch.float64
    return Truth(codes, index, sequence, position, letter, delta, exactly)


def _some(codes: torch.Tensor, size: int, count: int) -> torch.Tensor:
    """Flat indices of about `count` mutants, ends included, by turns of all letters."""
    letters = torch.arange(size, device=codes.device, dtype=codes.dtype)
    other = (codes.unsqueeze(-1) != letters) & (codes.unsqueeze(-1) < size)
    index = other.flatten().nonzero().squeeze(1)
    place = torch.linspace(0, len(index) - 1, count, device=codes.device, dtype=torch.float64)
    return index[place.round().long().unique()]


@torch.no_grad()
def _naive(
    model: Model,
    settings: Settings,
    codes: torch.Tensor,
    sequence: np.ndarray,
    position: np.ndarray,
    letter: np.ndarray,
) -> torch.Tensor:
    """Output of each mutant less that of its sequence, in the type of the model, (E, T)."""
    low = model.batch_range[0]
    fits = settings.memory // (4 * max(1, row_cost(model, settings).bytes))
    rows = max(low, min(32, len(sequence), fits))

    def outputs(table: torch.Tensor) -> torch.Tensor:
        padded = torch.cat([table, table[-1:].expand(-len(table) % rows, -1)])
        parts = [model(one_hot(part, model, settings)) for part in padded.split(rows)]
        return torch.cat(parts)[: len(table)].double()

    row = torch.as_tensor(sequence, device=codes.device)
    mutants = codes[row].clone()
    changed = torch.as_tensor(letter, device=codes.device).to(mutants.dtype)
    mutants[np.arange(len(sequence)), position] = changed
    found = outputs(torch.cat([codes, mutants]))
    return found[len(codes) :] - found[: len(codes)][row]
