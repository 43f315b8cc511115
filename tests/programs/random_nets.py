"""Many wide random nets through every exact backend, scripted and traced, judged by the oracle.

    python -m tests.programs.random_nets --nets 1000 --seed 0

Prints every net that is wrong or ends by an error, and the counts; exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.support import wide
from tests.support.random_nets import check, truth_of

AT_ONCE = 50
"""Nets of one seed; a new one after them, as one search soon repeats itself."""


class Tally:
    """What became of the nets."""

    def __init__(self, folder: Path, nets: int, show: bool) -> None:
        self.folder, self.nets, self.show = folder, nets, show
        self.done: set[wide.Recipe] = set()
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def take(self, recipe: wide.Recipe) -> None:
        if recipe in self.done or len(self.done) >= self.nets:
            return
        self.done.add(recipe)
        subject = wide.subject_of(recipe)
        truth = truth_of(subject)
        if not all(torch.isfinite(exact[~exact.isnan()]).all() for exact, _ in truth):
            self.counts["without finite effects"] += 1
            return
        for how in ("scripted", "traced"):
            try:
                refused = check(subject, truth, how, self.folder)
                self.counts["refused, so naive" if refused else "exact on windows"] += 1
                self.reasons.update(refused)
            except AssertionError as error:
                self.tell("wrong", recipe, how, str(error))
            except Exception as error:  # any other end is what this program is to find
                self.tell("ended by an error", recipe, how, f"{type(error).__name__}: {error}")
                if self.show:
                    traceback.print_exc()

    def tell(self, what: str, recipe: wide.Recipe, how: str, text: str) -> None:
        self.counts[what] += 1
        print(f"{what}, {how}: {recipe!r}\n    {text.splitlines()[0][:200]}", flush=True)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in self.counts.items())
        return f"{len(self.done)} nets, scripted and traced: {counts}"

    @property
    def failed(self) -> bool:
        return bool(self.counts["wrong"] or self.counts["ended by an error"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Random nets, judged by the oracle.")
    parser.add_argument("--nets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print where errors came from")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = Tally(Path(folder), options.nets, options.show)
        number = options.seed * 1_000_000
        while len(tally.done) < options.nets:

            @seed(number)
            @settings(
                deadline=None,
                database=None,
                max_examples=AT_ONCE,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(recipe=wide.recipes())
            def some(recipe: wide.Recipe) -> None:
                tally.take(recipe)

            some()
            number += 1
            print(f"... {tally}", flush=True)
    for reason, count in tally.reasons.most_common():
        print(f"{count} x {reason}")
    print(f"{tally}; {time.monotonic() - begun:.0f} s")
    return int(tally.failed)


if __name__ == "__main__":
    sys.exit(main())
