"""How much at a time: memory budgets, sequences per batch, records per shard.

All of it follows from sizes, never from clocks or free memory, so that a run that is continued cuts
the same batches and passes. May not: allocate or compute anything.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

HOST_BATCH_BYTES = 96 << 20
"""Finished scores of one batch; a few such batches wait for the writer at one time."""

RESULT_BYTES = 512 << 20
"""Deltas of the sequences in work, on the device."""

BATCH_SECONDS = 10.0
"""What a batch should take: it is what a kill loses."""

RATE = {"cpu": 6e10, "cuda": 1e13}
"""Multiply-adds a second, in order of magnitude."""

MAX_BATCH = 1024


def working_memory(device: torch.device) -> int:
    """Bytes a runner may take: a fixed part of what the machine has, whatever is free just now."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory * 0.4)
    return min(2 << 30, _machine_memory() // 4)


def _machine_memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = Path("/sys/fs/cgroup", name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def batch_size(
    *,
    asked: int | str,
    host_bytes: int,
    work: float,
    device: torch.device,
    n_records: int,
    shards: int,
) -> int:
    """Input records per batch.

    Parameters
    ----------
    asked : int or "auto"
    host_bytes : int
        Bytes of the finished scores of one sequence.
    work : float
        Multiply-adds of one sequence with all its mutants.
    device, n_records, shards
        Shards get whole batches, so there must be enough of them to share out.
    """
    if asked != "auto":
        return int(asked)
    by_memory = HOST_BATCH_BYTES // max(1, host_bytes)
    by_time = RATE.get(device.type, RATE["cpu"]) * BATCH_SECONDS / max(1.0, work)
    by_shards = -(-n_records // (4 * shards)) if shards > 1 else MAX_BATCH
    return int(max(1, min(by_memory, by_time, by_shards, MAX_BATCH)))


def shard_range(n_records: int, batch: int, shard: tuple[int, int] | None) -> tuple[int, int]:
    """Records of a shard (1-based index, count), half-open; whole batches if there are enough."""
    if shard is None:
        return 0, n_records
    index, count = shard
    batches = -(-n_records // batch)
    unit = batch if batches >= count else 1
    units = -(-n_records // unit)
    first, last = units * (index - 1) // count, units * index // count
    return min(n_records, first * unit), min(n_records, last * unit)


def chunks(*, sequence_bytes: int, positions: int, budget: int = RESULT_BYTES) -> tuple[int, int]:
    """Sequences, and positions of each, whose deltas are held at one time."""
    sequences = max(1, budget // max(1, sequence_bytes))
    if sequence_bytes <= budget:
        return sequences, positions
    return 1, max(1, positions * budget // sequence_bytes)
