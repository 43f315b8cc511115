"""The published Yuzu beside this tool, on networks that are lists of layers."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from yuzu_cli.bench.methods import ESTIMATE, CannotRun, Found
from yuzu_cli.bench.peers.base import Peer, import_peer
from yuzu_cli.bench.peers.chain import layers
from yuzu_cli.bench.report import size
from yuzu_cli.bench.subject import Subject

NOTE = (
    "as published it multiplies by memory that was never set, and may return NaN near the ends; "
    "here that memory is zero"
)


SECONDS, PATIENCE = 3e-8, 600.0
"""Of its precomputation, per position and cube of mutants; and what is waited for, at most.

TISM's authors report 145 s for AI-TAC and 1,445 s for the deep one, at 1,000 letters on a CPU.
"""


class PublishedYuzu(Peer):
    """`yuzu-ism`: compressed sensing, with its own search for alpha; returns the l2 score."""

    name = "yuzu-ism"
    claim = ESTIMATE
    greedy = True  # its decoders: 12 GB for a DeepSEA
    kept: tuple[tuple[Any, ...], Any] | None = None  # its precomputation takes minutes

    def prepare(self, subject: Subject) -> None:
        """Make the list of layers it wants, and precompute unless that was just done."""
        super().prepare(subject)
        tool = import_peer("yuzu", "yuzu-ism")
        models = import_peer("yuzu.models", "yuzu-ism")
        if subject.module is None:
            raise CannotRun("a model file has no list of layers")
        if len(subject.positions) != subject.case.length:
            raise CannotRun("mutates every position")
        length = subject.case.length
        chain = layers(subject.module, length, subject.model.alphabet_size)
        _refuse_what_is_too_large(chain, length)
        self.tool, self.at_a_time = tool, 1
        self.model = _permuted(chain, length, models.Flatten).to(subject.device)
        case = subject.case
        key = (case.model, length, case.width, case.seed, str(subject.device))
        if PublishedYuzu.kept is None or PublishedYuzu.kept[0] != key:
            PublishedYuzu.kept = None
            torch.manual_seed(case.seed)
            with _nothing_unset(import_peer("yuzu.precompute", "yuzu-ism")):
                made = tool.precompute(
                    self.model, length, device=subject.device.type, random_state=case.seed
                )
            PublishedYuzu.kept = (key, made)
        self.made = PublishedYuzu.kept[1]

    def facts(self) -> dict[str, Any]:
        """The alpha that its search ended at; probes by layer."""
        convolutions = [made is not False for made in self.made.As]
        probes = [n for n, is_one in zip(self.made.n_probes, convolutions, strict=True) if is_one]
        return {"alpha": float(self.made.alpha), "probes": [int(n) for n in probes], "note": NOTE}

    def compute(self, x: torch.Tensor) -> np.ndarray:
        """The l2 score (N, A, L)."""
        rows = x.float().cpu().numpy()
        device = self.subject.device.type
        return self.tool.yuzu_ism(
            self.model, rows, self.made, batch_size=self.at_a_time, device=device
        )

    def check(self) -> Found:
        """Its l2 scores of the mutants of the truth."""
        truth = self.subject.truth
        table = self.compute(self.x[: len(truth.codes)])
        return Found("l2", table[truth.sequence, truth.letter, truth.position])

    def plan(self, seconds: float) -> float:
        """One sequence at a time, or as many as the case has, whichever is quicker."""

        def took(count: int) -> float:
            self.at_a_time = count
            return self.took(count)

        counts = (1, min(len(self.x), self.subject.batch))
        self.at_a_time = self.at_once(counts, seconds, took)
        wanted = int(seconds / self.tried[self.at_a_time])
        self.count = max(self.at_a_time, min(len(self.x), wanted))
        return self.count / len(self.subject.codes)


class _Zeroed:
    """`torch`, but for `empty`, which gives zeros."""

    empty = staticmethod(torch.zeros)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextlib.contextmanager
def _nothing_unset(module: Any) -> Iterator[None]:
    """Within it the module's `torch.empty` gives zeros.

    At the ends of a sequence fewer mutants meet than `precompute_alpha` makes room for, and the
    rest of its sensing matrices stays as the memory was. It is multiplied by zeros, which is
    harmless until a NaN or an infinity lies there: then scores near the ends are NaN, and no alpha
    satisfies the search.
    """
    before = module.torch
    module.torch = _Zeroed()
    try:
        yield
    finally:
        module.torch = before


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
    """Its decoders grow as positions times the square of mutants at a position; the time to make
    them, as the cube.
    """
    seen, stride, most, work, y = 1, 1, 0.0, 0.0, torch.zeros(2, 4, length)
    for layer in chain:
        y = layer(y)
        if isinstance(layer, nn.Conv1d):
            seen += (layer.kernel_size[0] - 1) * layer.dilation[0] * stride
            meet = 3.0 * min(seen, length)
            most += 4 * 4.0 * y.shape[2] * meet**2
            work += y.shape[2] * meet**3
        elif isinstance(layer, (nn.MaxPool1d, nn.AvgPool1d)):
            kernel = layer.kernel_size
            stride *= kernel if isinstance(kernel, int) else kernel[0]
    free = _free_memory()
    if most > 0.6 * free:
        raise CannotRun(
            f"its precomputation would take about {size(most)}, and {size(free)} are free"
        )
    if work * SECONDS > PATIENCE:
        raise CannotRun(f"its precomputation would take about {work * SECONDS / 60:.0f} minutes")


def _free_memory() -> float:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    return float("inf")
