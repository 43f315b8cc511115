"""The yuzu backend: the windowed one, with convolutions on probes. Finds the codes, and keeps them.

What runs is in `probes.py`; how codes come about is in `design.py`.
"""

from __future__ import annotations

from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.sensing.kept import design_for
from yuzu_cli.backends.sensing.probes import YuzuRunner
from yuzu_cli.backends.windowed import Windowed
from yuzu_cli.model import Model


class Yuzu(Windowed):
    """The backend; see `yuzu_cli.backends.base.Backend`."""

    name = "yuzu"
    exact = True

    def cost(self, model: Model, settings: Settings, positions: int) -> float:
        """A little more than windows: they are laid into probes and read back."""
        return 1.2 * super().cost(model, settings, positions)

    def prepare(self, model: Model, settings: Settings) -> YuzuRunner:
        """Capture, analyse, plan, lay out the weights, and find the codes.

        Raises
        ------
        YuzuError
            The plan that was given is not of this model, length and settings; or no code of the
            kind asked for is accurate.
        """
        design = design_for(model, settings)
        runner = YuzuRunner(model, settings, design.codes)
        runner.refusal, runner.alpha = design.refusal, design.alpha
        return runner
