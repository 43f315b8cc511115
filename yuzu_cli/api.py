"""The door for notebooks: attributions of some sequences as arrays in memory, without files.

`import yuzu_cli` offers what is here without loading it. For more sequences than fit into memory
there is `yuzu run`, whose output `open_result` reads row by row.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yuzu_cli.alphabet import parse_alphabet
from yuzu_cli.errors import InputError, UsageError
from yuzu_cli.results.arrays import AttributionGroups, Attributions
from yuzu_cli.results.reader import Result, open_result

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig
    from yuzu_cli.engine.setup import Setup

__all__ = ["AttributionGroups", "Attributions", "Result", "attribute", "open_result"]

BATCH = 64


def attribute(
    model: Any,
    sequences: Any,
    *,
    scores: str | Sequence[str] = ("delta",),
    targets: Any = "all",
    reduce: str = "none",
    transform: str = "none",
    mutate: Sequence[int] | None = None,
    backend: str = "auto",
    device: Any = "auto",
    reverse_complement: bool = False,
    verify: int = 32,
    progress: bool | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """Effects of every substitution in some sequences.

    Parameters
    ----------
    model : path, Module, ScriptModule, ExportedProgram, or several
        What `yuzu run` takes, or the model itself, which is copied and left as it is. Several are
        averaged.
    sequences : sequence, mapping of name to sequence, array, tensor or path
        Sequences are text, codes (L,) or one-hot (A, L); arrays hold codes (N, L) or one-hot
        (N, A, L). Or the path of a FASTA; or of a BED, with `input.genome` and `input.length` in
        `settings`.
    scores : str or sequence of str
        What is kept, among delta, l2, jsd, contribution, centered and prediction; delta is enough
        for all of them.
    targets : str, int, array or sequence of int and str
        Such as ``"all"``, ``"0,3,7-9"``, ``"CTCF,GATA*"`` or ``[0, "CTCF"]``.
    reduce, transform, backend, device, reverse_complement, verify
        As in the config of a run.
    mutate : (int, int), optional
        Positions to mutate, 0-based, half-open; all of them by default.
    progress : bool, optional
        A bar of the sequences that are done; by default on a terminal.
    settings : mapping, optional
        Any other key of the config by its path, e.g. ``{"compute.shifts": [0, 1]}``.

    Returns
    -------
    Attributions
        Or `AttributionGroups`, by length, where sequences in memory are of several lengths.

    Raises
    ------
    YuzuError
        Something in the arguments, the sequences or the model is at fault.

    Examples
    --------
    >>> found = attribute(model, ["ACGT" * 125])              # doctest: +SKIP
    >>> found["delta"].shape                                   # doctest: +SKIP
    (1, 4, 4, 500)
    """
    from yuzu_cli.config import load_config

    settings = dict(settings or {})
    paths, objects = _models(model)
    overrides: dict[str, Any] = {
        "model.path": paths,
        "score.save": _plain(scores),
        "score.targets": _plain(targets),
        "score.reduce": reduce,
        "score.transform": transform,
        "compute.backend": backend,
        "compute.device": str(device),
        "compute.reverse_complement": reverse_complement,
        "compute.verify": verify,
    }
    if mutate is not None:
        try:
            start, end = map(int, mutate)
        except (TypeError, ValueError):
            what = f"{mutate!r} is not (start, end)"
            raise UsageError("mutate", what, "0-based, half-open: (100, 400)") from None
        overrides |= {"mutate.start": start, "mutate.end": end}
    parts = {}
    known = load_config(None, overrides | {k: v for k, v in settings.items() if "input" not in k})
    with _inputs(sequences, settings, known) as inputs, _bar(progress) as bar:
        for key, path, names in inputs:
            config = load_config(None, overrides | {key: path} | settings)
            with _named(path, names):
                found = _compute(config, names, objects, bar)
            parts[found.codes.shape[1]] = found
    return AttributionGroups(parts) if len(parts) > 1 else found


def _plain(value: Any) -> Any:
    """Arrays, and sequences of numbers that may be an array's, as lists of Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value


@contextmanager
def _named(path: str, names: Sequence[str] | None) -> Iterator[None]:
    """Within it, a fault in the file that was made of sequences in memory names the sequence."""
    try:
        yield
    except InputError as error:
        file, _, line = error.where.rpartition(":")
        if names is None or file != path:
            raise
        where = f"sequences[{names[(int(line) - 1) // 2]}]"  # two lines to a sequence
        raise InputError(where, error.what, error.hint) from None


def _models(model: Any) -> tuple[list[str], list[Any]]:
    """What `model.path` says, and the models themselves where they are not files."""
    import torch

    kinds = (torch.nn.Module, torch.export.ExportedProgram)
    several: Any = [model] if isinstance(model, (str, os.PathLike, *kinds)) else model
    if not isinstance(several, Sequence) or not several:
        hint = "give a path, a torch.nn.Module, a ScriptModule or an ExportedProgram"
        raise UsageError("model", f"{type(model).__name__} is no model", hint)
    if all(isinstance(one, str | os.PathLike) for one in several):
        return [os.fspath(path) for path in several], []
    if wrong := [type(one).__name__ for one in several if not isinstance(one, kinds)]:
        raise UsageError("model", f"{wrong[0]} among models in memory", "give all as one kind")
    return [type(one).__name__ for one in several], list(several)


@contextmanager
def _inputs(
    sequences: Any, settings: Mapping[str, Any], config: RunConfig
) -> Iterator[list[tuple[str, str, list[str] | None]]]:
    """Key and value of the config's input for each length, and the names of its sequences.

    Those in memory go into a FASTA under their numbers, for any text may be a name.
    """
    if isinstance(sequences, str | os.PathLike):
        if not os.path.exists(sequences):
            hint = "give a list of sequences, or the path of a FASTA or BED"
            raise InputError(os.fspath(sequences), "no such file", hint)
        key = "input.bed" if settings.get("input.genome") else "input.fasta"
        yield [(key, os.fspath(sequences), None)]
        return
    from yuzu_cli.inputs.memory import named_sequences

    alphabet = parse_alphabet(config.model.alphabet)
    groups: dict[int, dict[str, str]] = {}
    for name, text in named_sequences(sequences, alphabet).items():
        fixed = settings.get("input.length") or config.input.length  # others are cut or refused
        length = 0 if fixed else len(text)
        groups.setdefault(length, {})[name] = text
    with tempfile.TemporaryDirectory(prefix="yuzu-") as folder:
        inputs: list[tuple[str, str, list[str] | None]] = []
        for length, group in groups.items():
            path = Path(folder, f"{length}.fa")
            lines = (f">{i}\n{text}\n" for i, text in enumerate(group.values()))
            path.write_text("".join(lines), encoding="utf-8")
            inputs.append(("input.fasta", str(path), list(group)))
        yield inputs


@contextmanager
def _bar(progress: bool | None) -> Iterator[Callable[[int, int], None]]:
    """What is told of sequences that are done and of how many there are more."""
    from tqdm import tqdm

    hidden = None if progress is None else not progress  # None: hidden unless on a terminal
    with tqdm(total=0, unit="sequence", disable=hidden) as bar:

        def tell(done: int, more: int) -> None:
            bar.total = (bar.total or 0) + more
            bar.update(done)

        yield tell


def _compute(
    config: RunConfig,
    given: list[str] | None,
    objects: Sequence[Any],
    tell: Callable[[int, int], None],
) -> Attributions:
    """What a run computes, gathered instead of written."""
    import torch

    from yuzu_cli.engine import Scorer, prepared
    from yuzu_cli.engine.choose import choose
    from yuzu_cli.engine.loop import warn_of_zeros
    from yuzu_cli.engine.trust import verify

    with prepared(config, objects) as setup:
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
        names, codes, arrays = _gather(setup, scorer, tell)
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
        transform=config.score.transform,
        backend=choice.name,
        max_abs_error=checked.max_abs_error,
    )


def _gather(
    setup: Setup, scorer: Any, tell: Callable[[int, int], None]
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    names: list[str] = []
    parts: list[dict[str, np.ndarray]] = []
    tell(0, setup.stream.n_records)
    for start in range(0, setup.stream.n_records, BATCH):
        windows = list(setup.stream.iterate(start, start + BATCH))
        if windows:
            wide = np.stack([window.codes for window in windows])
            inside = wide[:, setup.flank : setup.flank + setup.stream.length]
            parts.append(scorer.score(wide) | {"codes": inside})
            names += [window.region.name for window in windows]
        tell(min(BATCH, setup.stream.n_records - start), 0)
    every = (
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}
    )
    codes = every.pop("codes", np.empty((0, setup.stream.length), np.uint8))
    return names, codes, every
