"""When a convolution of a short window is cheaper by a discrete Fourier transform along the rows.

A window of w rows through k taps takes w * k products of a row and a tap's matrix. As polynomials
of w + k - 1 coefficients they take one product per frequency: a complex one is three real ones
(Gauss), half the frequencies are the conjugates of the others, so 1.5 (w + k - 1) in all, besides
the transforms themselves. Only counting; the arithmetic is in
`yuzu_cli.backends.deltas.fourier`.
"""

from __future__ import annotations

LONGEST = 64
"""Longest transform: they are made by matrix products, which grow as the square of the length."""
GAIN = 0.6
"""Share of the direct products under which it pays: narrower products run farther below peak."""
TRANSFORMS = 2.0
"""What a multiply-add of the transforms costs, of one of the products."""


def length_for(rows: int, kernel: int) -> int:
    """Length of the transform: holds every row of the result, and even, so that few are made."""
    return (rows + kernel) // 2 * 2


def fourier_macs(rows: int, kernel: int, n_in: int, n_out: int) -> float:
    """Multiply-adds for one window by transforms."""
    n = length_for(rows, kernel)
    products = (1.5 * n - 1) * n_in * n_out
    return products + TRANSFORMS * n * (rows * n_in + (rows + kernel - 1) * n_out)


def pays(rows: int, kernel: int, n_in: int, n_out: int, direct: float | None = None) -> bool:
    """Whether transforms beat the direct way.

    Parameters
    ----------
    direct : float, optional
        Multiply-adds of the direct way, where parts of the result are not wanted.
    """
    direct = float(rows * kernel * n_in * n_out) if direct is None else direct
    if length_for(rows, kernel) > LONGEST:
        return False
    return fourier_macs(rows, kernel, n_in, n_out) < GAIN * direct
