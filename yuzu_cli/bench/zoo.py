"""Models to benchmark and test on: architectures of papers, with weights from a seed.

Random weights show a mistake sooner than trained, correlated ones. Batch norms get running
statistics that are not the identity, and scales are such that activations stay alive and effects do
not vanish. Only torch is needed. Nothing here may know how scores are computed.

One command writes a model as TorchScript::

    python -m yuzu_cli.bench.zoo basset -l 1000 -o basset.pt
    python -m yuzu_cli.bench.zoo all -o models/
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yuzu_cli.bench.architectures import (
    AITAC,
    Basset,
    BPNet,
    DeepAITAC,
    DeepSEA,
    FactorizedBasset,
    OneLayer,
    PlainBPNet,
    ResidualAITAC,
    ToyNet,
)
from yuzu_cli.errors import UsageError, YuzuError


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


ZOO: dict[str, Architecture] = {
    "onelayer": Architecture(OneLayer, 1000, "one convolution (Yuzu)"),
    "toynet": Architecture(ToyNet, 1000, "three convolutions (Yuzu)"),
    "deepsea": Architecture(DeepSEA, 1000, "DeepSEA, 919 targets"),
    "basset": Architecture(Basset, 1000, "Basset, 164 targets"),
    "factorized-basset": Architecture(FactorizedBasset, 1000, "Factorized Basset, 9 convolutions"),
    "bpnet4": Architecture(
        lambda length, width: BPNet(length, width, layers=4), 1000, "BPNet, 4 dilated layers"
    ),
    "bpnet4-plain": Architecture(PlainBPNet, 1000, "BPNet without skips, 4 dilated layers (Yuzu)"),
    "bpnet9": Architecture(
        lambda length, width: BPNet(length, width, layers=9, trim=557 / 2114),
        2114,
        "BPNet, 9 dilated layers, 2114 letters to a profile of 1000",
    ),
    "aitac3": Architecture(AITAC, 251, "AI-TAC, 3 convolutions, 81 targets"),
    "aitac3-image": Architecture(
        lambda length, width: AITAC(length, width, image=True), 251, "AI-TAC as 2-D convolutions"
    ),
    "aitac8": Architecture(DeepAITAC, 251, "AI-TAC, 8 convolutions"),
    "aitac-residual": Architecture(ResidualAITAC, 251, "residual AI-TAC (TISM), both strands"),
}


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
        A key of `ZOO`; case, ``_`` and ``-`` do not matter.
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
    architecture = ZOO[_key(name)]
    length = architecture.length if length is None else length
    try:
        with torch.device("meta"):
            model = architecture.make(length, width)
            model.eval()(torch.empty(2, 4, length))
    except (RuntimeError, ValueError) as error:
        hint = f"its paper uses {architecture.length}"
        raise UsageError(name, f"length {length} is too short for this model", hint) from error
    model = model.to_empty(device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        gains = getattr(model, "gains", {})
        for part, module in model.named_modules():
            _fill(module, generator, gains.get(part.split(".")[0], 1.0))
    return model


def _key(name: str) -> str:
    """The key of `ZOO` that is meant."""

    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    for key in ZOO:
        if plain(key) == plain(name):
            return key
    raise UsageError("zoo", f"no model {name!r}", "one of " + ", ".join(ZOO))


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
    length = ZOO[_key(name)].length if length is None else length
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
    """``python -m yuzu_cli.bench.zoo``: write one model, or all of them into a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m yuzu_cli.bench.zoo",
        description="Write a model of the literature, with random weights, as TorchScript.",
        epilog="models:\n"
        + "\n".join(f"  {k:<18} {a.length:>5}  {a.about}" for k, a in ZOO.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="a model of the list below, or all")
    parser.add_argument("-o", "--output", required=True, help="the file; for all, a folder")
    parser.add_argument("-l", "--length", type=int, help="letters (default: the paper's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default 0)")
    parser.add_argument("--width", type=float, default=1.0, help="factor on channels (default 1)")
    parser.add_argument("--trace", action="store_true", help="trace instead of script")
    options = parser.parse_args(arguments)
    every = options.name.lower() == "all"
    try:
        for name in ZOO if every else (options.name,):
            path = Path(options.output) / f"{name}.pt" if every else Path(options.output)
            save(
                name,
                path,
                length=options.length,
                seed=options.seed,
                width=options.width,
                trace=options.trace,
            )
            print(path)
    except YuzuError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error.filename or options.output}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
