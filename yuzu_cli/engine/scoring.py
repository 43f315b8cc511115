"""One batch of windows to its reference outputs and scores, within a budget of memory.

Averages over members (models, strands, shifts) are taken of outputs and deltas, before any score
that is not linear. May not: read windows or write results.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from yuzu_cli.backends.passes import PassSize
from yuzu_cli.engine.exact_top import ExactTop, agreement
from yuzu_cli.engine.limits import RESULT_BYTES, chunks
from yuzu_cli.engine.members import Member, Views
from yuzu_cli.engine.net import Net
from yuzu_cli.errors import OutputError
from yuzu_cli.heap import Heap
from yuzu_cli.scores import Accumulator, only_l2


class Stopped(Exception):  # noqa: N818 - not a fault
    """The run was asked to stop; the batch in flight is dropped."""


class Scorer:
    """Scores batches.

    Parameters
    ----------
    members : sequence of Member
        Streams to average.
    views : Views
    positions : ndarray, int64 (M,)
        Mutated positions of the window.
    targets : int
        T.
    save : sequence of str
        Which scores.
    device : torch.device
    dtype : torch.dtype
        Of the scores: float32 or float16.
    budget : int
        Bytes of deltas on the device at one time.
    at_once : int
        Sequences that runners are given at one time, at most.
    should_stop : function
        Asked before every block.
    exact_top : ExactTop, optional
        What makes the largest of some estimates exact.

    Attributes
    ----------
    mended : ndarray, bool (B,)
        Of the latest batch: windows of which naive computed some mutants; see `Net`.
    """

    def __init__(
        self,
        members: Sequence[Member],
        views: Views,
        positions: np.ndarray,
        targets: int,
        save: Sequence[str],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        budget: int = RESULT_BYTES,
        at_once: int = 4096,
        should_stop: Callable[[], bool] = lambda: False,
        exact_top: ExactTop | None = None,
    ) -> None:
        self.members, self.views, self.positions = tuple(members), views, positions
        self.targets, self.save, self.device, self.dtype = targets, tuple(save), device, dtype
        self.should_stop, self.exact_top = should_stop, exact_top
        plain = only_l2(save) and len(self.members) == 1 and exact_top is None
        width = len(positions) * views.size * 4
        sequences, self.step = chunks(
            sequence_bytes=width * (1 if plain else targets),
            positions=len(positions),
            budget=budget,
        )
        self.size = PassSize(min(sequences, at_once), unit="sequences")
        self.nets = [m.runner for m in self.members if isinstance(m.runner, Net)]
        self._trusting = bool(self.nets) and device.type == "cuda"
        self._where: dict[int, torch.Tensor] = {}
        self._seen: dict[int, torch.Tensor] = {}
        self._heap = Heap()
        self._reference = torch.empty(0)
        self.mended = np.zeros(0, dtype=bool)

    def score(self, wide: np.ndarray) -> dict[str, np.ndarray]:
        """Reference outputs and scores of a batch.

        Parameters
        ----------
        wide : ndarray, uint8 (B, L + 2 * flank)
            Codes of the windows with their flanks.

        Returns
        -------
        dict of array
            "reference" float32 (B, T), and the scores by name; where some of them are made exact,
            "exact" bool (B, T, A, M) and how far off the others are, by path.

        Raises
        ------
        Stopped
            `should_stop` said so.
        """
        parts = list(self.size.pieces(self._chunk, torch.as_tensor(wide)))
        found = parts[0]
        if len(parts) > 1:
            found = {name: np.concatenate([part[name] for part in parts]) for name in found}
        self.mended = found.pop("mended")
        return found

    def _chunk(self, wide: torch.Tensor) -> dict[str, np.ndarray]:
        """Scores of some sequences.

        On a GPU nobody looks at numbers before they are fetched. Where some were not finite, all is
        done again with every block looked at, and so it is for the rest of the run.
        """
        wide = wide.to(self.device)
        if self._trusting:
            with contextlib.suppress(OutputError):  # what is mended may have none
                found = self._scored(wide)
                if not found.pop("doubt").any():
                    return found
            self._trusting = False
        found = self._scored(wide)
        del found["doubt"]
        return found

    def _scored(self, wide: torch.Tensor) -> dict[str, np.ndarray]:
        for net in self.nets:
            net.trusting = self._trusting
        slices = []
        for start in range(0, len(self.positions), self.step):
            slices.append(self._slice(wide, start))
        result = {"reference": slices[0].pop("reference")}
        for name in ("mended", "doubt"):
            result[name] = np.logical_or.reduce([part.pop(name) for part in slices])
        if self.exact_top is not None:
            result |= agreement([part.pop("recomputed") for part in slices])
            masks = [part.pop("exact") for part in slices]
            result["exact"] = np.concatenate(masks, axis=-1)
        for name in self.save:
            arrays = [part[name] for part in slices]
            result[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)
        return result

    def _slice(self, wide: torch.Tensor, start: int) -> dict[str, Any]:
        """Scores at some of the positions, and what belongs to the sequences."""
        positions = self.positions[start : start + self.step]
        first, count = start == 0, len(self.members)
        if start not in self._where:
            where = torch.as_tensor(positions + self.views.flank)
            self._where[start] = where.to(self.device)
        where = self._where[start]
        size, keep = self.views.size, self.exact_top is not None
        scores = Accumulator(self.save, wide[:, where], self.targets, size, count, keep)
        if first or count > 1:
            self._reference = torch.zeros(len(wide), self.targets, device=self.device)
        mended = torch.zeros(len(wide), dtype=torch.bool, device=self.device)
        for number, member in enumerate(self.members):
            if first or count > 1:
                self._seen[number] = self.views.codes(member, wide)
                outputs = member.runner.reference(self._seen[number])
                self._reference += outputs / count
            self._stream(member, self._seen[number], positions, scores)
            if isinstance(member.runner, Net):
                mended |= member.runner.mended
        more: dict[str, Any] = {}
        if self.exact_top is not None:
            assert scores.delta is not None
            found = more["recomputed"] = self.exact_top(scores.delta, wide, positions)
            mended |= found.mended
            mask = found.exact.view(len(wide), 1, len(positions), size).transpose(2, 3)
            more["exact"] = mask.expand(-1, self.targets, -1, -1).cpu().numpy()
        doubt = torch.stack([n.doubt for n in self.nets]).any(0) if self.nets else mended[:0]
        beside = {"reference": self._reference, "mended": mended, "doubt": doubt}
        return scores.finish(self._reference, self.dtype, beside) | more

    def _stream(
        self, member: Member, codes: torch.Tensor, positions: np.ndarray, scores: Accumulator
    ) -> None:
        view = self.views.view(member, codes, positions)
        if not len(view.positions):
            return
        moved = member.reverse or member.shift != 0
        for block in member.runner.blocks(codes, view.positions):
            if self.should_stop():
                raise Stopped
            scores.add(view.restore(block) if moved else block)
            self._heap.trim()
