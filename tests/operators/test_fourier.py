"""Convolutions of windows by transforms: against the direct way, and in every place they can be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.cases import CASES
from tests.support.conformance import REDUCED, case_subject, run, zoo_subject
from yuzu_cli.bench.papers import zoo
from yuzu_cli.kernels import products, spectra
from yuzu_cli.kernels.table import KERNELS
from yuzu_cli.operators import fourier
from yuzu_cli.operators.fourier import MOST_SPECTRA, Layer, make_spectrum

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

SHAPES = [(1, 1), (1, 7), (5, 2), (8, 11), (7, 11), (3, 8), (16, 5), (31, 33)]


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.double() - exact).abs().max() / exact.abs().max())


def transformed(
    x: torch.Tensor, taps: torch.Tensor, shift: int, width: int, block: int = 1000
) -> torch.Tensor:
    """A convolution by the three kernels that do it, of so many rows at a time."""
    layer, w, n_out = Layer(taps, 1), x.shape[0], taps.shape[2]
    block, beyond = min(block, w), layer.kernel - 1
    spectrum = layer.spectrum(fourier.length_for(block, layer.kernel))
    spread = (len(spectrum.forward), -(-w // block) * x.shape[1], *x.shape[2:-1])
    mixed, made = x.new_empty((*spread, x.shape[-1])), x.new_empty((*spread, n_out))
    spectra.rows_to_spectra(mixed, x, spectrum.forward, block)
    spectra.frequencies(made, mixed, spectrum)
    out = x.new_full((width, *x.shape[1:-1], n_out), torch.nan)
    spectra.spectra_to_rows(out, made, spectrum.inverse, block, shift - beyond, w, beyond)
    return out


def tap_by_tap(x: torch.Tensor, taps: torch.Tensor, shift: int, width: int) -> torch.Tensor:
    out = x.new_empty((width, *x.shape[1:-1], taps.shape[2]))
    products.convolve(out, x, taps, shift, 1)
    return out


CUTS = [(r, k, cut) for r, k in SHAPES for cut in (0, 1, 3, -2) if r + k - 1 > 2 * cut]


@pytest.mark.parametrize("block", [1000, 4, 1])
@pytest.mark.parametrize(("rows", "kernel", "cut"), CUTS)
def test_as_exact_as_tap_by_tap(rows, kernel, cut, block):
    torch.manual_seed(rows * 100 + kernel)
    x, taps = torch.randn(rows, 2, 3, 1, 24), torch.randn(kernel, 24, 10)
    shift, width = kernel - 1 - cut, rows + kernel - 1 - 2 * cut
    exact = tap_by_tap(x.double(), taps.double(), shift, width)
    direct = tap_by_tap(x, taps, shift, width)
    single = transformed(x, taps, shift, width, block)
    assert single.shape == direct.shape
    assert error(single, exact) < max(3 * error(direct, exact), 5e-7)
    assert error(transformed(x.double(), taps.double(), shift, width, block), exact) < 1e-14


@pytest.mark.parametrize("block", [4, 6, 20])
@pytest.mark.parametrize(("shift", "width"), [(-9, 6), (2, 5), (-15, 30), (12, 40), (-19, 3)])
def test_blocks_that_are_not_wanted_are_left_out(shift, width, block):
    torch.manual_seed(width)
    x, taps = torch.randn(20, 2, 3, 1, 8).double(), torch.randn(3, 8, 5).double()
    exact = tap_by_tap(x, taps, shift, width)
    found = transformed(x, taps, shift, width, block)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-13)


def test_one_loud_row_costs_the_others_no_more_than_its_rounding():
    torch.manual_seed(0)
    x, taps = torch.randn(6, 1, 3, 1, 32), torch.randn(7, 32, 16)
    x[0] *= 1e3
    exact = tap_by_tap(x.double(), taps.double(), 6, 12)
    found = transformed(x, taps, 6, 12)
    assert error(found, exact) < 1e-6


@pytest.fixture
def everywhere(monkeypatch):
    """Transforms wherever they are possible; counts them."""
    made: list[tuple[int, ...]] = []
    original = KERNELS["frequencies"]

    def counted(out, rows, **args):
        made.append(tuple(rows.shape))
        original(out, rows, **args)

    monkeypatch.setattr(fourier, "GAIN", float("inf"))
    monkeypatch.setitem(KERNELS, "frequencies", counted)
    return made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


SOME = [c.name for c in CASES if c.name.startswith(("conv-", "pad-", "layout-", "strands-"))]
SOME += ["dilated-residual-stack", "u-net", "inception", "outputs-profile", "weigh-product"]


@pytest.mark.parametrize("name", SOME)
def test_cases_by_transforms(name, everywhere, folder):
    run(case_subject(name), "scripted", "windowed", folder)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_published_models_by_transforms(name, everywhere, folder):
    run(zoo_subject(name, REDUCED.get(name, 101), 0.08), "scripted", "windowed", folder)
    assert everywhere or name in ("onelayer", "toynet", "bpnet4", "bpnet9")


@pytest.mark.parametrize(
    "name", ["conv-even-kernels", "like-dream-rnn", "like-danq", "u-net", "inception"]
)
def test_cases_in_blocks(name, everywhere, monkeypatch, folder):
    monkeypatch.setattr(fourier, "_best_block", lambda *_: 3)
    monkeypatch.setattr(fourier, "ALONE", 0.0)
    run(case_subject(name), "scripted", "windowed", folder)
    assert everywhere


def test_they_are_used_where_they_pay():
    wide = Layer(torch.randn(11, 300, 200), 1)
    assert wide.block(8, 10, 18) == 8
    assert wide.block(8, 10, 1) is None  # one row is wanted
    assert Layer(torch.randn(11, 8, 8), 1).block(8, 10, 18) is None
    assert Layer(torch.randn(11, 300, 200), 2).block(8, 20, 28) is None
    assert fourier.block_for(8, fourier.LONGEST, 300, 200) is None
    assert fourier.block_for(fourier.LONGEST, 11, 300, 200, image=False) is None


def test_long_windows_of_all_lengths_share_one_spectrum():
    layer = Layer(torch.randn(15, 64, 64), 1)
    blocks = {layer.block(rows, 14, rows + 14) for rows in (150, 177, 600, 5000)}
    assert len(blocks) == 1
    assert blocks < set(range(8, 64))


def test_the_count_is_that_of_what_runs():
    spectrum = make_spectrum(torch.randn(11, 3, 2), fourier.length_for(8, 11))
    products = 3 * spectrum.real.shape[0] + spectrum.alone.shape[0]
    n = spectrum.forward.shape[0]
    transforms = fourier.TRANSFORMS * n * (8 * 3 + 18 * 2)
    assert fourier.fourier_macs(8, 11, 3, 2, 8) == products * 3 * 2 + transforms
    transforms = fourier.TRANSFORMS * n * (20 * 3 + 50 * 2)
    assert fourier.fourier_macs(20, 11, 3, 2, 8) == 3 * products * 3 * 2 + transforms


def test_few_spectra_are_kept():
    layer = Layer(torch.randn(5, 4, 4), 1)
    for rows in range(1, 20):
        layer.spectrum(fourier.length_for(rows, 5))
    assert len(layer._spectra) == MOST_SPECTRA
