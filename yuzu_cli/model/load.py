"""Loads a model and finds out, by running it on random sequences, how it is to be called.

Everything the file does not say is decided here once: layout, form of the extra inputs, position
axes. And everything that would make attributions wrong is refused here: outputs without a batch
axis, NaN, rows that depend on chance or on their neighbours. May not: run the user's own sequences.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yuzu_cli.errors import ModelError, UsageError
from yuzu_cli.model.files import LoadedFile, open_model, sha256_of, short
from yuzu_cli.model.heads import REDUCTIONS, TRANSFORMS, Head, choose, outputs_of, parse_targets
from yuzu_cli.model.layouts import CHANNELS_LAST, LAYOUTS
from yuzu_cli.model.wrap import Extra, Model

logger = logging.getLogger(__name__)

PROBE_ROWS = 3  # not 1, 2 or 4: a batch taken for channels, or squeezed away, must not go unnoticed
RUN_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
NO_BATCH = "no batch axis"
SAME_ROW = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest change of a row from batch to batch that is taken for rounding, of the largest output."""


def load_model(
    path: str | os.PathLike[str],
    *,
    length: int,
    alphabet_size: int = 4,
    layout: str = "auto",
    output: int | str = 0,
    extra_inputs: Mapping[str | int, Any] | None = None,
    targets: str | int | Sequence[int] = "all",
    reduce: str = "none",
    index: int | None = None,
    transform: str = "none",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Model:
    """Load a TorchScript or exported model, ready for sequences of `length` letters.

    Parameters
    ----------
    path : path
        TorchScript (.pt: scripted, traced or frozen) or torch.export (.pt2).
    length, alphabet_size : int
        L and A.
    layout : str
        One of `LAYOUTS`; `auto` takes the first that runs.
    output : int or str
        Which output: number, name, or `all`.
    extra_inputs : mapping
        Input name, or position among all inputs, to a number, list, array or path of a .npy.
    targets : str, int or sequence of int
        `all` or numbers such as `0,3,7-9`, after reduce and transform.
    reduce, transform : str
        One of `REDUCTIONS` over the position axis of each output, then one of `TRANSFORMS`.
    index : int
        Position for `reduce: index`.
    device, dtype
        Where and in which type the model computes.

    Raises
    ------
    ModelError
        The file is no model, cannot take such sequences, or its outputs cannot be trusted.
    UsageError
        There is no such layout, output, target or input.
    """
    _check_names(layout, reduce, transform)
    device = torch.device(device)
    file = open_model(path, device, dtype)
    maker = Probe(str(path), alphabet_size, length, device, dtype)
    with torch.no_grad():
        model = _find_call(file, maker, layout, extra_inputs or {}, output)
        model.path, model.sha256 = str(path), sha256_of(path)
        model.length, model.alphabet_size = length, alphabet_size
        model.device, model.dtype = device, dtype
        _check_rows(model, maker)
        _set_heads(model, maker, reduce, transform, index)
        chosen = parse_targets(targets, model.n_targets)
        if chosen != list(range(model.n_targets)):
            model.target_index = torch.tensor(chosen, device=device)
            model.target_names = [model.target_names[i] for i in chosen]
        _check_finite(model, maker, transform)
    return model


def _check_names(layout: str, reduce: str, transform: str) -> None:
    for key, value, known in (
        ("model.layout", layout, ("auto", *LAYOUTS)),
        ("score.reduce", reduce, REDUCTIONS),
        ("score.transform", transform, TRANSFORMS),
    ):
        if value not in known:
            raise UsageError(key, f"no {key.split('.')[1]} {value!r}", "one of " + ", ".join(known))


class Probe:
    """Random one-hot sequences, always the same."""

    def __init__(
        self, where: str, size: int, length: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.where, self.size, self.length = where, size, length
        self.device, self.dtype = device, dtype

    def rows(self, count: int, length: int | None = None) -> torch.Tensor:
        """(count, A, length), row i the same whatever the count."""
        draw = torch.Generator().manual_seed(20240229)
        shape = (count, length or self.length)
        codes = torch.randint(self.size, shape, generator=draw)
        table = torch.eye(self.size, dtype=self.dtype)
        return table[codes].transpose(1, 2).contiguous().to(self.device)


def _find_call(
    file: LoadedFile,
    probe: Probe,
    layout: str,
    extra_inputs: Mapping[str | int, Any],
    output: int | str,
) -> Model:
    """The first way of calling the model that runs and returns one row per sequence."""
    slot, slots = _match_inputs(file, probe.where, extra_inputs)
    forms = [_forms(extra_inputs[key], number, file, probe) for key, number in slots.items()]
    failures: dict[str, str] = {}
    low, high = file.batch[slot]
    counts = [low] if low == high else [max(PROBE_ROWS, low), 1]
    for rows in counts:
        for name in LAYOUTS if layout == "auto" else (layout,):
            if rows == 1 and NO_BATCH in failures.get(name, ""):
                continue  # with one row, any axis of size 1 would pass for the batch
            for extras in itertools.product(*forms):
                model = Model(file, name, slot, extras)
                model.path = probe.where
                if rows == 1 and (low, high) != (1, 1):
                    model.batch_range = (1, 1)  # a traced model that baked its batch of one in
                failure = _try_call(model, probe.rows(rows), output)
                if failure is None:
                    if layout == "auto":
                        logger.info("%s: layout %s", probe.where, name)
                    return model
                failures.setdefault(name, failure)
    raise _no_call(probe, failures)


def _try_call(model: Model, x: torch.Tensor, output: int | str) -> str | None:
    """Why this call does not work; None when it does, and then `model.chosen` is set."""
    before = x.clone()
    try:
        value = model.call(x)
    except torch.OutOfMemoryError:
        raise
    except RUN_ERRORS as error:
        return short(error)
    model.works_in_place = not torch.equal(x, before)
    tensors = outputs_of(value, model.path)
    model.chosen = tuple(choose(tensors, output))
    for number in model.chosen:
        key, tensor = tensors[number]
        if tensor.dim() == 0 or tensor.shape[0] != x.shape[0]:
            name = "the output" if key is None else f"output {key}"
            shape = tuple(tensor.shape)
            return f"{name} has shape {shape} for {x.shape[0]} sequences: {NO_BATCH}"
    return None


def _no_call(probe: Probe, failures: dict[str, str]) -> ModelError:
    # The layout that got past the first layer has the message that matters.
    shallow = ("channels", "Expected 2D", "Expected 3D", "Expected 4D", "Guard failed")
    name = min(failures, key=lambda n: any(word in failures[n] for word in shallow))
    what = f"cannot take sequences of {probe.size} letters and length {probe.length}"
    hint = "check input.length, model.alphabet and model.layout"
    return ModelError(probe.where, f"{what} (layout {name}: {failures[name]})", hint)


def _match_inputs(
    file: LoadedFile, where: str, extra_inputs: Mapping[str | int, Any]
) -> tuple[int, dict[str | int, int]]:
    """Which input takes the sequences, and the slot of each extra input."""
    names = [name for name, _, _ in file.inputs]
    slots: dict[str | int, int] = {}
    for key in extra_inputs:
        number = int(key) if str(key).isdigit() else None
        if key not in names and (number is None or number >= len(names)):
            what = f"the model has no input {key!r}"
            raise UsageError("model.extra_inputs", what, "it has " + ", ".join(names))
        slots[key] = names.index(str(key)) if key in names else int(key)
    free = [i for i in range(len(names)) if i not in slots.values()]
    if not free:
        raise UsageError("model.extra_inputs", "leaves no input for the sequences")
    needed = [names[i] for i in free[1:] if not file.inputs[i][2]]
    if needed:
        what = f"wants further inputs: {', '.join(needed)}"
        raise ModelError(where, what, "give each in model.extra_inputs")
    gap = [i for i in range(max([free[0], *slots.values()])) if i not in (free[0], *slots.values())]
    if gap:
        what = f"input {names[gap[0]]} comes before another that is given"
        raise UsageError("model.extra_inputs", what, "give it too")
    return free[0], slots


def _forms(value: Any, slot: int, file: LoadedFile, probe: Probe) -> list[Extra]:
    """The ways one extra input may be meant, the likeliest first."""
    if isinstance(value, (str, Path)):
        try:
            value = np.load(value, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UsageError("model.extra_inputs", f"{value}: {short(error)}") from None
    if not file.inputs[slot][1] and isinstance(value, (bool, int, float)):
        return [Extra(slot, value, expand=False)]
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        what = f"{value!r} is not a number or an array"
        raise UsageError("model.extra_inputs", what, "give a number, a list or a .npy") from None
    if tensor.is_floating_point():
        tensor = tensor.to(probe.dtype)
    tensor = tensor.to(probe.device)
    forms = []
    if tensor.dim() and tensor.shape[0] == 1:
        forms.append(Extra(slot, tensor, expand=True))
    forms.append(Extra(slot, tensor.unsqueeze(0), expand=True))
    if tensor.dim() == 0:
        forms.append(Extra(slot, tensor.reshape(1, 1), expand=True))
    forms.append(Extra(slot, tensor, expand=False))
    return forms


def _check_rows(model: Model, probe: Probe) -> None:
    """Refuse NaN, chance, and rows that depend on their neighbours."""
    x = probe.rows(model.fixed_batch or max(PROBE_ROWS, model.batch_range[0]))
    first, again = model.raw(x), model.raw(x)
    for value in first:
        if not torch.isfinite(value).all():
            what = "returns NaN or infinite values for random sequences"
            raise ModelError(model.path, what, "check the model in the precision asked for")
    _compare(model, first, again, "the same batch a second time", "is dropout left on?")
    try:
        single = model._chosen(x[:1]) if model.batch_range[0] == 1 else None
        if single is not None and single[0].shape[:1] != (1,):
            raise RuntimeError("no batch axis for one sequence")
    except RUN_ERRORS:  # squeeze() of a batch of one, or an export specialised to more than one
        if model.fixed_batch is not None:
            raise
        model.batch_range = (2, model.batch_range[1])
    more = probe.rows(2 * x.shape[0] + 1).flip(0)
    other = [value.flip(0)[: x.shape[0]] for value in model.raw(more)]
    _compare(model, first, other, "another batch", "is batch norm left in training mode?")


def _compare(
    model: Model, first: list[torch.Tensor], other: list[torch.Tensor], when: str, hint: str
) -> None:
    for a, b in zip(first, other, strict=True):
        if a.shape != b.shape:
            raise ModelError(model.path, f"gives other shapes for {when}")
        a, b = a.double(), b.double()
        limit = SAME_ROW[model.dtype] * float(a.abs().max()) if a.numel() else 0.0
        worst = float((a - b).abs().max()) if a.numel() else 0.0
        if not worst <= limit:
            what = f"gives other numbers for the same row in {when} (by up to {worst:.2g})"
            raise ModelError(model.path, what, hint)


def _set_heads(model: Model, probe: Probe, reduce: str, transform: str, index: int | None) -> None:
    tensors = outputs_of(model.call(probe.rows(model.fixed_batch or PROBE_ROWS)), model.path)
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
        if reduce == "index" and position is not None:
            _check_index(index, shape[position])
        heads.append(Head(key, shape, position, reduce, transform, index or 0))
    if reduce != "none" and all(head.position is None for head in heads):
        what = f"no position axis to take the {reduce} over: output has shape {heads[0].shape}"
        raise UsageError("score.reduce", what, "use reduce: none")
    model.heads = tuple(heads)
    model.target_names = [name for head in heads for name in head.names()]


def _check_index(index: int | None, size: int) -> None:
    if index is None:
        raise UsageError("score.index", "is needed by reduce: index")
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


def _check_finite(model: Model, probe: Probe, transform: str) -> None:
    table = model(probe.rows(model.fixed_batch or PROBE_ROWS))
    if not torch.isfinite(table).all():
        what = f"score.transform {transform} gives NaN or infinite values"
        raise ModelError(model.path, what, "the outputs are outside its domain")
