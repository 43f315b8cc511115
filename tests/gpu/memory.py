"""What a run takes of the card's memory against what was promised, and what it does without it."""

from __future__ import annotations

import gc
import logging
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yuzu_cli.alphabet import parse_alphabet
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.bench.papers import zoo
from yuzu_cli.engine.device import computing
from yuzu_cli.engine.limits import working_memory
from yuzu_cli.engine.members import Member, Views
from yuzu_cli.engine.scoring import Scorer
from yuzu_cli.model import Model, load_model

Result = dict[str, Any]

MODELS = (
    ("basset", 1000, 16),
    ("deepsea", 1000, 16),
    ("bpnet9", 2114, 2),
    ("aitac-residual", 251, 64),
)
"""Model, length, and sequences at one time."""

PROMISED = 4 << 30
"""Working memory given to the backends where the promise is checked."""

LEFT = 3 << 29
"""What another process leaves of the card: less than the batch wants, more than a part of it."""


def zoo_model(name: str, length: int, folder: Path, device: str, width: float = 1.0) -> Model:
    """A model of the zoo, through a file, as the command loads it."""
    path = zoo.save(name, folder / f"{name}-{length}-{width}.pt", length=length, width=width)
    return load_model(path, length=length, device=device)


def random_codes(count: int, length: int, seed: int = 0) -> np.ndarray:
    """Letters of some sequences, uint8 (B, L)."""
    return np.random.default_rng(seed).integers(0, 4, (count, length)).astype(np.uint8)


def scorer_of(
    model: Model, settings: Settings, save: tuple[str, ...] = ("l2", "contribution")
) -> Scorer:
    """What the command scores a batch with, for the windowed backend."""
    runner = get_backend("windowed").prepare(model, settings)
    alphabet = parse_alphabet("ACGT")
    views = Views(settings.length, 0, alphabet.size, alphabet.complement)
    positions = np.arange(settings.length)
    return Scorer([Member(runner)], views, positions, model.n_targets, save, settings.device)


def promise(name: str, length: int, count: int, folder: Path, device: str, width: float) -> Result:
    """Peak of a chunk's memory over what was there before, against the promise."""
    model = zoo_model(name, length, folder, device, width)
    settings = Settings(length, torch.device(device), memory=PROMISED)
    with computing("float32", settings.device):
        runner = get_backend("windowed").prepare(model, settings)
        codes = torch.as_tensor(random_codes(count, length)).to(device)
        runner.reference(codes)
        before = _allocated(device, reset=True)
        for block in runner.blocks(codes, np.arange(length)):
            _ = block.delta
            del block
        taken = _peak(device) - before
    share = taken / PROMISED
    return {
        "name": f"memory of {name}, {count} sequences",
        "status": "ok" if share <= 1 else "failed",
        "why": "" if share <= 1 else f"took {share:.2f} times what was promised",
        "taken": taken,
        "promised": PROMISED,
    }


def _allocated(device: str, reset: bool) -> int:
    if device == "cpu":
        return 0
    gc.collect()
    torch.cuda.synchronize(device)
    if reset:
        torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak(device: str) -> int:
    return 0 if device == "cpu" else torch.cuda.max_memory_allocated(device)


def out_of_memory(folder: Path, device: str, width: float) -> Result:
    """A batch on a card that another process has nearly filled: smaller pieces, same numbers."""
    name, length, count = "basset", 1000, 32
    model = zoo_model(name, length, folder, device, width)
    settings = Settings(length, torch.device(device), memory=working_memory(torch.device(device)))
    wide = random_codes(count, length)
    with computing("float32", settings.device):
        small = Settings(length, settings.device, memory=1 << 28)
        expected = scorer_of(model, small).score(wide[:4])
        _empty_cache(device)
        with Hog(device, LEFT), Heard("out of memory") as heard:
            found = scorer_of(model, settings).score(wide)
        _empty_cache(device)
    off = max(
        float(np.abs(found[key][:4] - expected[key]).max() / np.abs(expected[key]).max())
        for key in expected
    )
    why = "" if off < 2e-5 else f"off by {off:.2g} of the largest"
    if device != "cpu" and not heard.lines:
        why = "memory did not run out: nothing is shown"
    return {
        "name": "out of memory, the card filled by another process",
        "status": "failed" if why else "ok",
        "why": why,
        "said": heard.lines,
        "off": off,
    }


class Heard(logging.Handler):
    """Warnings of the package with some words in them, while within it."""

    def __init__(self, words: str) -> None:
        super().__init__(logging.WARNING)
        self.words = words
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self.words in record.getMessage():
            self.lines.append(record.getMessage())

    def __enter__(self) -> Heard:
        logging.getLogger("yuzu_cli").addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger("yuzu_cli").removeHandler(self)


def _empty_cache(device: str) -> None:
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()


class Hog:
    """Another process that holds all of the card but `left` bytes while within it."""

    def __init__(self, device: str, left: int) -> None:
        self.device, self.left = device, left

    def __enter__(self) -> Hog:
        context = multiprocessing.get_context("spawn")
        self.ours, theirs = context.Pipe()
        self.process = context.Process(target=_hold, args=(theirs, self.device, self.left))
        self.process.start()
        self.held = self.ours.recv()
        return self

    def __exit__(self, *exc: object) -> None:
        self.ours.send("enough")
        self.process.join()


def _hold(pipe: Connection, device: str, left: int) -> None:
    held = []
    if device != "cpu":
        torch.zeros(1, device=device)
        free, _ = torch.cuda.mem_get_info(device)
        while free > left + (1 << 28):
            held.append(torch.empty(min(free - left, 1 << 30), dtype=torch.uint8, device=device))
            free, _ = torch.cuda.mem_get_info(device)
    pipe.send(len(held))
    pipe.recv()
