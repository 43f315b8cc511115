"""What lies between two products: the definition, and the fused kernels beside it.

The kernels run under Triton's interpreter; that they compile for cards is tried in
`test_compiling.py`.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass, replace
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from yuzu_cli.kernels import between as plain
from yuzu_cli.kernels import fused

pytest.importorskip("triton", reason="triton has no wheel for this platform")
# Exponentials of padding, and of what a case is about, may overflow as they do on a card.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

LETTERS = 4


@pytest.fixture(scope="module")
def kernels() -> tuple[ModuleType, ModuleType]:
    """The Triton modules, made for the interpreter, whatever imports them later."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        names = ("pooling", "dilation")
        found = tuple(importlib.import_module(f"yuzu_cli.kernels.fused.{name}") for name in names)
    return found  # type: ignore[return-value]


class Read(NamedTuple):
    """What both functions read, besides their own."""

    rows: Tensor
    reference: Tensor
    start: Tensor


@dataclass(frozen=True)
class Case:
    """Shapes of one call."""

    width: int = 5
    size: int = 40
    starts: tuple[int, ...] = (-3, 0, 11, 36, 40)
    letters: int = 3
    batch: int = 2
    channels: int = 20

    def read(self, seed: int = 0) -> Read:
        draw = torch.Generator().manual_seed(seed)
        start = torch.tensor(self.starts)
        shape = (self.width, len(start), self.letters, self.batch, self.channels)
        rows = torch.randn(shape, generator=draw)
        at = start + torch.arange(self.width)[:, None]
        rows[(at < 0) | (at >= self.size)] = 0.0
        reference = torch.randn((self.size, self.batch, self.channels), generator=draw)
        return Read(rows, reference, start)


def blank(width: int, like: Tensor) -> Tensor:
    """An output that shows what was not written."""
    return torch.full((width, *like.shape[1:]), 1e30)


def pooled(how: plain.Pool, read: Read) -> tuple[Tensor, int]:
    """First rows that any row of the windows reaches, and how many."""
    span = how.gap * (how.kernel - 1)
    start = torch.div(read.start + how.padding - span, how.stride, rounding_mode="floor")
    return start, (len(read.rows) + span - 1) // how.stride + 2


def pool_of(size: int, activation: str, kernel: int, stride: int, padding: int = 0, gap: int = 1):
    out = (size + 2 * padding - gap * (kernel - 1) - 1) // stride + 1
    return plain.Pool(size, out, activation, kernel, stride, padding, gap)


def whole(read: Read, size: int) -> tuple[Tensor, Tensor]:
    """Deltas and reference as the model's tensors: (E, C, size) both."""
    w, p, k, b, c = read.rows.shape
    deltas = torch.zeros(p, k, b, size, c)
    for i, start in enumerate(read.start.tolist()):
        for row in range(w):
            if 0 <= start + row < size:
                deltas[i, :, :, start + row] = read.rows[row, i]
    reference = read.reference.permute(1, 0, 2).expand(p, k, b, size, c)
    return (x.reshape(-1, size, c).transpose(1, 2) for x in (deltas, reference))  # type: ignore


def laid_out(result: Tensor, start: Tensor, width: int, like: Tensor) -> Tensor:
    """A tensor (E, C, size) as windows (v, P, K, B, C), zero outside."""
    _, p, k, b, c = like.shape
    rows = result.transpose(1, 2).reshape(p, k, b, -1, c)
    out = torch.zeros(width, p, k, b, c)
    for i, first in enumerate(start.tolist()):
        for row in range(width):
            if 0 <= first + row < rows.shape[3]:
                out[row, i] = rows[i, :, :, first + row]
    return out


# --- the definition -----------------------------------------------------------------------------


@pytest.mark.parametrize("activation", plain.ACTIVATIONS)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "gap"),
    [(1, 1, 0, 1), (3, 3, 0, 1), (4, 4, 1, 1), (3, 2, 1, 2), (2, 3, 1, 1), (9, 4, 3, 1)],
)
def test_the_definition_is_that_of_whole_tensors(activation, kernel, stride, padding, gap):
    read, function = Case().read(), plain.ACTIVATIONS[activation]
    how = pool_of(40, activation, kernel, stride, padding, gap)
    start, width = pooled(how, read)
    out = blank(width, read.rows)
    plain.pool(out, *read, start, how)
    deltas, reference = whole(read, 40)
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": gap}
    values, beneath = (function(x) for x in (reference + deltas, reference))
    expected = F.max_pool1d(values, **options) - F.max_pool1d(beneath, **options)
    torch.testing.assert_close(out, laid_out(expected, start, width, out), rtol=0, atol=4e-6)


@pytest.mark.parametrize(("kernel", "gap", "residual"), [(3, 4, True), (5, 2, False), (1, 1, True)])
def test_the_definition_of_a_dilated_block_is_that_of_whole_tensors(kernel, gap, residual):
    read, pad = Case().read(), gap * (kernel // 2)
    taps = torch.randn(kernel, 20, 20) / 8
    how = plain.Dilated(40, gap, pad, "relu", residual)
    out = blank(5 + 2 * pad, read.rows)
    plain.dilated(out, read.rows, taps, read.reference, read.start, read.start - pad, how)
    deltas, reference = whole(read, 40)
    change = F.conv1d(deltas, taps.permute(2, 1, 0), padding=pad, dilation=gap)
    expected = torch.relu(reference + change) - torch.relu(reference) + deltas * residual
    expected = laid_out(expected, read.start - pad, len(out), out)
    torch.testing.assert_close(out, expected, rtol=0, atol=4e-6)


# --- the kernels --------------------------------------------------------------------------------

SHAPES = {
    "plain": Case(),
    "one of each": Case(width=1, starts=(7,), letters=1, batch=1, channels=1),
    "amino acids": Case(letters=19, batch=1, channels=5),
    "more than a block": Case(width=2, starts=(3,), batch=9, channels=70),
    "all outside": Case(starts=(-9, 50)),
    "wider than the tensor": Case(width=60, starts=(-7, -20), batch=1),
}


def same(kernel: Tensor, definition: Tensor) -> None:
    torch.testing.assert_close(kernel, definition, rtol=2e-6, atol=4e-6, equal_nan=True)


@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 2, 1)])
def test_every_shape(case, kernel, stride, padding, kernels):
    read = case.read()
    how = pool_of(case.size, "relu", kernel, stride, padding)
    start, width = pooled(how, read)
    one, other = blank(width, read.rows), blank(width, read.rows)
    plain.pool(one, *read, start, how)
    kernels[0].pool(other, *read, start, how)
    assert torch.equal(one, other)
    assert case is SHAPES["all outside"] or one.any()


@pytest.mark.parametrize("activation", plain.ACTIVATIONS)
def test_every_function(activation, kernels):
    """Over the whole range of float32 that a model has, and where small differences count."""
    base = torch.tensor([0.0, 1e-6, 1e-3, 0.1, 0.29, 0.31, 0.7, 1.0, 3.0, 9.0, 21.0])
    base = torch.cat([base, -base])
    read = Read(
        torch.tensor([0.0, 1e-7, -1e-4, 0.02, -0.5, 2.0]).view(1, 1, 6, 1, 1)
        * base.abs().clamp(min=1.0),
        base.view(1, 1, -1),
        torch.tensor([0]),
    )
    how = plain.Pool(1, 1, activation)
    one, other, exact = blank(1, read.rows), blank(1, read.rows), blank(1, read.rows).double()
    plain.pool(one, *read, read.start, how)
    kernels[0].pool(other, *read, read.start, how)
    plain.pool(exact, read.rows.double(), read.reference.double(), *[read.start] * 2, how)
    function = plain.ACTIVATIONS[activation]
    size = function(read.reference[:, :, None] + read.rows).abs() + function(read.reference).abs()
    own, found = ((x - exact).abs() / size.clamp(min=1e-30) for x in (one, other))
    assert float(found.max()) <= 1.2 * float(own.max()) + 1e-7
    assert not other[:, :, 0].any()  # where nothing changed, nothing comes of it


def test_scales_of_either_sign_and_tables_of_pairs(kernels):
    read = Case(width=4).read()
    draw = torch.Generator().manual_seed(2)
    table = torch.randn((4, LETTERS**2, 20), generator=draw)
    pairs = torch.randint(0, LETTERS**2, (5, 3, 2), generator=draw)
    expanded = table[:, pairs]  # (w, P, K, B, C)
    at = read.start + torch.arange(4)[:, None]
    how = pool_of(40, "relu", 3, 3)
    start, width = pooled(how, read)
    options = {"scale": torch.randn(20, generator=draw), "pairs": pairs}
    one, other, third = (blank(width, read.rows) for _ in range(3))
    plain.pool(one, table, *read[1:], start, how, **options)
    kernels[0].pool(other, table, *read[1:], start, how, **options)
    assert torch.equal(one, other)
    expanded[(at < 0) | (at >= 40)] = 0.0
    plain.pool(third, expanded, *read[1:], start, how, scale=options["scale"])
    assert torch.equal(one, third)


def test_what_is_no_number_stays_none(kernels):
    read = Case().read()
    read.rows[2, 2, 0, 0, 3] = torch.nan
    how = pool_of(40, "relu", 3, 2)
    start, width = pooled(how, read)
    one, other = blank(width, read.rows), blank(width, read.rows)
    plain.pool(one, *read, start, how)
    kernels[0].pool(other, *read, start, how)
    assert one.isnan().any()
    assert torch.equal(one.isnan(), other.isnan())


@pytest.mark.parametrize("products", ["ieee", "tf32x3"])
@pytest.mark.parametrize("channels", [16, 48, 64, 80, 5])
def test_dilated_blocks(channels, products, kernels):
    read = Case(channels=channels, starts=(-3, 0, 19, 37)).read()
    for kernel, gap, residual, activation in ((3, 4, True, "relu"), (5, 1, False, "gelu")):
        pad = gap * (kernel // 2)
        taps = torch.randn(kernel, channels, channels) / channels
        how = plain.Dilated(40, gap, pad, activation, residual, products)
        one, other = (blank(5 + 2 * pad, read.rows) for _ in range(2))
        arguments = (read.rows, taps, read.reference, read.start, read.start - pad, how)
        plain.dilated(one, *arguments)
        kernels[1].dilated(other, *arguments)
        same(other, one)
        assert one.any()


# --- every shape of the zoo ---------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A convolution of the zoo with what follows it; `scaled` by a batch norm behind."""

    kernel: int
    padding: int
    pool: tuple[int, int, int] = (1, 1, 0)
    gap: int = 1
    activation: str = "relu"
    scaled: bool = False
    residual: bool | None = None


def padded(kernel: int, **options) -> Layer:
    return Layer(kernel, kernel // 2, **options)


def bpnet(layers: int, residual: bool) -> list[Layer]:
    gaps = [2**i for i in range(1, layers + 1)]
    return [padded(21), *(Layer(3, g, gap=g, residual=residual) for g in gaps)]


THIRDS = ((3, 3, 0), (4, 4, 0), (4, 4, 0))
ZOO: dict[str, tuple[int, list[Layer]]] = {
    "deepsea": (173, [Layer(8, 0, (4, 4, 0)), Layer(8, 0, (4, 4, 0)), Layer(8, 0)]),
    "basset": (
        131,
        [padded(k, pool=p, scaled=True) for k, p in zip((19, 11, 7), THIRDS, strict=True)],
    ),
    "factorized basset": (
        131,
        [
            *(padded(k) for k in (3, 3, 3, 7)),
            *(padded(7, pool=THIRDS[0]), padded(7), padded(3), padded(3, pool=THIRDS[1])),
            padded(7, pool=THIRDS[2]),
        ],
    ),
    "aitac3": (101, [padded(k, pool=(p, p, 1)) for k, p in ((19, 3), (11, 4), (7, 4))]),
    "residual aitac": (61, [padded(k, activation="gelu") for k in (19, 7)]),
    "toynet": (101, [padded(7), padded(7)]),
    "bpnet4": (121, bpnet(4, True)),
    "bpnet4-plain": (121, bpnet(4, False)),
    "bpnet9": (121, bpnet(9, True)),
}


@pytest.mark.parametrize("name", ZOO)
def test_every_pass_of_the_zoo(name, kernels):
    """Windows as edits make them, at both ends and in the middle, through all layers."""
    size, layers = ZOO[name]
    edits = torch.tensor([0, size // 2 + 1, size - 1])
    start, letters, batch, channels = edits, 3, 1, 16
    draw = torch.Generator().manual_seed(1)
    rows: Tensor = torch.randn((1, 3, letters, batch, channels), generator=draw)
    for layer in layers:
        span = layer.gap * (layer.kernel - 1)
        after = size + 2 * layer.padding - span
        reference = torch.randn((after, batch, channels), generator=draw)
        if layer.residual is not None:
            rows, start = block_of(layer, rows, start, size, reference, draw, kernels)
            continue
        # The product's rows: random, as only their place counts here.
        start = start + layer.padding - span
        width = len(rows) + span
        rows = torch.randn((width, *rows.shape[1:]), generator=draw)
        at = start + torch.arange(width)[:, None]
        rows[(at < 0) | (at >= after)] = 0.0
        scale = torch.randn(channels, generator=draw) if layer.scaled else None
        how = pool_of(after, layer.activation, *layer.pool)
        out_start, out_width = pooled(how, Read(rows, reference, start))
        one, other = blank(out_width, rows), blank(out_width, rows)
        plain.pool(one, rows, reference, start, out_start, how, scale)
        kernels[0].pool(other, rows, reference, start, out_start, how, scale)
        same(other, one)
        rows, start, size = one, out_start, how.out_size
    assert rows.any()


def block_of(layer, rows, start, size, reference, draw, kernels) -> tuple[Tensor, Tensor]:
    taps = torch.randn((3, 16, 16), generator=draw) / 8
    how = plain.Dilated(size, layer.gap, layer.padding, "relu", bool(layer.residual))
    # No window needs to be wider than the sequence.
    out_start = (start - layer.padding).clamp(min=0)
    stop = int((start + len(rows) + layer.padding - out_start).max())
    one = blank(min(size, stop), rows)
    other = one.clone()
    plain.dilated(one, rows, taps, reference, start, out_start, how)
    kernels[1].dilated(other, rows, taps, reference, start, out_start, how)
    same(other, one)
    return one, out_start


# --- which is taken -----------------------------------------------------------------------------


def test_cpus_take_the_definition():
    assert not fused.can_fuse(torch.device("cpu"))
    found = fused.between(torch.device("cpu"))
    assert (found.pool, found.dilated, found.fused) == (plain.pool, plain.dilated, False)


@pytest.mark.usefixtures("kernels")
def test_the_kernels_are_taken_where_they_can_be(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert fused.can_fuse(torch.device("cpu"))
    call = fused.Guarded("pool", "pooling")
    monkeypatch.setattr(call, "plain", None)
    read = Case().read()
    out = blank(5, read.rows)
    call(out, *read, read.start, pool_of(40, "relu", 1, 1))
    assert out.any()
    with pytest.raises(TypeError):  # no kernel for these, and here no definition either
        call(out.double(), *read, read.start, pool_of(40, "relu", 1, 1))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    "change", [{"rows": torch.Tensor.double}, {"reference": torch.Tensor.half}]
)
def test_other_types_take_the_definition(change):
    read = Case().read()
    read = read._replace(**{k: f(getattr(read, k)) for k, f in change.items()})
    out = blank(5, read.rows)
    fused.Guarded("pool", "pooling")(out, *read, read.start, pool_of(40, "relu", 1, 1))
    assert out.abs().max() < 1e3


@pytest.mark.parametrize("name", ["pool", "dilated"])
def test_a_compiler_that_fails_is_told_once(name, kernels, monkeypatch, caplog):
    module = kernels[name == "dilated"]
    calls = []

    def failing(*arguments, **options):
        calls.append(name)
        raise RuntimeError("several lines\nFailed to find C compiler")

    monkeypatch.setattr(module, name, failing)
    call = fused.Guarded(name, module.__name__.rpartition(".")[2])
    read = Case().read()
    taps = [torch.randn(3, 20, 20)] if name == "dilated" else []
    how = plain.Dilated(40, 1, 1) if name == "dilated" else pool_of(40, "relu", 1, 1)
    arguments = (read.rows, *taps, read.reference, read.start, read.start, how)
    expected = blank(5, read.rows)
    getattr(plain, name)(expected, *arguments)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            out = blank(5, read.rows)
            call(out, *arguments)
            assert torch.equal(out, expected)
    (line,) = caplog.messages
    assert f"kernel {name} cannot be compiled here (RuntimeError: Failed to find C comp" in line
    assert calls == [name]


@pytest.mark.parametrize("name", ["pool", "dilated"])
def test_memory_that_runs_out_is_no_fault_of_the_compiler(name, kernels, monkeypatch):
    module = kernels[name == "dilated"]

    def failing(*arguments, **options):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(module, name, failing)
    call, read = fused.Guarded(name, module.__name__.rpartition(".")[2]), Case().read()
    with pytest.raises(torch.OutOfMemoryError):
        call(blank(5, read.rows), *read)
    assert not call.broken


def test_the_equality_can_fail(kernels):
    read = Case().read()
    how = pool_of(40, "relu", 3, 2, 1)
    start, width = pooled(how, read)
    one, other = blank(width, read.rows), blank(width, read.rows)
    plain.pool(one, *read, start, how)
    kernels[0].pool(other, *read, start, replace(how, padding=0))
    with pytest.raises(AssertionError):
        same(other, one)
