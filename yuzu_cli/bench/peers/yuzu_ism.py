"""The published Yuzu beside this tool, on networks that are lists of layers."""

from __future__ import annotations

import contextlib
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from yuzu_cli.bench.clock import bytes_of
from yuzu_cli.bench.methods import ESTIMATE, CannotRun, Found
from yuzu_cli.bench.peers.base import Peer, import_peer
from yuzu_cli.bench.peers.chain import by_position, layers
from yuzu_cli.bench.subject import Subject
from yuzu_cli.files import size_text

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
        self.tool, self.counts = tool, (1, min(len(self.x), subject.batch))
        self.model = _permuted(chain, length, models.Flatten).to(subject.device)
        self.made = self._precomputed()

    def _precomputed(self) -> Any:
        """What it needs to know of the model, kept for the next case of the same."""
        case, device = self.subject.case, self.subject.device
        key = (case.model, case.length, case.width, case.seed, str(device))
        if PublishedYuzu.kept is None or PublishedYuzu.kept[0] != key:
            PublishedYuzu.kept = None
            torch.manual_seed(case.seed)
            with _nothing_unset(import_peer("yuzu.precompute", "yuzu-ism")):
                made = self.tool.precompute(
                    self.model, case.length, device=device.type, random_state=case.seed
                )
            PublishedYuzu.kept = (key, made)
        return PublishedYuzu.kept[1]

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


class _Zeroed:
    """`torch`, but for `empty`, which gives zeros."""

    empty = staticmethod(torch.zeros)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def _nothing_unset(module: Any) -> contextlib.AbstractContextManager[Any]:
    """Within it the module's `torch.empty` gives zeros.

    At the ends of a sequence fewer mutants meet than `precompute_alpha` makes room for, and the
    rest of its sensing matrices stays as the memory was. It is multiplied by zeros, which is
    harmless until a NaN or an infinity lies there: then scores near the ends are NaN, and no alpha
    satisfies the search.
    """
    return mock.patch.object(module, "torch", _Zeroed())


def _permuted(chain: list[nn.Module], length: int, flatten: type[nn.Module]) -> nn.Sequential:
    """Copies of the layers, flattened position by position, dense weights in that order."""
    made = (layer for layer, _ in by_position(chain, length))
    return nn.Sequential(
        *(flatten() if isinstance(layer, nn.Flatten) else layer for layer in made)
    ).eval()


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
        need = f"{size_text(most)}, and {size_text(free)} are free"
        raise CannotRun(f"its precomputation would take about {need}")
    if work * SECONDS > PATIENCE:
        raise CannotRun(f"its precomputation would take about {work * SECONDS / 60:.0f} minutes")


def _free_memory() -> float:
    return bytes_of("/proc/meminfo", "MemAvailable")
