"""What the tool understood of a model, as text. Runs no sequence of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from yuzu_cli.alphabet import parse_alphabet
from yuzu_cli.backends import BACKENDS, get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.windowed import WindowedRunner, understand
from yuzu_cli.engine.device import computing, resolve_device
from yuzu_cli.engine.setup import load_models, mutated_positions, settings_of
from yuzu_cli.engine.timing import compared
from yuzu_cli.errors import UsageError
from yuzu_cli.graph.program import CaptureError
from yuzu_cli.inputs.windows import open_windows
from yuzu_cli.model import Model
from yuzu_cli.operators.cost import rates_of
from yuzu_cli.plan.describe import advice, describe, short, starts, tape_lines

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig


def explain(config: RunConfig) -> str:
    """Node by node: operation, shape, reach, way, cost; then what each backend makes of it.

    Raises
    ------
    UsageError
        The length is missing.
    ModelError
        A model cannot be used.
    """
    alphabet = parse_alphabet(config.model.alphabet)
    length = config.input.length
    if length is None and config.input.fasta is not None:
        with open_windows(config.input, alphabet) as stream:
            length = stream.length
    if length is None:
        raise UsageError("input.length", "is needed to explain a model", "give --length or a FASTA")
    device = resolve_device(config.compute.device)
    with computing(config.compute.precision, device):
        settings = settings_of(config, alphabet, length, device)
        models = load_models(config, alphabet.size, settings)
        positions = len(mutated_positions(config.mutate, settings.length))
        return "\n\n".join(_one(model, settings, positions) for model in models)


def _one(model: Model, settings: Settings, positions: int) -> str:
    head = (
        f"{model.path}: {model.kind}, layout {model.layout}, {model.alphabet_size} letters x "
        f"{settings.length} positions -> {model.n_targets} targets"
    )
    try:
        found = understand(model, settings)
    except CaptureError as error:
        body = f"not captured as one graph: {error}\nnaive computes every mutant in full"
        return f"{head}\n\n{body}\n\n{_backends(model, settings, positions)}"
    table = describe(found.found, found.plan)
    runner = WindowedRunner(model, settings)
    count = runner.positions_per_chunk(1)
    memory = runner.chunk_bytes(1)
    tape = tape_lines(runner.script.tape(np.arange(settings.length)[:count]))
    chunk = (
        f"windowed takes {count} positions at a time, {short(memory)}B of memory at the worst "
        f"step; {tape}"
    )
    mutants = positions * (model.alphabet_size - 1)
    about = (found.found, found.plan, rates_of(settings.device), model.n_targets, mutants)
    backends = f"{_backends(model, settings, positions)}\n{_measured(model, runner, settings)}"
    last = f"{starts(*about)}\n\n{advice(*about, _weights(model))}"
    return f"{head}\n\n{table}\n{chunk}\n\n{backends}\n\n{last}"


def _measured(model: Model, runner: WindowedRunner, settings: Settings) -> str:
    """What a mutant of a random sequence takes on this machine."""
    draw = torch.Generator().manual_seed(settings.seed)
    letters = torch.randint(model.alphabet_size, (1, settings.length), generator=draw)
    codes = letters.to(settings.device, torch.uint8)
    fast, naive = compared(runner, model, settings, codes, np.arange(settings.length))
    return (
        f"measured here, a mutant takes {1e3 * naive:.3g} ms by naive and {1e3 * fast:.3g} ms by "
        f"windowed, {naive / fast:.3g} times as fast; auto takes the faster one"
    )


def _weights(model: Model) -> dict[str, torch.Tensor]:
    """The model's own weights by their names in its file."""
    named = dict(model.module.named_parameters())
    return named | dict(model.module.named_buffers())


def _backends(model: Model, settings: Settings, positions: int) -> str:
    """A line per backend: exact or not, and what `auto` goes by, or why it is out."""
    lines, naive = [], get_backend("naive").cost(model, settings, positions)
    for name in BACKENDS:
        backend = get_backend(name)
        kind = "exact" if backend.exact else "first order"
        reason = backend.unsupported(model, settings)
        if reason is None:
            work = backend.cost(model, settings, positions)
            text = f"work of {short(work)} naive multiply-adds a sequence"
            if name != "naive" and work:
                text += f", predicted {naive / work:.3g} times as fast as naive"
            lines.append(f"{name:<9} {kind}, {text}")
        else:
            lines.append(f"{name:<9} {kind}, out: {reason}")
    return "\n".join(lines)
