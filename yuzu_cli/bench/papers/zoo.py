"""Models to benchmark and test on: architectures of papers, with weights from a seed.

Random weights show a mistake sooner than trained, correlated ones. Batch norms get running
statistics that are not the identity, and scales are such that activations stay alive and effects do
not vanish. Only torch is needed. Nothing here may know how scores are computed.

One command writes a model as TorchScript::

    python -m yuzu_cli.bench.papers.zoo basset -l 1000 -o basset.pt
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yuzu_cli.bench.papers.networks import BPNet, Chain, ResidualAITAC
from yuzu_cli.errors import UsageError, YuzuError

RECIPES = {
    "onelayer": "64x7",
    "toynet": "32x7 relu 32x7 relu =2x7",
    "deepsea": "320x8v relu! pool4 drop0.2 480x8v relu! pool4 drop0.2 960x8v relu! drop0.5 "
    "flat 925 relu! 919 sigmoid",
    "basset": "300x19 relu norm pool3 200x11 relu norm pool4 200x7 relu norm pool4 "
    "flat 1000 relu norm 1000 relu norm 164",
    "factorized-basset": "48x3 norm relu 64x3 norm relu 100x3 norm relu 150x7 norm relu "
    "300x7 norm relu pool3 200x7 norm relu 200x3 norm relu 200x3 norm relu pool4 "
    "200x7 norm relu pool4 flat 1000 relu norm 1000 relu norm =1",
    "bpnet4-plain": "64x21 relu 64x3d2 relu 64x3d4 relu 64x3d8 relu 64x3d16 relu =1x75",
    "aitac3": "300x19 relu pool3+1 norm 200x11 relu pool4+1 norm 200x7 relu pool4+1 norm "
    "flat 1000 relu drop0.03 1000 relu drop0.03 =81",
    "aitac8": "300x19 relu norm 200x11 relu norm 200x11 relu norm 200x11 relu norm pool2 "
    + 4 * "200x7 relu norm pool2 "
    + "flat 1000 relu 1000 relu 1000 relu =81",
    # As they were timed, in the papers' repositories.
    "deepsea-padded": "320x9 relu pool4 480x9 relu pool4 960x9 relu flat 925 sigmoid",
    "basset-scalar": "300x19 relu norm pool3 200x11 relu norm pool4 200x7 relu norm pool4 "
    "flat 1000 relu norm 1000 relu norm =1",
    "bpnet3-plain": "64x21 relu 64x3d2 relu 64x3d4 relu 64x3d8 relu =1x75",
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model of the zoo.

    Attributes
    ----------
    make : callable
        ``(length, width) -> nn.Module`` with meaningless weights.
    length : int
        Letters its paper gives it; any length that survives the pooling works.
    about : str
        One line for help and reports.
    """

    make: Callable[[int, float], nn.Module]
    length: int
    about: str


def _chain(name: str, length: int, about: str) -> Architecture:
    return Architecture(partial(Chain, RECIPES[name]), length, about)


def _bpnet(length: int, about: str, **sizes: float) -> Architecture:
    return Architecture(
        lambda letters, width: BPNet(letters, width, **sizes),  # type: ignore[arg-type]
        length,
        about,
    )


POOLS = {250: (2, 2), 500: (3, 2), 1000: (2, 3), 2000: (4, 3), 5000: (3, 4), 10000: (3, 5)}
"""Pools of the deep AI-TAC by length, the first and the others."""


def _timed_aitac(length: int, width: float) -> nn.Module:
    """AI-TAC with pools that grow with the length, one output: 3, 4, 4 at 250, 5, 6, 6 at 1000."""
    pool = next(n for n in range(4, 99) if length // ((n - 1) * n * n) <= 5)
    body = f"300x19 relu norm pool{pool - 1} 200x11 relu norm pool{pool} 200x7 relu norm pool{pool}"
    return Chain(f"{body} flat 1000 relu 1000 relu =1", length, width)


def _timed_deep_aitac(length: int, width: float) -> nn.Module:
    """The same with eight convolutions."""
    first, other = POOLS[max((n for n in POOLS if n <= length), default=250)]
    if length >= 20000:
        first, other = 3, 6
    body = "300x19 relu norm " + 3 * "200x11 relu norm " + f"pool{first} "
    body += 4 * f"200x7 relu norm pool{other} "
    return Chain(f"{body}flat 1000 relu 1000 relu 1000 relu =1", length, width)


ZOO: dict[str, Architecture] = {
    "onelayer": _chain("onelayer", 1000, "one convolution (Yuzu)"),
    "toynet": _chain("toynet", 1000, "three convolutions (Yuzu)"),
    "deepsea": _chain("deepsea", 1000, "DeepSEA, 919 targets"),
    "basset": _chain("basset", 1000, "Basset, 164 targets"),
    "factorized-basset": _chain("factorized-basset", 1000, "Factorized Basset, 9 convolutions"),
    "bpnet4": _bpnet(1000, "BPNet, 4 dilated layers", layers=4),
    "bpnet4-plain": _chain("bpnet4-plain", 1000, "BPNet without skips, 4 dilated layers"),
    "bpnet9": _bpnet(
        2114, "BPNet, 9 dilated layers, 2114 letters to a profile of 1000", trim=557 / 2114
    ),
    "aitac3": _chain("aitac3", 251, "AI-TAC, 3 convolutions, 81 targets"),
    "aitac3-image": Architecture(
        partial(Chain, RECIPES["aitac3"], image=True), 251, "AI-TAC as 2-D convolutions"
    ),
    "aitac8": _chain("aitac8", 251, "AI-TAC, 8 convolutions"),
    "aitac-residual": Architecture(ResidualAITAC, 251, "residual AI-TAC (TISM), both strands"),
}
"""Published models, which the tests of the backends run over."""

TIMED: dict[str, Architecture] = {
    "deepsea-padded": _chain("deepsea-padded", 1000, "DeepSEA as Yuzu was timed on it"),
    "bpnet3-plain": _chain("bpnet3-plain", 1000, "BPNet as Yuzu was timed on it: no skips"),
    "factorized-basset-164": Architecture(
        partial(Chain, RECIPES["factorized-basset"].replace("=1", "164")),
        1000,
        "Factorized Basset, 164 targets (Yuzu)",
    ),
    "basset-scalar": _chain("basset-scalar", 1000, "Basset with one target (fastISM)"),
    "bpnet9-untrimmed": _bpnet(
        1000,
        "BPNet as fastISM was timed on it: kernels 25, dilations 1 to 256, untrimmed",
        start=0,
        kernel=25,
        profile=25,
        tracks=1,
    ),
    "aitac3-timed": Architecture(_timed_aitac, 1000, "AI-TAC as TISM was timed on it"),
    "aitac8-timed": Architecture(_timed_deep_aitac, 1000, "deep AI-TAC as TISM was timed on it"),
}
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
        return Architecture(partial(Chain, recipe), 1000, f"two convolutions, {match[0]}")
    known = ZOO | TIMED

    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    for key, found in known.items():
        if plain(key) == plain(name):
            return found
    raise UsageError("zoo", f"no model {name!r}", "one of " + ", ".join(known))


def _fill(module: nn.Module, generator: torch.Generator, gain: float) -> None:
    """Draw every weight of one leaf module; the same draws in the same order for the same seed."""

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.uniform_(low, high, generator=generator)

    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        fan_in = module.weight[0].numel()
        # Variance 2 / fan-in keeps the scale through ReLUs.
        module.weight.normal_(0.0, gain * (2.0 / fan_in) ** 0.5, generator=generator)
        if module.bias is not None:
            uniform(module.bias, -0.1, 0.1)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        assert module.running_mean is not None
        assert module.running_var is not None
        assert module.num_batches_tracked is not None
        uniform(module.weight, 0.5, 1.5)
        uniform(module.bias, -0.3, 0.5)
        uniform(module.running_mean, -0.2, 0.6)
        uniform(module.running_var, 0.3, 1.5)
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
    """Build a model and write it as TorchScript; the file appears whole or not at all.

    Parameters
    ----------
    name, length, seed, width
        See `build`.
    path : path
        The file to write; replaced if it is there.
    trace : bool
        Trace instead of script.

    Returns
    -------
    Path
        The file.
    """
    path = Path(path)
    length = architecture(name).length if length is None else length
    program = script(build(name, length, seed, width=width), length, trace=trace)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        program.save(str(partial))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m yuzu_cli.bench.papers.zoo``: write one model."""
    parser = argparse.ArgumentParser(
        prog="python -m yuzu_cli.bench.papers.zoo",
        description="Write a model of the literature, with random weights, as TorchScript.",
        epilog="models:\n"
        + "\n".join(f"  {k:<22} {a.length:>5}  {a.about}" for k, a in (ZOO | TIMED).items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="a model of the list below")
    parser.add_argument("-o", "--output", required=True, help="the file")
    parser.add_argument("-l", "--length", type=int, help="letters (default: the paper's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default 0)")
    parser.add_argument("--width", type=float, default=1.0, help="factor on channels (default 1)")
    parser.add_argument("--trace", action="store_true", help="trace instead of script")
    given = parser.parse_args(arguments)
    sizes = {"length": given.length, "seed": given.seed, "width": given.width}
    try:
        print(save(given.name, given.output, trace=given.trace, **sizes))
    except YuzuError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error.filename or given.output}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
