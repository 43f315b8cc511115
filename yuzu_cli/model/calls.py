"""Finds the way to call a model: layout, form of the further inputs, batches it takes.

May not: judge the numbers.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from yuzu_cli.errors import ModelError, YuzuError
from yuzu_cli.model.extras import forms, match_inputs
from yuzu_cli.model.files import LoadedFile, open_model, short
from yuzu_cli.model.heads import choose, outputs_of
from yuzu_cli.model.layouts import LAYOUTS
from yuzu_cli.model.lengths import lengths_that_work
from yuzu_cli.model.probe import PROBE_ROWS, RUN_ERRORS, Probe
from yuzu_cli.model.wrap import Model

logger = logging.getLogger(__name__)

NO_BATCH = "no batch axis"


def find_call(
    file: LoadedFile,
    probe: Probe,
    layout: str,
    extra_inputs: Mapping[str | int, Any],
    output: int | str,
) -> Model:
    """The first way of calling the model that runs and returns one row per sequence."""
    slot, slots = match_inputs(file, probe.where, extra_inputs)
    ways = [forms(extra_inputs[key], number, file, probe) for key, number in slots.items()]
    failures: dict[str, str] = {}
    low, high = file.batch[slot]
    counts = _counts(low, high)
    for rows in counts:
        for name in LAYOUTS if layout == "auto" else (layout,):
            if rows == 1 and NO_BATCH in failures.get(name, ""):
                continue  # with one row, any axis of size 1 would pass for the batch
            for extras in itertools.product(*ways):
                model = Model(file, name, slot, extras)
                model.path = probe.where
                if rows == 1 and (low, high) != (1, 1):
                    model.batch_range = (1, 1)  # a traced model that baked its batch of one in
                failure = _try_call(model, probe.rows(rows), output)
                if failure is None and extras and rows > 1 and (high is None or rows + 2 <= high):
                    # A vector of as many numbers as rows may have passed for one number a row.
                    failure = _try_call(model, probe.rows(rows + 2), output)
                if failure is None:
                    if layout == "auto":
                        logger.info("%s: layout %s", probe.where, name)
                    return model
                failures.setdefault(name, failure)

    def takes(name: str, length: int) -> bool:
        models = (Model(file, name, slot, extras) for extras in itertools.product(*ways))
        return any(_runs(model, probe, counts[-1], length, output) for model in models)

    raise _no_call(probe, failures, takes)


def _counts(low: int, high: int | None) -> list[int]:
    """Rows of the batches that are tried, by what the file allows."""
    return [low] if low == high else [max(PROBE_ROWS, low), 1]


def lengths_taken(path: str, probe: Probe, layouts: Sequence[str], output: int | str) -> list[int]:
    """Lengths that a model without further inputs takes, in the first layout that has any."""
    file = open_model(path, probe.device, probe.dtype)
    slot, _ = match_inputs(file, path, {})
    rows = _counts(*file.batch[slot])[0]

    def takes(layout: str, length: int) -> bool:
        return _runs(Model(file, layout, slot, ()), probe, rows, length, output)

    with torch.no_grad():
        for layout in layouts:
            said = _try_call(_named(Model(file, layout, slot, ()), path), probe.rows(rows), output)
            if found := lengths_that_work(probe.length, {layout: said or ""}, takes)[1]:
                return found
    return []


def _named(model: Model, path: str) -> Model:
    model.path = path
    return model


def _runs(model: Model, probe: Probe, rows: int, length: int, output: int | str) -> bool:
    try:
        return _try_call(_named(model, probe.where), probe.rows(rows, length), output) is None
    except (torch.OutOfMemoryError, YuzuError):
        return False


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


def _no_call(
    probe: Probe, failures: dict[str, str], takes: Callable[[str, int], bool]
) -> ModelError:
    # The layout that got past the first layer has the message that matters.
    shallow = ("channels", "Expected ", "Guard failed")
    names = sorted(failures, key=lambda n: any(word in failures[n] for word in shallow))
    what = f"cannot take sequences of {probe.size} letters and length {probe.length}"
    likely = {n: failures[n] for n in names if "channels" not in failures[n]}
    layout, lengths = "", list[int]()
    if NO_BATCH not in failures[names[0]]:
        layout, lengths = lengths_that_work(probe.length, likely, takes)
    if lengths:
        *most, last = map(str, lengths)
        some = f"length {last}" if not most else f"lengths such as {', '.join(most)} and {last}"
        known = f"it takes {some} (layout {layout})"
        return ModelError(probe.where, f"{what}; {known}", "set input.length")
    hint = "check input.length, model.alphabet and model.layout"
    return ModelError(probe.where, f"{what} (layout {names[0]}: {failures[names[0]]})", hint)
