"""Models to benchmark and test on: architectures of papers, with weights from a seed.

Random weights show a mistake sooner than trained, correlated ones. Batch norms get running
statistics that are not the identity, and scales are such that activations stay alive and effects do
not vanish. Only torch is needed. Nothing here may know how scores are computed.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yuzu_cli.bench.papers.networks import made_of
from yuzu_cli.errors import UsageError
from yuzu_cli.files import disk_errors, whole_file

POOLS = {
    **{250: (2, 2), 500: (3, 2), 1000: (2, 3), 2000: (4, 3)},
    **{5000: (3, 4), 10000: (3, 5), 20000: (3, 6)},
}
"""Pools of the deep AI-TAC as TISM timed it, by length: the first and the others."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model of the zoo."""

    length: int  # letters its paper gives it; any length that survives the pooling works
    about: str  # one line for help and reports
    recipe: str  # see `networks.made_of`; `{first3}` and the like are pools that grow with length

    def make(self, length: int, width: float) -> nn.Module:
        """The network with meaningless weights."""
        n = next(n for n in range(4, 99) if length // ((n - 1) * n * n) <= 5)
        first, other = POOLS[max((key for key in POOLS if key <= length), default=250)]
        recipe = self.recipe.format(first3=n - 1, other3=n, first8=first, other8=other)
        return made_of(recipe, length, width)


def _listed(of: str) -> dict[str, Architecture]:
    lines = Path(__file__).with_name("networks.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    return {row[0]: Architecture(int(row[2]), row[3], row[4]) for row in rows if row[1] == of}


ZOO = _listed("paper")
"""Published models, which the tests of the backends run over."""

TIMED = _listed("timed")
"""The same models in the sizes that papers timed, where these differ."""

LAYERS = re.compile(r"two-layers-(\d+)x(\d+)")
"""A convolution that makes channels of letters, and the one to look at: filters and width."""


def architecture(name: str) -> Architecture:
    """The model of that name; case, ``_`` and ``-`` do not matter.

    Raises
    ------
    UsageError
        There is none.
    """
    if match := LAYERS.fullmatch(name):
        recipe = f"{match[1]}x7 relu {match[1]}x{match[2]} sum"
        return Architecture(1000, f"two convolutions, {match[0]}", recipe)

    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    known = ZOO | TIMED
    for key, found in known.items():
        if plain(key) == plain(name):
            return found
    raise UsageError("zoo", f"no model {name!r}", "one of " + ", ".join(known))


def _fill(module: nn.Module, generator: torch.Generator, gain: float) -> None:
    """Draw every weight of one leaf module; the same draws in the same order for the same seed."""

    def uniform(tensor: Tensor | None, low: float, high: float) -> None:
        if tensor is not None:
            tensor.uniform_(low, high, generator=generator)

    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        fan_in = module.weight[0].numel()
        # Variance 2 / fan-in keeps the scale through ReLUs.
        module.weight.normal_(0.0, gain * (2.0 / fan_in) ** 0.5, generator=generator)
        uniform(module.bias, -0.1, 0.1)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        uniform(module.weight, 0.5, 1.5)
        uniform(module.bias, -0.3, 0.5)
        uniform(module.running_mean, -0.2, 0.6)
        uniform(module.running_var, 0.3, 1.5)
        assert module.num_batches_tracked is not None
        module.num_batches_tracked.fill_(1)


def build(name: str, length: int | None = None, seed: int = 0, *, width: float = 1.0) -> nn.Module:
    """Make a model of the zoo.

    Parameters
    ----------
    name : str
        See `architecture`.
    length : int, optional
        Letters L; the paper's own by default.
    seed : int
        Seed of the weights. The global random state is neither read nor changed.
    width : float
        Factor on the number of channels, for quick tests; 1 is the paper's size.

    Returns
    -------
    nn.Module
        In eval mode, float32, on the CPU, parameters without gradients; takes one-hot (N, 4, L).

    Raises
    ------
    UsageError
        There is no such model, or the length is too short for it.
    """
    found = architecture(name)
    length = found.length if length is None else length
    try:
        with torch.device("meta"):
            model = found.make(length, width)
            model.eval()(torch.empty(2, 4, length))
    except (RuntimeError, ValueError) as error:
        hint = f"its paper uses {found.length}"
        raise UsageError(name, f"length {length} is too short for this model", hint) from error
    model = model.to_empty(device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        gains = getattr(model, "gains", {})
        for part, module in model.named_modules():
            _fill(module, generator, gains.get(part.split(".")[0], 1.0))
    return model


def script(model: nn.Module, length: int, *, trace: bool = False) -> torch.jit.ScriptModule:
    """The model as TorchScript, scripted, or traced on one-hot (2, 4, L)."""
    with warnings.catch_warnings(), torch.no_grad():
        # TorchScript is what the tool reads; torch warns of its age at every use.
        warnings.simplefilter("ignore", DeprecationWarning)
        if not trace:
            return torch.jit.script(model)
        codes = torch.arange(2 * length).reshape(2, length) % 4
        example = F.one_hot(codes, 4).transpose(1, 2).float().contiguous()
        return torch.jit.trace(model, example, check_trace=False)


def save(
    name: str,
    path: str | os.PathLike[str],
    *,
    length: int | None = None,
    seed: int = 0,
    width: float = 1.0,
    trace: bool = False,
) -> Path:
    """Build a model, see `build`, and write it as TorchScript, scripted or traced; its path.

    Raises
    ------
    OutputError
        The file cannot be written; it appears whole or not at all.
    """
    path = Path(path)
    length = architecture(name).length if length is None else length
    program = script(build(name, length, seed, width=width), length, trace=trace)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            program.save(str(temporary))
    return path
