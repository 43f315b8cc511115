"""Other tools, measured beside this one where they are installed: mutagenesis and gradient methods.

Each is used as its documentation says, on the plain network where it needs that. Nothing of them is
imported before it is asked for. What one cannot do is said in its row, in its own words.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from yuzu_cli.backends.passes import one_hot, pass_rows, row_cost
from yuzu_cli.bench.chain import Rows, layers
from yuzu_cli.bench.clock import NAN, timed
from yuzu_cli.bench.machine import version_of
from yuzu_cli.bench.methods import ESTIMATE, EXACT, OTHER, CannotRun, Found, Method
from yuzu_cli.bench.report import size
from yuzu_cli.bench.subject import Subject
from yuzu_cli.errors import UsageError


def _import(module: str, package: str) -> Any:
    """A peer's module; its own complaints when it is imported are not ours.

    Raises
    ------
    CannotRun
        It is not installed, or will not load.
    """
    if version_of(package) is None:
        raise CannotRun(f"{package} is not installed; pip install 'yuzu-cli[peers]'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(module)
    except Exception as error:  # whatever it raises is its result
        raise CannotRun(f"{package} cannot be imported: {error}") from error


class Peer:
    """What the peers share: the sequences as one-hot, and no counted work."""

    name = ""
    claim = EXACT

    def prepare(self, subject: Subject) -> None:
        """Remember the case."""
        self.subject = subject
        self.count = len(subject.codes)
        x = one_hot(subject.codes, subject.model, subject.settings)
        self.x: torch.Tensor = x.to(subject.device)

    def network(self) -> nn.Module:
        """The network as its own tool would have it, else as this one loads it."""
        subject = self.subject
        if subject.module is None:
            return subject.model
        module = copy.deepcopy(subject.module).to(subject.device, subject.settings.dtype)
        return Rows(module).eval()

    def check(self) -> Found | None:
        """Nothing to compare."""
        return None

    def plan(self, seconds: float) -> float:
        """As many sequences as there is time for."""
        self.count = 1
        typical = timed(self.run, self.subject.device).wall
        self.count = max(1, min(len(self.x), int(seconds / max(typical, 1e-9))))
        return self.count / len(self.x)

    def run(self) -> None:
        """Do it, quietly."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.compute(self.x[: self.count])

    def compute(self, x: torch.Tensor) -> Any:
        """The method itself on one-hot sequences (N, A, L)."""
        raise NotImplementedError

    def macs(self) -> float:
        """Unknown."""
        return NAN


class Tangermeme(Peer):
    """`tangermeme.saturation_mutagenesis`: every mutant through the network, in passes.

    Costs the same at every position, so it is run on the first ones only when there is little time.
    """

    name = "tangermeme"
    claim = EXACT

    def prepare(self, subject: Subject) -> None:
        """Import it; passes as large as those of naive."""
        super().prepare(subject)
        self.tool = _import("tangermeme.saturation_mutagenesis", "tangermeme")
        self.model = self.network()
        cost, _ = row_cost(subject.model, subject.settings)
        self.rows = pass_rows(subject.model, subject.settings, cost)
        self.end = subject.case.length

    def compute(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs of the sequences, and of the mutants (N, A, M, T)."""
        return self.tool.saturation_mutagenesis(
            self.model,
            x,
            start=0,
            end=self.end,
            batch_size=self.rows,
            raw_outputs=True,
            device=str(self.subject.device),
        )

    def check(self) -> Found:
        """Of as many positions as eight passes hold."""
        truth, letters = self.subject.truth, self.subject.model.alphabet_size
        length = self.subject.case.length
        self.end = min(length, max(2, 8 * self.rows // letters))
        reference, mutants = self.compute(self.x[: len(truth.codes)])
        letter = (truth.index % letters).cpu()
        position = (truth.index // letters % length).cpu()
        sequence = (truth.index // (letters * length)).cpu()
        seen = (position < self.end).numpy()
        if not seen.any():
            seen[0], position[0] = True, 0  # the first mutant is at position 0
        delta = mutants[sequence[seen], letter[seen], position[seen]] - reference[sequence[seen]]
        return Found("delta", delta.float().cpu().numpy(), seen)

    def plan(self, seconds: float) -> float:
        """One sequence and some positions of it, or all of it and others."""
        length = self.subject.case.length
        self.count = 1
        typical = timed(self.run, self.subject.device).wall / self.end
        positions = max(seconds / typical, 2.0)
        if positions < length:
            self.end = int(positions)
            return self.end / (length * len(self.x))
        self.end = length
        self.count = max(1, min(len(self.x), int(positions / length)))
        return self.count / len(self.x)


class PublishedYuzu(Peer):
    """`yuzu-ism`: compressed sensing, with its own search for alpha; returns the l2 score."""

    name = "yuzu-ism"
    claim = ESTIMATE
    kept: tuple[tuple[Any, ...], Any] | None = None  # its precomputation takes minutes

    def prepare(self, subject: Subject) -> None:
        """Make the list of layers it wants, and precompute unless that was just done."""
        super().prepare(subject)
        tool = _import("yuzu", "yuzu-ism")
        models = _import("yuzu.models", "yuzu-ism")
        if subject.module is None:
            raise CannotRun("a model file has no list of layers")
        length = subject.case.length
        chain = layers(subject.module, length, subject.model.alphabet_size)
        _refuse_what_is_too_large(chain, length)
        self.tool = tool
        self.model = _permuted(chain, length, models.Flatten).to(subject.device)
        case = subject.case
        key = (case.model, length, case.width, case.seed, str(subject.device))
        if PublishedYuzu.kept is None or PublishedYuzu.kept[0] != key:
            PublishedYuzu.kept = None
            torch.manual_seed(case.seed)
            made = tool.precompute(
                self.model, length, device=subject.device.type, random_state=case.seed
            )
            PublishedYuzu.kept = (key, made)
        self.made = PublishedYuzu.kept[1]

    def compute(self, x: torch.Tensor) -> np.ndarray:
        """The l2 score (N, A, L)."""
        rows = x.float().cpu().numpy()
        return self.tool.yuzu_ism(self.model, rows, self.made, device=self.subject.device.type)

    def check(self) -> Found:
        """Its l2 scores of the mutants of the truth."""
        truth, letters = self.subject.truth, self.subject.model.alphabet_size
        length = self.subject.case.length
        table = self.compute(self.x[: len(truth.codes)])
        index = truth.index.cpu().numpy()
        values = table[index // (letters * length), index % letters, index // letters % length]
        return Found("l2", values)


def _permuted(chain: list[nn.Module], length: int, flatten: type[nn.Module]) -> nn.Sequential:
    """Copies of the layers, flattened position by position, dense weights in that order."""
    made: list[nn.Module] = []
    y = torch.zeros(2, 4, length)
    shape: tuple[int, int] | None = None
    for layer in chain:
        if isinstance(layer, nn.Flatten):
            shape = (y.shape[1], y.shape[2])
            made.append(flatten())
        else:
            made.append(copy.deepcopy(layer))
            if isinstance(layer, nn.Linear) and shape:
                weight = layer.weight.data.unflatten(1, shape).transpose(1, 2).flatten(1)
                made[-1].weight = nn.Parameter(weight.contiguous(), requires_grad=False)
                shape = None
        y = layer(y)
    return nn.Sequential(*made).eval()


def _refuse_what_is_too_large(chain: list[nn.Module], length: int) -> None:
    """Its decoders grow as positions times the square of mutants at a position."""
    seen, stride, most, y = 1, 1, 0.0, torch.zeros(2, 4, length)
    for layer in chain:
        y = layer(y)
        if isinstance(layer, nn.Conv1d):
            seen += (layer.kernel_size[0] - 1) * layer.dilation[0] * stride  # type: ignore[operator]
            most += 4 * 4.0 * y.shape[2] * (3 * min(seen, length)) ** 2
        elif isinstance(layer, (nn.MaxPool1d, nn.AvgPool1d)):
            kernel = layer.kernel_size
            stride *= kernel if isinstance(kernel, int) else kernel[0]
    free = _free_memory()
    if most > 0.6 * free:
        raise CannotRun(
            f"its precomputation would take about {size(most)}, and {size(free)} are free"
        )


def _free_memory() -> float:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    return float("inf")


class _Total(nn.Module):
    """Sum of all outputs of a network, (N,): what gradient methods explain here."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x).sum(1)


class Captum(Peer):
    """A method of captum on the sum of the outputs: another quantity, so only its time is shown."""

    claim = OTHER

    def __init__(self, name: str, method: str, options: dict[str, Any] | None = None) -> None:
        self.name, self.method, self.options = name, method, options or {}

    def prepare(self, subject: Subject) -> None:
        """Import it and hand it the network."""
        super().prepare(subject)
        attr = _import("captum.attr", "captum")
        model = _Total(self.network())
        if self.method in ("IntegratedGradients", "InputXGradient"):
            self.tool = getattr(attr, self.method)(model.forward)
        else:
            self.tool = getattr(attr, self.method)(model)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Attributions of every letter."""
        with torch.enable_grad():
            return self.tool.attribute(x.clone().requires_grad_(), **self.options)

    def plan(self, seconds: float) -> float:
        """All sequences: gradients are quick."""
        self.run()
        return 1.0


class CaptumAblation(Peer):
    """Mutagenesis as captum has it: `FeatureAblation` by position, once for each other letter.

    Every position is replaced in turn by the letter that comes one, two, three places later.
    """

    name = "captum"
    claim = EXACT

    def prepare(self, subject: Subject) -> None:
        """Import it; as many positions a pass as naive has mutants."""
        super().prepare(subject)
        attr = _import("captum.attr", "captum")
        self.tool = attr.FeatureAblation(_Total(self.network()))
        cost, _ = row_cost(subject.model, subject.settings)
        self.rows = pass_rows(subject.model, subject.settings, cost)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Effects on the sum of the outputs, (A - 1, N, L)."""
        mask = torch.arange(x.shape[2], device=x.device).expand(1, x.shape[1], -1)
        turns = [x.roll(turn, dims=1) for turn in range(1, x.shape[1])]
        with torch.no_grad():
            found = [
                self.tool.attribute(
                    x, baselines=turn, feature_mask=mask, perturbations_per_eval=self.rows
                )[:, 0]
                for turn in turns
            ]
        return -torch.stack(found)

    def check(self) -> Found:
        """Effects on the sum of the outputs of one sequence."""
        truth, letters = self.subject.truth, self.subject.model.alphabet_size
        length = self.subject.case.length
        index = truth.index.cpu()
        seen = index < letters * length
        index = index[seen]
        table = self.compute(self.x[:1])[:, 0].cpu()
        position = index // letters % length
        old = truth.codes[0].cpu().long()[position]
        turn = (index % letters - old) % letters
        return Found("sum", table[turn - 1, position].float().numpy(), seen.numpy())


PEERS: dict[str, Callable[[], Method]] = {
    "tangermeme": Tangermeme,
    "yuzu-ism": PublishedYuzu,
    "captum": CaptumAblation,
    "gradient-x-input": lambda: Captum("gradient-x-input", "InputXGradient"),
    "integrated-gradients": lambda: Captum(
        "integrated-gradients", "IntegratedGradients", {"n_steps": 50, "internal_batch_size": 16}
    ),
    "deeplift": lambda: Captum("deeplift", "DeepLift"),
}
"""Name -> what makes the method; fastISM, which needs an environment, is in `fastism`."""


def peer_method(name: str, fastism_python: str | None) -> Method:
    """The method of a peer.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    if name == "fastism":
        from yuzu_cli.bench.fastism import FastISM

        return FastISM(fastism_python)
    if name not in PEERS:
        known = ", ".join([*PEERS, "fastism"])
        raise UsageError("--peers", f"no peer {name!r}", f"one of {known}, or none")
    return PEERS[name]()
