"""Multiply-adds and bytes, and what a device makes of them in a second. Only counting.

Rates turn counts into comparable time, and are needed for choices between exact ways only, so rough
ones do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Rates:
    """Multiply-adds and bytes a device gets through in a second, and seconds to start one
    operator.
    """

    macs: float
    bytes: float
    start: float


CPU_RATES = Rates(40e9, 8e9, 4e-6)
GPU_RATES = Rates(12e12, 1.5e12, 8e-6)


def rates_of(device: torch.device) -> Rates:
    """Rates of a kind of device."""
    return CPU_RATES if device.type == "cpu" else GPU_RATES


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiply-adds and bytes for one mutant."""

    macs: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.bytes + other.bytes)

    def seconds(self, rates: Rates) -> float:
        """Time of one mutant, operators' start aside."""
        return self.macs / rates.macs + self.bytes / rates.bytes
