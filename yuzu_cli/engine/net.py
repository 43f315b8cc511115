"""Catches what a fast backend gets wrong while it runs: naive computes those mutants instead.

An exception, or a number that is not finite where the sequence's own output is, costs time and not
the run. Want of memory and interruptions pass through: others deal with them. May not: judge finite
numbers; that is verification's.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TypeVar

import numpy as np
import torch
from torch.fx import Node

import yuzu_cli
from yuzu_cli.backends.base import Block, Runner, Settings
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.backends.passes import is_out_of_memory
from yuzu_cli.errors import YuzuError
from yuzu_cli.kernels.table import DOUBT
from yuzu_cli.model import Model
from yuzu_cli.operators.items import Instruction

logger = logging.getLogger(__name__)

T = TypeVar("T")

HOME = Path(yuzu_cli.__file__).parent


def mendable(error: Exception) -> bool:
    """Whether naive can go on after this: not for want of memory, nor where the user must act."""
    return not is_out_of_memory(error) and not isinstance(error, YuzuError)


def describe(error: Exception) -> str:
    """What was raised and where, never empty: `KeyError: 'x' (at relu_1, in moves.py:41)`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" ~^<-HER")]
    text = lines[-1][:200].removesuffix(":") if lines else "without a text"
    kind = type(error).__name__
    text = text if text.startswith(kind) else f"{kind}: {text}"
    place, node = "", ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if HOME in file.parents:
            place, node = f"{file.name}:{line}", _node(frame) or node
    where = [f"at {node}"] * bool(node) + [f"in {place}"] * bool(place)
    return f"{text} ({', '.join(where)})" if where else text


def _node(frame: FrameType) -> str:
    """The node of a model's graph that a function was busy with."""
    local = frame.f_locals
    values = [local.get("node"), local.get("n"), getattr(local.get("call"), "node", None)]
    found = next((f"{v.name} = {v.target}" for v in values if isinstance(v, Node)), "")
    step = local.get("step")  # an instruction of a tape
    return found or (f"{step.node}, {step.kernel}" if isinstance(step, Instruction) else "")


class Net:
    """A runner that hands over to naive where the fast one fails; see `Runner`.

    Every call tries the fast way again, so that a batch has the same numbers whether or not a run
    was interrupted before it.

    Attributes
    ----------
    fast : Runner
    mended : Tensor, bool (B,)
        Sequences of the latest call of which naive computed some mutants.
    trusting : bool
        Numbers are not looked at as they come, for which the host would wait for a GPU: nothing
        is mended then but what raises, and `doubt` says in the end whether that was right.
    doubt : Tensor, bool (1,)
        Some number of the latest call was not finite, or some kernel would have had to look at
        numbers; kept where `trusting`.
    """

    def __init__(self, name: str, fast: Runner, model: Model, settings: Settings) -> None:
        self.name, self.fast, self.model, self.settings = name, fast, model, settings
        self.mended = self.doubt = torch.zeros(0, dtype=torch.bool)
        self.trusting = False
        self._naive: NaiveRunner | None = None
        self._codes = self._outputs = torch.empty(0)  # of the latest call
        self._ready = self._failed = False
        self._said: set[str] = set()
        if (most := getattr(fast, "sequences", None)) is not None:
            self.sequences = most

    def reference(self, codes: torch.Tensor) -> torch.Tensor:
        """Outputs for the sequences themselves, float32 (B, T)."""
        self._codes, self._ready, self._failed = codes, False, False
        self.mended = torch.zeros(len(codes), dtype=torch.bool, device=codes.device)
        self.doubt = torch.zeros(1, dtype=torch.bool, device=codes.device)
        outputs = self._tried(lambda: self.fast.reference(codes))
        if outputs is not None and self._any(~torch.isfinite(outputs)):
            true = self._by_naive().outputs
            worse = (~torch.isfinite(outputs) & torch.isfinite(true)).any(1)
            if bool(worse.any()):
                self._say("gave an output that is not finite")
                self._failed, self.mended = True, self.mended | worse
        if self._failed or outputs is None:
            outputs = self._by_naive().outputs
        self._outputs = outputs
        return outputs

    def blocks(self, codes: torch.Tensor, positions: np.ndarray) -> Iterator[Block]:
        """Every mutant of `codes` at `positions`, by the fast way as far as that goes."""
        rows = len(codes) * len(positions) * self.model.alphabet_size
        left = torch.ones(rows, dtype=torch.bool, device=codes.device)
        none: Iterator[Block] = iter(())
        blocks = none if self._failed else self._tried(lambda: self.fast.blocks(codes, positions))
        blocks = none if blocks is None else blocks
        while (block := self._tried(lambda: next(blocks, None))) is not None:
            left[block.index] = False
            yield self._watched(block, positions)
        if not self._failed:
            return
        index = mutant_index(codes, positions, self.model.alphabet_size)
        rest = index[left[index]]
        if not len(rest):
            return
        naive = self._by_naive()
        self.mended[self._sequence(rest, positions)] = True
        for part in rest.split(max(1, naive.size.rows)):
            yield Block(part, naive.at(part, positions))

    def _tried(self, call: Callable[[], T]) -> T | None:
        """What the call returns; None, said and noted, where it fails."""
        before = DOUBT.set(self.doubt if self.trusting else None)
        try:
            return call()
        except Exception as error:  # torch and the backends raise what they like
            if not mendable(error):
                raise
            self._failed = True
            self._say(f"failed: {describe(error)}")
            return None
        finally:
            DOUBT.reset(before)

    def _watched(self, block: Block, positions: np.ndarray) -> Block:
        """The same block, computed when it is asked for, and mended then."""

        def delta() -> torch.Tensor:
            found = self._tried(lambda: block.delta)
            if found is None:
                return self._again(block, positions, slice(None))
            bad = self._bad(block, positions, found.sum(1))
            return found if bad is None else found.index_copy(0, bad, anew(bad))

        def squares() -> torch.Tensor:
            found = self._tried(block.squares)
            if found is None:
                return self._again(block, positions, slice(None)).square().sum(1)
            bad = self._bad(block, positions, found)
            return found if bad is None else found.index_copy(0, bad, anew(bad).square().sum(1))

        def anew(bad: torch.Tensor) -> torch.Tensor:
            self._say("gave effects that are not finite numbers")
            return self._again(block, positions, bad)

        return Block(block.index, delta, block.targets, squares)

    def _bad(self, block: Block, positions: np.ndarray, sums: torch.Tensor) -> torch.Tensor | None:
        """Rows (K,) whose sums (E,) are not finite, though their sequence's own output is."""
        wrong = ~torch.isfinite(sums)
        if not self._any(wrong):
            return None
        outputs = self._outputs
        sane = torch.isfinite(outputs).all(1)
        rows = (wrong & sane[self._sequence(block.index, positions)]).nonzero().squeeze(1)
        return rows if len(rows) else None

    def _any(self, wrong: torch.Tensor) -> bool:
        """Whether something is to be mended now."""
        if self.trusting:
            self.doubt |= wrong.any()
            return False
        return bool(wrong.any())

    def _again(
        self, block: Block, positions: np.ndarray, rows: torch.Tensor | slice
    ) -> torch.Tensor:
        """Naive's deltas of some rows of a block."""
        index = block.index[rows]
        self.mended[self._sequence(index, positions)] = True
        return self._by_naive().at(index, positions)[:, block.targets]

    def _sequence(self, index: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
        return index // (self.model.alphabet_size * len(positions))

    def _by_naive(self) -> NaiveRunner:
        """The naive runner, ready for the codes of the latest call."""
        if self._naive is None:
            self._naive = NaiveRunner(self.model, self.settings)
        if not self._ready:
            self._naive.reference(self._codes)
            self._ready = True
        return self._naive

    def _say(self, what: str) -> None:
        """Warn, once for every kind of failure."""
        if what not in self._said:
            self._said.add(what)
            logger.warning(
                "%s: the %s backend %s; naive is used instead for these mutants",
                *(self.model.path, self.name, what),
            )
