"""Refuses models whose numbers cannot be trusted: NaN, chance, rows that depend on others.

May not: decide how a model is called.
"""

from __future__ import annotations

import torch

from yuzu_cli.errors import ModelError
from yuzu_cli.model.probe import PROBE_ROWS, RUN_ERRORS, Probe
from yuzu_cli.model.wrap import Model

SAME_ROW = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest change of a row from batch to batch that is taken for rounding, of the largest output."""

OTHER_BATCH, NORM = "another batch", "is batch norm left in training mode?"


def check_rows(model: Model, probe: Probe) -> None:
    """Refuse complex numbers, NaN, chance, and rows that depend on their neighbours."""
    x = probe.rows(model.fixed_batch or max(PROBE_ROWS, model.batch_range[0]))
    first, again = model.raw(x), model.raw(x)
    for value in first:
        if value.is_complex():
            hint = "return torch.view_as_real(output), or the part that is meant"
            raise ModelError(model.path, "its output is complex", hint)
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
    _compare(model, first, other, OTHER_BATCH, NORM)
    for company in probe.companies(x[:1]):
        other = [value[:1] for value in model.raw(company)]
        _compare(model, [value[:1] for value in first], other, OTHER_BATCH, NORM)


def lift(model: Model, probe: Probe) -> None:
    """Let a model that takes one sequence take any number, where that gives the same numbers."""
    if model.fixed_batch != 1:
        return
    x, module = probe.rows(PROBE_ROWS), model.module
    alone = model.raw(x)
    model.lift()
    try:
        _compare(model, alone, model.raw(x), OTHER_BATCH, NORM)
    except (*RUN_ERRORS, ModelError):
        model.module, model.batch_range, model.lifted = module, (1, 1), False


def check_alike(model: Model, one: torch.Tensor, other: torch.Tensor) -> None:
    """Refuse a model whose targets for the same rows differ between batches of other sizes.

    By more than is taken for rounding in its raw outputs, for a transform may magnify it.
    """
    known = torch.isfinite(one) & torch.isfinite(other)
    _compare(model, [one[known]], [other[known]], OTHER_BATCH, NORM, slack=10.0)


def _compare(
    model: Model,
    first: list[torch.Tensor],
    other: list[torch.Tensor],
    when: str,
    hint: str,
    slack: float = 1.0,
) -> None:
    for a, b in zip(first, other, strict=True):
        if a.shape != b.shape:
            raise ModelError(model.path, f"gives other shapes for {when}")
        a, b = a.double(), b.double()
        limit = slack * SAME_ROW[model.dtype] * float(a.abs().max()) if a.numel() else 0.0
        worst = float((a - b).abs().max()) if a.numel() else 0.0
        if not worst <= limit:
            what = f"gives other numbers for the same row in {when} (by up to {worst:.2g})"
            raise ModelError(model.path, what, hint)


def check_finite(model: Model, probe: Probe, transform: str) -> None:
    table = model(probe.rows(model.fixed_batch or PROBE_ROWS))
    if not torch.isfinite(table).all():
        what = f"score.transform {transform} gives NaN or infinite values"
        raise ModelError(model.path, what, "the outputs are outside its domain")
