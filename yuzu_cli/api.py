"""The door for notebooks: attributions of some sequences as numpy arrays, without files.

`import yuzu_cli` offers what is here without loading it. For more sequences than fit into memory
there is `yuzu run`, whose output `open_result` reads row by row.
"""

from __future__ import annotations

import os
import re
import reprlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yuzu_cli.alphabet import Alphabet
from yuzu_cli.errors import InputError, UsageError
from yuzu_cli.results.reader import Result, open_result

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig
    from yuzu_cli.engine.setup import Setup

__all__ = ["Attributions", "Result", "attribute", "open_result"]

BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Attributions:
    """Scores of some sequences, in memory.

    Attributes
    ----------
    names : list of str
        N names: those given, FASTA records, or BED names.
    letters : str
        Of the A axis.
    targets : list of str
    codes : ndarray, uint8, (N, L)
        Index into `letters`; 255 is unknown.
    mutated : tuple of (int, int)
        Positions of the window that the M axis covers, 0-based, half-open.
    reference : ndarray, float32, (N, T)
        The model's outputs for the sequences themselves.
    scores : dict of ndarray
        By name: delta (N, T, A, M), l2 (N, A, M), contribution (N, T, M), centered (N, T, A, M),
        prediction (N, T, A, M).
    backend : str
    max_abs_error : float
        Largest difference from naive on some of the mutants; NaN when none was compared.
    """

    names: list[str]
    letters: str
    targets: list[str]
    codes: np.ndarray
    mutated: tuple[int, int]
    reference: np.ndarray
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    backend: str = ""
    max_abs_error: float = float("nan")

    def __getitem__(self, score: str) -> np.ndarray:
        """One score by name."""
        return self.scores[score]

    def __len__(self) -> int:
        return len(self.names)

    def text(self, index: int) -> str:
        """Letters of one sequence."""
        return Alphabet(self.letters).decode(self.codes[index])


def attribute(
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    sequences: Sequence[str] | Mapping[str, str] | str | os.PathLike[str],
    *,
    scores: Sequence[str] = ("delta",),
    targets: str | Sequence[int | str] = "all",
    reduce: str = "none",
    transform: str = "none",
    mutate: tuple[int, int] | None = None,
    backend: str = "auto",
    device: str = "auto",
    reverse_complement: bool = False,
    verify: int = 32,
    settings: Mapping[str, Any] | None = None,
) -> Attributions:
    """Effects of every substitution in some sequences, as numpy arrays.

    Parameters
    ----------
    model : path or sequence of paths
        TorchScript (.pt) or torch.export (.pt2); several are averaged.
    sequences : sequence of str, mapping of name to str, or path
        Sequences of one length; or a FASTA; or a BED, with `input.genome` and `input.length` in
        `settings`.
    scores : sequence of str
        Among delta, l2, contribution, centered and prediction.
    targets : str or sequence of int and str
        Such as ``"all"``, ``"0,3,7-9"``, ``"CTCF,GATA*"`` or ``[0, "CTCF"]``.
    reduce, transform, backend, device, reverse_complement, verify
        As in the config of a run.
    mutate : (int, int), optional
        Positions to mutate, 0-based, half-open; all of them by default.
    settings : mapping, optional
        Any other key of the config by its path, e.g. ``{"compute.shifts": [0, 1]}``.

    Returns
    -------
    Attributions

    Raises
    ------
    YuzuError
        Something in the arguments, the sequences or the model is at fault.

    Examples
    --------
    >>> found = attribute("model.pt", ["ACGT" * 125])         # doctest: +SKIP
    >>> found["delta"].shape                                   # doctest: +SKIP
    (1, 4, 4, 500)
    """
    from yuzu_cli.config import load_config

    paths = [model] if isinstance(model, str | os.PathLike) else list(model)
    overrides: dict[str, Any] = {
        "model.path": [os.fspath(path) for path in paths],
        "score.save": list(scores),
        "score.targets": targets if isinstance(targets, str) else list(targets),
        "score.reduce": reduce,
        "score.transform": transform,
        "compute.backend": backend,
        "compute.device": device,
        "compute.reverse_complement": reverse_complement,
        "compute.verify": verify,
    }
    if mutate is not None:
        overrides |= {"mutate.start": int(mutate[0]), "mutate.end": int(mutate[1])}
    with tempfile.TemporaryDirectory(prefix="yuzu-") as folder:
        key, path, names = _input(sequences, settings or {}, Path(folder))
        overrides |= {key: path} | dict(settings or {})
        return _compute(load_config(None, overrides), names)


def _input(
    sequences: Sequence[str] | Mapping[str, str] | str | os.PathLike[str],
    settings: Mapping[str, Any],
    folder: Path,
) -> tuple[str, str, list[str] | None]:
    """Key and value of the config's input, and the names of sequences that were given in memory.

    Those go into a FASTA in `folder` under their numbers, for any text may be a name.
    """
    if isinstance(sequences, str | os.PathLike):
        if not os.path.exists(sequences):
            hint = "give a list of sequences, or the path of a FASTA or BED"
            raise InputError(os.fspath(sequences), "no such file", hint)
        key = "input.bed" if settings.get("input.genome") else "input.fasta"
        return key, os.fspath(sequences), None
    if isinstance(sequences, Mapping):
        items = list(sequences.items())
    else:
        items = [(f"sequence_{i}", text) for i, text in enumerate(sequences)]
    if not items:
        raise InputError("sequences", "there are none", "give at least one")
    lines = [f">{i}\n{_letters(name, text)}\n" for i, (name, text) in enumerate(items)]
    path = folder / "sequences.fa"
    path.write_text("".join(lines), encoding="utf-8")
    return "input.fasta", str(path), [str(name) for name, _ in items]


def _letters(name: Any, text: Any) -> str:
    """The letters of one sequence on one line, so that they cannot make a record of their own."""
    where = f"sequences[{name}]"
    if not isinstance(text, str) or not text.strip():
        raise UsageError(where, f"{reprlib.repr(text)} is not text with letters")
    letters = "".join(text.split())
    if wrong := re.search(r"[^A-Za-z*.-]", letters):
        hint = "give the letters alone, or the path of a FASTA"
        raise UsageError(where, f"{wrong[0]!r} is not a letter", hint)
    return letters


def _compute(config: RunConfig, given: list[str] | None) -> Attributions:
    """What a run computes, gathered instead of written."""
    import torch

    from yuzu_cli.engine import Scorer, prepared
    from yuzu_cli.engine.choose import choose
    from yuzu_cli.engine.loop import warn_of_zeros
    from yuzu_cli.engine.trust import verify

    with prepared(config) as setup:
        choice = choose(config.compute.backend, setup.models, setup.settings, len(setup.positions))
        choice, checked = verify(setup, choice)
        scorer = Scorer(
            setup.members(choice),
            setup.views,
            setup.positions,
            len(setup.targets),
            config.score.save,
            setup.settings.device,
            torch.float16 if config.score.dtype == "float16" else torch.float32,
            at_once=choice.at_once,
        )
        names, codes, arrays = _gather(setup, scorer)
    if not names:
        raise InputError("sequences", "all were dropped")
    reference = arrays.pop("reference")
    warn_of_zeros(config, arrays, reference)
    return Attributions(
        names=names if given is None else [given[int(name)] for name in names],
        letters=setup.alphabet.letters,
        targets=list(setup.targets),
        codes=codes,
        mutated=(int(setup.positions[0]), int(setup.positions[-1]) + 1),
        reference=reference,
        scores=arrays,
        backend=choice.name,
        max_abs_error=checked.max_abs_error,
    )


def _gather(setup: Setup, scorer: Any) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    names: list[str] = []
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, setup.stream.n_records, BATCH):
        windows = list(setup.stream.iterate(start, start + BATCH))
        if windows:
            wide = np.stack([window.codes for window in windows])
            inside = wide[:, setup.flank : setup.flank + setup.stream.length]
            parts.append(scorer.score(wide) | {"codes": inside})
            names += [window.region.name for window in windows]
    every = (
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}
    )
    codes = every.pop("codes", np.empty((0, setup.stream.length), np.uint8))
    return names, codes, every
