"""The dry run: what a run would need, from a probe of about a second. May not: write."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import torch

from yuzu_cli.engine.choose import Choice
from yuzu_cli.engine.limits import HOST_BATCH_BYTES, RESULT_BYTES
from yuzu_cli.engine.setup import Setup, first_codes
from yuzu_cli.engine.summary import Estimate

if TYPE_CHECKING:
    from yuzu_cli.runs.writer import RunInfo

PROBE_SECONDS = 1.0
WAITING = 5
"""Batches of finished scores that can be in memory at one time."""


def estimate(setup: Setup, choice: Choice, info: RunInfo) -> Estimate:
    """Figures of the run that `info` describes."""
    records = info.record_stop - info.record_start
    mutants = records * len(setup.positions) * (setup.alphabet.size - 1)
    members = setup.members(choice)
    seconds, count = _probe(setup, choice)
    folder = os.path.dirname(os.path.realpath(info_path(setup)))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    weights = sum(p.numel() * p.element_size() for m in setup.models for p in m.parameters())
    return Estimate(
        records=records,
        mutants=mutants,
        passes=(mutants + records) * len(members),
        backend=choice.name,
        device=info.device,
        batch_size=info.batch_size,
        seconds=seconds / max(1, count) * mutants * len(members) / len(choice.runners),
        probe_mutants=count,
        device_bytes=setup.settings.memory + RESULT_BYTES + weights,
        host_bytes=WAITING * min(HOST_BATCH_BYTES, info.disk_bytes()),
        disk_bytes=info.disk_bytes(),
        free_bytes=shutil.disk_usage(folder).free,
    )


def info_path(setup: Setup) -> str:
    """Where the output will be."""
    return setup.config.output.path


def _probe(setup: Setup, choice: Choice) -> tuple[float, int]:
    """Seconds that every model takes for some mutants of the first sequence, and how many."""
    codes = torch.as_tensor(first_codes(setup, 1)).to(setup.settings.device)
    if not len(codes):
        return 0.0, 0
    total, least = 0.0, 0
    for runner in choice.runners:
        done, seconds = 0, 0.0
        for warm in (True, False):  # the first time, libraries set themselves up
            done, began = 0, time.monotonic()
            runner.reference(codes)
            for block in runner.blocks(codes, setup.positions):
                whole = block.delta.shape[1] / len(setup.targets)
                done += int(len(block.index) * whole)
                if setup.settings.device.type == "cuda":
                    torch.cuda.synchronize(setup.settings.device)
                seconds = time.monotonic() - began
                if seconds > PROBE_SECONDS or (warm and seconds > PROBE_SECONDS / 4):
                    break
        total += seconds / max(1, done)
        least = done if not least else min(least, done)
    return total * least, least
