"""Runs: from a config to a file of attributions, and the pieces of that for notebooks."""

from yuzu_cli.engine.device import computing, resolve_device
from yuzu_cli.engine.loop import run
from yuzu_cli.engine.members import Member, Views
from yuzu_cli.engine.scoring import Scorer
from yuzu_cli.engine.setup import prepared
from yuzu_cli.engine.summary import Estimate, RunSummary

__all__ = [
    "Estimate",
    "Member",
    "RunSummary",
    "Scorer",
    "Views",
    "computing",
    "prepared",
    "resolve_device",
    "run",
]
