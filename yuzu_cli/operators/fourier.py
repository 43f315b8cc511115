"""Convolution of windows by a discrete Fourier transform along their rows: when, with what.

A window of w rows through k taps takes w * k products of a row and a tap's matrix. As polynomials
of w + k - 1 coefficients they take one product per frequency: a complex one is three real ones
(Gauss), half the frequencies are the conjugates of the others, so 1.5 (w + k - 1) in all, besides
the transforms themselves. The transforms are real matrices of tens of rows, applied as matrix
products over all mutants and channels at once. Long windows are cut into blocks, whose results
overlap and are added up: transforms stay short, and windows of all lengths share one spectrum.
Rounding is that of the direct way: about the type's precision relative to the largest row of a
window.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from yuzu_cli.operators.frames import overlap

LONGEST = 1024
"""Longest transform: they are made by matrix products, which grow as the square of the length."""
SHORT = 64
"""Rows of a transform up to which its products run below peak."""
GAIN = 0.65
"""Share of the direct products under which it pays: narrower products run farther below peak."""
TRANSFORMS = 2.0
"""What a multiply-add of short transforms costs, of one of the products; of long ones, as much."""
BESIDE_IMAGE, CALL, ELEMENT = 3.5, 5000.0, 8.0
"""The same where the direct way is one convolution of an image, near peak; and what a product takes
there besides, for each mutant: its call, and every element that is read or written."""
ALONE = 1.0
"""Share of what blocks take under which a long window is transformed as one."""


def length_for(rows: int, kernel: int) -> int:
    """Length of the transform: holds every row of the result, and even, so that few are made."""
    return (rows + kernel) // 2 * 2


def fourier_macs(
    rows: int, kernel: int, n_in: int, n_out: int, block: int, image: bool = False
) -> float:
    """Multiply-adds for one window by transforms of so many rows at a time.

    `image`: reckoned as what takes as long where the direct way is one convolution of an image.
    """
    count, n = -(-rows // block), length_for(block, kernel)
    mixed = BESIDE_IMAGE if image else TRANSFORMS if n <= SHORT else 1.0
    products = (1.5 * n - 1) * count * n_in * n_out
    if image:
        products += (1.5 * n - 1) * (CALL + count * ELEMENT * (n_in + n_out))
    return products + mixed * n * (rows * n_in + (rows + count * (kernel - 1)) * n_out)


@cache
def _best_block(kernel: int, n_in: int, n_out: int) -> int:
    """Rows of the blocks of a window without end."""
    most = 16 * max(8, kernel)

    def each(block: int) -> float:
        return fourier_macs(most * block, kernel, n_in, n_out, block, image=True) / block

    return min(range(1, max(2, min(most, LONGEST - kernel))), key=each)


def block_for(
    rows: int, kernel: int, n_in: int, n_out: int, direct: float | None = None, image: bool = True
) -> int | None:
    """Rows to be transformed at a time; None where the direct way is cheaper.

    Parameters
    ----------
    direct : float, optional
        Multiply-adds of the direct way, where parts of the result are not wanted.
    image : bool
        The direct way is one convolution of an image, not a product for each tap.
    """
    direct = float(rows * kernel * n_in * n_out) if direct is None else direct
    block, best = rows, _best_block(kernel, n_in, n_out) if image else rows
    if rows > best:
        alone = fourier_macs(rows, kernel, n_in, n_out, rows, image)
        cut = fourier_macs(rows, kernel, n_in, n_out, best, image)
        whole = length_for(rows, kernel) <= LONGEST and alone < ALONE * cut
        block = rows if whole else best
    if length_for(block, kernel) > LONGEST:
        return None
    pays = fourier_macs(rows, kernel, n_in, n_out, block, image) < GAIN * direct
    return block if pays else None


MOST_SPECTRA = 4
"""Lengths for which a layer's transformed weights are kept; each is about as large as the layer."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """A layer's taps transformed to length n, with the transforms.

    Attributes
    ----------
    forward, inverse : Tensor (n, n)
        Rows of the transform: real parts of the f frequencies that have an imaginary part, these,
        then the purely real frequencies.
    real, less, more : Tensor (f, I, O)
        Real parts of the taps; imaginary less real; both together.
    alone : Tensor (n - 2 f, I, O)
        At the purely real frequencies.
    """

    forward: torch.Tensor
    inverse: torch.Tensor
    real: torch.Tensor
    less: torch.Tensor
    more: torch.Tensor
    alone: torch.Tensor


def make_spectrum(taps: torch.Tensor, n: int) -> Spectrum:
    """The spectrum of taps (kernel, I, O), made in double precision."""
    at = np.arange(n)
    paired = np.arange(1, (n + 1) // 2)[:, None]
    single = np.array([0] if n % 2 else [0, n // 2])[:, None]
    angle = 2 * np.pi / n * at
    matrix = np.concatenate(
        [np.cos(paired * angle), -np.sin(paired * angle), np.cos(single * angle)]
    )
    kernel, f = taps.shape[0], len(paired)
    forward = torch.from_numpy(matrix).to(taps.device)
    # Row i of a window reaches output row i + kernel - 1 - k through tap k: taps in reverse.
    reverse = taps.flip(0).double().reshape(kernel, -1)
    spectrum = (forward[:, :kernel] @ reverse).view(n, *taps.shape[1:])
    real, imaginary = spectrum[:f], spectrum[f : 2 * f]
    inverse = torch.from_numpy(np.linalg.inv(matrix)).to(taps.device)
    parts = (forward, inverse, real, imaginary - real, imaginary + real, spectrum[2 * f :])
    return Spectrum(*(part.to(taps.dtype).contiguous() for part in parts))


class Layer:
    """A layer's taps, with the cheaper way of convolving windows with them.

    Parameters
    ----------
    taps : Tensor (kernel, I, O), or (kernel, G, I/G, O/G) for a grouped convolution
    gap : int
        Dilation.
    """

    def __init__(self, taps: torch.Tensor, gap: int) -> None:
        self.taps, self.gap, self.kernel = taps, gap, taps.shape[0]
        self._spectra: OrderedDict[int, Spectrum] = OrderedDict()

    def block(self, rows: int, shift: int, width: int, card: bool = False) -> int | None:
        """Rows to transform at a time of windows of so many, `shift` before the result's; None
        where that is dearer.
        """
        exact = self.taps.dtype in (torch.float32, torch.float64)
        if self.taps.dim() != 3 or self.gap != 1 or not exact:
            return None
        n_in, n_out = self.taps.shape[1:]
        pieces = (overlap(shift - k, rows, width)[0] for k in range(self.kernel))
        direct = sum(piece.stop - piece.start for piece in pieces) * n_in * n_out
        image = self.taps.dtype is torch.float32 and not card
        return block_for(rows, self.kernel, n_in, n_out, float(direct), image)

    def spectrum(self, n: int) -> Spectrum:
        """The taps transformed to length n, made once."""
        found = self._spectra.get(n)
        if found is None:
            found = make_spectrum(self.taps, n)
            self._spectra[n] = found
            if len(self._spectra) > MOST_SPECTRA:
                self._spectra.popitem(last=False)
        self._spectra.move_to_end(n)
        return found
