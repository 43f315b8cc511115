"""How far off the estimates of a result are, by the samples of it that were computed exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from yuzu_cli.results.reader import Result

_ROWS = 4096
_BINS = np.linspace(-1, 1, 2001)


def agreement(result: Result) -> dict[str, Any] | None:
    """Correlation and largest error over regions and targets; None where nothing was compared.

    Returns
    -------
    dict or None
        ``correlation`` (the median, to 0.001) and ``correlation_worst`` of all regions and targets,
        None where no sample varies; ``max_error``, in the unit of the effects.
    """
    if "estimate/correlation" not in result.file:
        return None
    counts, worst, largest = np.zeros(len(_BINS) - 1, np.int64), 1.0, 0.0
    for start in range(0, result.n_regions, _ROWS):
        rows = slice(start, start + _ROWS)
        found = result.read("estimate/correlation", rows)
        found = np.clip(found[np.isfinite(found)], -1, 1)
        counts += np.histogram(found, _BINS)[0]
        worst = min(worst, float(found.min(initial=1.0)))
        error = result.read("estimate/max_error", rows)
        largest = max(largest, float(np.nan_to_num(error).max(initial=0.0)))
    if not counts.sum():
        return {"correlation": None, "correlation_worst": None, "max_error": largest}
    middle = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    median = round(float(_BINS[middle : middle + 2].mean()), 3)
    return {"correlation": median, "correlation_worst": round(worst, 3), "max_error": largest}


def sentence(found: dict[str, Any]) -> str:
    """What `agreement` found, for people."""
    error = f"largest error {found['max_error']:.2g}"
    if found["correlation"] is None:
        return f"{error} on a random sample; no correlation, as nothing varies"
    return (
        f"correlation {found['correlation']:.3g} with exact effects (the worst region and target "
        f"{found['correlation_worst']:.3g}), {error} on a random sample"
    )
