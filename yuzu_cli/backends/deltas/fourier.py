"""Convolution of short windows by a discrete Fourier transform along their rows.

The transforms are real matrices of tens of rows, applied as matrix products over all mutants and
channels at once; what lies between is one product of channels per frequency. See
`yuzu_cli.plan.fourier` for the count. Its rounding is that of the direct way: about the type's
precision relative to the largest row of a window.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch

from yuzu_cli.backends.deltas import kernels
from yuzu_cli.backends.deltas.frames import overlap
from yuzu_cli.plan import fourier

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


class Taps:
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
        self._exact = taps.dtype in (torch.float32, torch.float64)

    def convolve(self, rows: torch.Tensor, shift: int, width: int) -> torch.Tensor:
        """Stride-1 convolution of windows (w, ..., I) -> (width, ..., O).

        `shift` is the row of the output that row 0 of the input reaches through tap 0.
        """
        if self._by_transform(rows, shift, width):
            return self._transformed(rows, shift, width)
        return kernels.convolve(rows, self.taps, shift, self.gap, width)

    def _by_transform(self, rows: torch.Tensor, shift: int, width: int) -> bool:
        low = rows.is_cuda and torch.backends.cuda.matmul.allow_tf32
        if self.taps.dim() != 3 or self.gap != 1 or not self._exact or low:
            return False
        w, (n_in, n_out) = rows.shape[0], self.taps.shape[1:]
        pieces = (overlap(shift - k, w, width)[0] for k in range(self.kernel))
        direct = sum(piece.stop - piece.start for piece in pieces) * n_in * n_out
        return fourier.pays(w, self.kernel, n_in, n_out, float(direct))

    def _spectrum(self, n: int) -> Spectrum:
        found = self._spectra.get(n)
        if found is None:
            found = make_spectrum(self.taps, n)
            self._spectra[n] = found
            if len(self._spectra) > MOST_SPECTRA:
                self._spectra.popitem(last=False)
        self._spectra.move_to_end(n)
        return found

    def _transformed(self, rows: torch.Tensor, shift: int, width: int) -> torch.Tensor:
        w, n_out = rows.shape[0], self.taps.shape[2]
        n = fourier.length_for(w, self.kernel)
        s = self._spectrum(n)
        x = torch.mm(s.forward[:, :w], rows.reshape(w, -1)).view(n, -1, rows.shape[-1])
        y = x.new_empty((n, x.shape[1], n_out))
        multiply(x, s, y)
        out = x.new_zeros((width, y[0].numel()))
        into, made = overlap(shift - self.kernel + 1, w + self.kernel - 1, width)
        torch.mm(s.inverse[made], y.view(n, -1), out=out[into])
        return out.view(width, *rows.shape[1:-1], n_out)


def multiply(x: torch.Tensor, s: Spectrum, y: torch.Tensor) -> None:
    """Transformed windows x (n, M, I) times transformed taps, into y (n, M, O).

    (a + ib)(r + im) by three products: r (a + b), a (m - r), b (r + m).
    """
    f = s.real.shape[0]
    if x.is_cuda:  # few starts of large work
        both = torch.bmm(x[:f] + x[f : 2 * f], s.real)
        torch.baddbmm(both, x[f : 2 * f], s.more, alpha=-1, out=y[:f])
        torch.baddbmm(both, x[:f], s.less, out=y[f : 2 * f])
        torch.bmm(x[2 * f :], s.alone, out=y[2 * f :])
        return
    for i in range(f):  # one frequency at a time stays in the cache
        both = torch.mm(x[i] + x[f + i], s.real[i])
        torch.addmm(both, x[f + i], s.more[i], alpha=-1, out=y[i])
        torch.addmm(both, x[i], s.less[i], out=y[f + i])
    for i in range(2 * f, x.shape[0]):
        torch.mm(x[i], s.alone[i - 2 * f], out=y[i])
