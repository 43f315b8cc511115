"""Every score from the one that was saved: the algebra of delta, centered, contribution and so on.

Plain numpy on arrays in memory; reads no file. A result that kept one kind of score can so be
handed to a tool that wants another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from yuzu_cli.alphabet import UNKNOWN

STATISTICS = ("delta", "centered", "contribution", "prediction", "l2", "jsd")
ACROSS = ("l2", "jsd")
"""One number of a mutant over all targets, without a T axis."""

# Best first: what loses least when another score is made from it.
_FULL = ("delta", "centered", "prediction")


def source_of(want: str, saved: Collection[str]) -> str | None:
    """Name of the saved score that `want` is made from, or None when it cannot be made."""
    if want in saved:
        return want
    return next((name for name in _FULL if name in saved), None)


def derive(
    want: str, have: str, values: np.ndarray, codes: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """One score from another.

    Parameters
    ----------
    want, have : str
        Names among `STATISTICS`; `have` is one that `source_of` gave for `want`.
    values : ndarray, (B, T, A, M), or as saved when `want` is `have`
    codes : ndarray, uint8, (B, M)
        The letters there; 255 where unknown.
    reference : ndarray, float32, (B, T)

    Returns
    -------
    ndarray, float32
        (B, T, A, M), or (B, T, M) for contribution and (B, A, M) for those across targets.
        NaN where the letter is unknown.
    """
    values = values.astype(np.float32, copy=False)
    if want == have:
        return values
    if have != "delta":
        # Of predictions, too, what was saved at the letter that is there is subtracted, not the
        # reference: it agrees better with numbers saved in float16, say.
        values = values - at_letter(values, codes)[:, :, None]
    return _FROM_DELTA[want](values, reference)


def at_letter(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Values at the letter that is there, (B, T, M) from (B, T, A, M); letter 0 where unknown."""
    index = np.where(codes == UNKNOWN, 0, codes).astype(np.intp)
    return np.take_along_axis(values, index[:, None, None, :], axis=2)[:, :, 0]


def mutations(codes: np.ndarray, letters: int) -> tuple[np.ndarray, ...]:
    """Every change of a known letter into another: indices along the axes of `codes`, the letter.

    `codes` are uint8 (..., M), in an alphabet of `letters`.
    """
    there = codes[..., None]
    return np.nonzero((there != UNKNOWN) & (there != np.arange(letters)))


def _jsd(delta: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance, base 2, of the softmax over the targets from the reference's."""
    logits = reference.astype(np.float64)[:, :, None, None]
    with np.errstate(invalid="ignore"):  # NaN where the letter is unknown
        profiles = (logits, logits + delta)
        p, q = (x - np.logaddexp.reduce(x, axis=1, keepdims=True) for x in profiles)
        middle = np.logaddexp(p, q) - np.log(2)
        apart = (np.exp(p) * (p - middle) + np.exp(q) * (q - middle)).sum(axis=1) / np.log(4)
        return np.sqrt(apart.clip(0)).astype(np.float32)


_FROM_DELTA: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "delta": lambda delta, reference: delta,
    "centered": lambda delta, reference: delta - delta.mean(axis=2, keepdims=True),
    "contribution": lambda delta, reference: -delta.mean(axis=2),
    "prediction": lambda delta, reference: delta + reference[:, :, None, None],
    "l2": lambda delta, reference: np.sqrt(np.square(delta).sum(axis=1)),
    "jsd": _jsd,
}
