"""What the papers and their repositories say they measured, on their own hardware.

Read from the repositories: fastISM's `notebooks/ISMBenchmark.ipynb` (a P100; best batch of each),
and TISM's `results/Comparison_time_*_cuda*.tsv`. Yuzu's figure 3 has no numbers to read.
"""

from __future__ import annotations

from yuzu_cli.bench.subject import Case

FASTISM = {
    ("basset-scalar", 1000): (0.2736, 0.0270),
    ("basset-scalar", 2000): (1.0044, 0.0649),
    ("factorized-basset", 1000): (0.6897, 0.0547),
    ("factorized-basset", 2000): (2.6224, 0.1804),
    ("bpnet9-untrimmed", 1000): (0.4609, 0.2897),
    ("bpnet9-untrimmed", 2000): (1.7396, 0.8152),
}
"""Seconds of a sequence: naive, fastISM."""

TISM = {
    ("aitac3-timed", 500): (0.21865, 0.03301, 0.00464),
    ("aitac3-timed", 1000): (0.45530, 0.04629, 0.00214),
    ("aitac3-timed", 2000): (1.21207, 0.08945, 0.00478),
    ("aitac8-timed", 500): (0.34330, 0.13183, 0.00624),
    ("aitac8-timed", 1000): (0.94992, 0.16908, 0.00417),
    ("aitac8-timed", 2000): (2.83641, 0.30540, 0.00902),
}
"""Seconds of a sequence: naive, the published Yuzu, the first-order estimate."""


def theirs(case: Case) -> str:
    """The paper's own numbers for a case, in a cell of a table; empty where it has none."""
    key = (case.model, case.length)
    if case.width == 1.0 and key in FASTISM:
        naive, fast = FASTISM[key]
        return f"fastISM {naive / fast:.1f}x ({naive:.3g} s to {fast:.3g} s, P100)"
    if case.width == 1.0 and key in TISM:
        naive, yuzu, taylor = TISM[key]
        return f"Yuzu {naive / yuzu:.1f}x, TISM {naive / taylor:.0f}x ({naive:.3g} s naive, GPU)"
    return ""
