"""Loads a model and finds out, by running it on random sequences, how it is to be called.

Everything the file does not say is decided here once: layout, form of the extra inputs, position
axes. And everything that would make attributions wrong is refused here: outputs without a batch
axis, NaN, rows that depend on chance or on their neighbours. May not: run the user's own sequences.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from yuzu_cli.errors import ModelError, UsageError
from yuzu_cli.model.calls import find_call
from yuzu_cli.model.checks import check_finite, check_rows, lift
from yuzu_cli.model.extras import sha256_with
from yuzu_cli.model.files import Given, open_model
from yuzu_cli.model.heads import Head, listed, named, outputs_of
from yuzu_cli.model.layouts import CHANNELS_LAST
from yuzu_cli.model.probe import PROBE_ROWS, RUN_ERRORS, Probe
from yuzu_cli.model.wrap import Model
from yuzu_cli.selection import choose

logger = logging.getLogger(__name__)


def load_model(
    path: str | os.PathLike[str] | Given,
    *,
    length: int,
    alphabet_size: int = 4,
    layout: str = "auto",
    output: int | str = 0,
    extra_inputs: Mapping[str | int, Any] | None = None,
    targets: str | int | Sequence[int | str] = "all",
    reduce: str = "none",
    index: int | None = None,
    transform: str = "none",
    target_names: str | Sequence[str] = (),
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Model:
    """Load a TorchScript or exported model, ready for sequences of `length` letters.

    Parameters
    ----------
    path : path, Module, ScriptModule or ExportedProgram
        TorchScript (.pt: scripted, traced or frozen) or torch.export (.pt2); or the model itself,
        which is copied.
    length, alphabet_size : int
        L and A.
    layout : str
        One of `LAYOUTS`; `auto` takes the first that runs.
    output : int or str
        Which output: number, name, or `all`.
    extra_inputs : mapping
        Input name, or position among all inputs, to a number, list, array or path of a .npy.
    targets : str, int or sequence of either
        `all`, or numbers, ranges, names and patterns such as `0,3,7-9,CTCF*`, after reduce.
    reduce, transform : str
        As in the config: over the position axis of each output, then of what is left.
    index : int
        Position for `reduce: index`.
    target_names : str or sequence of str
        Names of all targets, after reduce; or a text file with one a line. Numbers when empty.
    device, dtype
        Where and in which type the model computes.

    Raises
    ------
    ModelError
        The file is no model, cannot take such sequences, or its outputs cannot be trusted.
    UsageError
        There is no such layout, output, target or input; the names are not one for each target.
    """
    device = torch.device(device)
    where = str(path) if isinstance(path, (str, os.PathLike)) else type(path).__name__
    file = open_model(path, device, dtype)
    maker = Probe(where, alphabet_size, length, device, dtype)
    with torch.no_grad():
        model = find_call(file, maker, layout, extra_inputs or {}, output)
        model.path, model.sha256 = where, sha256_with(path, extra_inputs or {})
        model.length, model.alphabet_size = length, alphabet_size
        model.device, model.dtype = device, dtype
        check_rows(model, maker)
        _set_heads(model, maker, reduce, transform, index)
        lift(model, maker)
        model.target_names = named(target_names, model.target_names)
        chosen = choose(targets, model.target_names, "score.targets")
        if chosen != list(range(model.n_targets)):
            model.target_index = torch.tensor(chosen, device=device)
            model.target_names = [model.target_names[i] for i in chosen]
        check_finite(model, maker, transform)
    return model


def _set_heads(model: Model, probe: Probe, reduce: str, transform: str, index: int | None) -> None:
    tensors = outputs_of(model.call(probe.rows(model.fixed_batch or PROBE_ROWS)), model.path)
    model.outputs = listed(tensors)
    if len(tensors) > 1:
        using = ", ".join(map(str, model.chosen))
        logger.info("%s: returns %s; using %s", model.path, ", ".join(model.outputs), using)
    others: list[tuple[int, ...]] | None = None
    if reduce != "none" or transform == "softmax":
        others = _shapes_at_another_length(model, probe)
    heads = []
    for place, number in enumerate(model.chosen):
        key, tensor = tensors[number]
        shape = tuple(tensor.shape[1:])
        other = others[place][1:] if others else None
        position = None
        if reduce != "none" or transform == "softmax":
            position = _position_axis(shape, other, model)
            longest = max(math.prod(tensors[i][1].shape[1:]) for i in model.chosen)
            if reduce == "profile" and position is None and shape == (longest,) != (1,):
                position = 0  # of a fixed length other than the sequence's, beside its counts
        if reduce == "index" and position is not None:
            _check_index(index or 0, shape[position])
        heads.append(Head(key, shape, position, reduce, transform, index or 0))
    if reduce != "none" and all(head.position is None for head in heads):
        what = f"no position axis to take the {reduce} over: output has shape {heads[0].shape}"
        raise UsageError("score.reduce", what, "use reduce: none")
    model.heads = tuple(heads)
    model.target_names = [name for head in heads for name in head.names()]
    if not model.target_names:
        shapes = ", ".join(str((0, *head.shape)).replace("0", "N", 1) for head in heads)
        raise ModelError(model.path, f"has no targets: its output is {shapes}", "see model.output")


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise UsageError("score.index", f"{index} is not one of the {size} positions")


def _shapes_at_another_length(model: Model, probe: Probe) -> list[tuple[int, ...]] | None:
    """Shapes of the outputs for sequences of another length, if the model takes any."""
    for length in _other_lengths(probe.length):
        try:
            rows = probe.rows(model.fixed_batch or PROBE_ROWS, length)
            return [tuple(value.shape) for value in model.raw(rows)]
        except RUN_ERRORS:
            continue
    return None


def _other_lengths(length: int) -> Iterator[int]:
    yield from (n for n in (length // 2, 2 * length, length + 64) if n > 0)


def _position_axis(
    shape: tuple[int, ...], other: tuple[int, ...] | None, model: Model
) -> int | None:
    """Which axis of an output, the batch axis aside, is position; None when none can be.

    The one that changes with L; else the one of size L; else, with two axes or more, the last
    (the first for a model whose input has its channels last).
    """
    if other is not None and len(other) == len(shape):
        changed = [i for i, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b]
        if len(changed) == 1:
            return changed[0]
    same = [i for i, size in enumerate(shape) if size == model.length]
    if len(same) == 1:
        return same[0]
    if len(shape) < 2:
        return None
    return 0 if model.layout in CHANNELS_LAST else len(shape) - 1
