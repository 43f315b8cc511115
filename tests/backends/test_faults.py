"""Nets on which windowed once was wrong, crashed, or refused without need: each against the oracle.

Every line of a table is a small net; see `tests.support.written`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support import conformance, oracle
from tests.support.conformance import SLACK
from tests.support.written import Written
from yuzu_cli.backends.windowed import understand
from yuzu_cli.operators.record import WHOLE

HOW = ("scripted", "traced")
LENGTH = 60
STEM: dict[str, Any] = {"stem": lambda: nn.Conv1d(4, 6, 5, padding=2)}
pytestmark = pytest.mark.filterwarnings("ignore:Using a target size")


def check(net: Written, how: str, folder: Path) -> None:
    """Windowed takes the net, and is as exact as naive; naive is exact enough for that to count."""
    subject = net.subject()
    judged = conformance.truth(subject, tuple(range(net.length)))
    effects = [oracle.largest(exact) for exact, _ in judged]
    assert max(effects) > 0, "no edit changes anything"
    fine = [SLACK * naive < 1e-2 * of for (_, naive), of in zip(judged, effects, strict=True)]
    assert any(fine), "naive is too far off to judge by"
    conformance.LOADED.pop((subject, how), None)
    conformance.run(subject, how, "windowed", folder)


def table(*nets: Written, in_turn: bool = False) -> Any:
    """Every net, scripted or traced in turn; the other way too among the long tests, unless they
    are very many."""
    cases = [
        pytest.param(net, how, id=f"{net.name}-{how}", marks=[pytest.mark.slow] * (how != quick))
        for net, quick in zip(nets, cycle(HOW), strict=False)
        for how in ([quick] if in_turn else HOW)
    ]
    return pytest.mark.parametrize(("net", "how"), cases)


def written(name: str, body: str, length: int = LENGTH, **parts: Callable[[], Any]) -> Written:
    return Written(name, body, parts, length)


# --- after flatten ------------------------------------------------------------------------------


def flat(name: str, tail: str, **parts: Callable[[], Any]) -> Written:
    """`tail` is a function of f (N, 360), a flattened activation of six channels."""
    body = f"h = torch.relu(self.stem(x))\nf = h.flatten(1)\n{tail}"
    return Written(f"flatten-{name}", body, {**STEM, **parts}, LENGTH)


WIDE = 6 * LENGTH


@table(
    flat(
        "unsqueeze-conv",
        "self.head(f.unsqueeze(-1)).flatten(1)",
        head=lambda: nn.Conv1d(WIDE, 5, 1),
    ),
    flat(
        "unsqueeze-groups",
        "y = torch.relu(self.a(f.unsqueeze(-1)))\nself.b(y).flatten(1)",
        a=lambda: nn.Conv1d(WIDE, 30, 1, groups=6),
        b=lambda: nn.Conv1d(30, 6, 1, groups=6),
    ),
    flat(
        "unsqueeze-conv2d",
        "self.head(f[:, :, None, None]).flatten(1)",
        head=lambda: nn.Conv2d(WIDE, 3, 1),
    ),
    flat(
        "unsqueeze-channel",
        "self.head(f.unsqueeze(1)).flatten(1)",
        head=lambda: nn.Conv1d(1, 3, 7, 5),
    ),
    flat(
        "unsqueeze-linear", "self.head(f.unsqueeze(1)).squeeze(1)", head=lambda: nn.Linear(WIDE, 3)
    ),
    flat(
        "unsqueeze-matmul",
        "torch.matmul(f.unsqueeze(1), self.m).squeeze(1)",
        m=lambda: torch.randn(WIDE, 3),
    ),
    flat(
        "unsqueeze-squeeze", "self.head(f.unsqueeze(2).squeeze(2))", head=lambda: nn.Linear(WIDE, 3)
    ),
    flat("slice-first", "f[:, :100]"),
    flat("slice-last", "self.head(f[:, 100:])", head=lambda: nn.Linear(WIDE - 100, 3)),
    flat("slice-steps", "f[:, 3::7]"),
    flat("slice-negative", "f[:, -40:-3]"),
    flat("narrow", "self.head(f.narrow(1, 50, 200))", head=lambda: nn.Linear(200, 3)),
    flat("select", "torch.stack([f.select(1, 77), f[:, -30]], 1)"),
    flat("index", "f.index_select(1, self.index)", index=lambda: torch.tensor([3, 350, 7, 7, 180])),
    flat(
        "flip-reshape",
        "self.head(f.flip(1).reshape(-1, 6, 60)).flatten(1)",
        head=lambda: nn.Conv1d(6, 2, 3),
    ),
    flat("flip", "self.head(f.flip(1))", head=lambda: nn.Linear(WIDE, 3)),
    flat("roll", "self.head(f.roll(5, 1))", head=lambda: nn.Linear(WIDE, 3)),
    flat("pad", "self.head(F.pad(f, [3, 2]))", head=lambda: nn.Linear(WIDE + 5, 3)),
    flat("permute", "self.head(f.permute(1, 0).permute(1, 0))", head=lambda: nn.Linear(WIDE, 3)),
    flat("transposed-product", "torch.matmul(self.m, f.t()).t()", m=lambda: torch.randn(3, WIDE)),
    flat(
        "other-order",
        "self.head(f.reshape(-1, 60, 6)).flatten(1)",
        head=lambda: nn.Conv1d(60, 3, 2),
    ),
    flat("view-back", "self.head(f.view(-1, 6, 60)).flatten(1)", head=lambda: nn.Conv1d(6, 3, 7)),
    flat("view-sum", "f.view(-1, 2, 180).sum(1)"),
    flat("unflatten", "self.head(f.unflatten(1, (6, 60)).amax(2))", head=lambda: nn.Linear(6, 3)),
    flat("cat-itself", "torch.cat([f[:, :50], f], 1)"),
    flat(
        "cat-mean", "self.head(torch.cat([f, h.mean(2)], 1))", head=lambda: nn.Linear(WIDE + 6, 3)
    ),
    flat(
        "stack", "self.head(torch.stack([f, f * f], 1)).flatten(1)", head=lambda: nn.Linear(WIDE, 2)
    ),
    flat(
        "product",
        "self.head(f * self.m)",
        m=lambda: torch.randn(WIDE),
        head=lambda: nn.Linear(WIDE, 3),
    ),
    flat("row-product", "f * self.m", m=lambda: torch.randn(1, WIDE)),
    flat("sum-of-two", "f + x.repeat(1, 2, 1)[:, :6].flatten(1)"),
    flat("product-of-two", "(f * torch.sigmoid(h).flatten(1))[:, 20:200]"),
    flat("softmax", "f.softmax(1)[:, ::10]"),
    flat("log-softmax", "F.log_softmax(f, 1)[:, ::10]"),
    flat("mean", "f.mean(1, keepdim=True)"),
    flat("centred", "(f - f.mean(1, keepdim=True))[:, ::9]"),
    flat("maximum", "f.max(1)[0].unsqueeze(1)"),
    flat("logsumexp", "f.logsumexp(1, keepdim=True)"),
    flat("norm", "torch.linalg.vector_norm(f, dim=1, keepdim=True)"),
    flat("std", "f.std(1, keepdim=True)"),
    flat("cumsum", "f.cumsum(1)[:, ::20]"),
    flat("chunks", "a, b = f.chunk(2, 1)\na * b"),
    flat("split", "a, b = f.split([100, 260], 1)\ntorch.cat([b[:, :20], a[:, :20]], 1)"),
    flat(
        "unsafe-chunks",
        "a, b = torch.unsafe_chunk(self.a(f), 2, 1)\n"
        "c, d = torch.unsafe_split_with_sizes(self.b(torch.tanh(a)), [3, 6], 1)\n"
        "c + d[:, 3:] * b",
        a=lambda: nn.Linear(WIDE, 6),
        b=lambda: nn.Linear(3, 9),
    ),
    flat(
        "cell",
        "y = self.cell(f[:, :40], f[:, 40:46])\nself.cell(f[:, 46:86], y)",
        cell=lambda: nn.GRUCell(40, 6),
    ),
    flat("repeat", "self.head(f.repeat(1, 2))", head=lambda: nn.Linear(2 * WIDE, 3)),
    flat(
        "layer-norm",
        "self.head(self.norm(f))",
        norm=lambda: nn.LayerNorm(WIDE),
        head=lambda: nn.Linear(WIDE, 3),
    ),
    flat(
        "batch-norm",
        "self.head(self.norm(f))",
        norm=lambda: nn.BatchNorm1d(WIDE),
        head=lambda: nn.Linear(WIDE, 3),
    ),
    flat("batch-norm-slice", "self.norm(f)[:, 90:200]", norm=lambda: nn.BatchNorm1d(WIDE)),
    flat("negated", "(-f)[:, :90]"),
    flat("where", "torch.where(self.m > 0, f, -f)[:, :90]", m=lambda: torch.randn(WIDE)),
    flat("pool", "F.avg_pool1d(f.unsqueeze(1), 60).flatten(1)"),
    flat("max-pool", "F.max_pool1d(f.unsqueeze(1), 7).flatten(1)"),
    flat("topk", "f.topk(5, 1)[0]"),
    flat("sort", "f.sort(1)[0][:, -40:]"),
)
def test_after_flatten(net, how, tmp_path):
    check(net, how, tmp_path)


# --- several tensors of the input at once -------------------------------------------------------


def inputs(name: str, body: str, **parts: Callable[[], Any]) -> Written:
    return Written(f"input-{name}", body, parts, LENGTH)


@table(
    inputs("unbind", "a, c, g, t = x.unbind(1)\na * 0.3 + torch.sin(c + 2.0 * g) - t"),
    inputs("unbind-one", "torch.tanh(x.unbind(1)[2] + 0.5)"),
    inputs("unbind-positions", "p = x.unbind(2)\np[3] * p[4] + p[-1]"),
    inputs(
        "unbind-cat",
        "p = x.unbind(1)\nh = torch.relu(self.c(x))\ntorch.cat([p[0].unsqueeze(1), h], 1)",
        c=lambda: nn.Conv1d(4, 3, 5, padding=2),
    ),
    inputs(
        "unbind-stack",
        "p = x.unbind(1)\nself.c(torch.stack([p[3], p[0]], 1))",
        c=lambda: nn.Conv1d(2, 3, 5),
    ),
    inputs(
        "select-dose",
        "d = x.select(1, 1)\nself.c(x) * d[:, 2:-2].unsqueeze(1)",
        c=lambda: nn.Conv1d(4, 3, 5),
    ),
    inputs(
        "select-position",
        "self.c(x).mean(2) * (x.select(2, 30)[:, :3] + 0.5)",
        c=lambda: nn.Conv1d(4, 3, 5),
    ),
    inputs(
        "split",
        "a, b = x.split([1, 3], 1)\ntorch.cat([self.c(b), a], 1)",
        c=lambda: nn.Conv1d(3, 3, 5, padding=2),
    ),
    inputs(
        "split-positions",
        "a, b = x.split([20, 40], 2)\nb = self.c(b)\ntorch.cat([b.flatten(1), a.flatten(1)], 1)",
        c=lambda: nn.Conv1d(4, 3, 5),
    ),
    inputs("chunk", "a, b = x.chunk(2, 1)\nself.c(a * 2.0 + b)", c=lambda: nn.Conv1d(2, 3, 5)),
    inputs(
        "chunk-positions",
        "a, b = x.chunk(2, 2)\nself.c(a) * self.c(b)",
        c=lambda: nn.Conv1d(4, 3, 5),
    ),
    inputs(
        "max-channels",
        "v, i = (x + self.t).max(1)\nself.c(v.unsqueeze(1))",
        t=lambda: torch.rand(4, 1),
        c=lambda: nn.Conv1d(1, 3, 5),
    ),
    inputs(
        "max-plain",
        "self.c(x.max(1, keepdim=True)[0] * self.t + x)",
        t=lambda: torch.rand(60),
        c=lambda: nn.Conv1d(4, 3, 5),
    ),
    inputs(
        "max-positions",
        "torch.cat([x.max(2)[0], self.c(x).amax(2)], 1)",
        c=lambda: nn.Conv1d(4, 3, 5),
    ),
    inputs(
        "min-positions",
        "torch.cat([x[:, :, 10:13].min(2)[0], self.c(x).amin(2)], 1)",
        c=lambda: nn.Conv1d(4, 3, 5),
    ),
    inputs(
        "max-letters",
        "self.c(self.e(x.max(1)[1]).transpose(1, 2))",
        e=lambda: nn.Embedding(4, 3),
        c=lambda: nn.Conv1d(3, 3, 5),
    ),
    inputs(
        "argmax",
        "self.c(self.e(x.argmax(1)).transpose(1, 2))",
        e=lambda: nn.Embedding(4, 3),
        c=lambda: nn.Conv1d(3, 3, 5),
    ),
    inputs(
        "topk",
        "v, i = (x * self.t).topk(2, 1)\nself.c(v)",
        t=lambda: torch.rand(4, 1) + 0.2,
        c=lambda: nn.Conv1d(2, 3, 5),
    ),
    inputs(
        "topk-cat",
        "torch.cat([x.topk(2, 1)[0][:, :, 3:-1], self.c(x)], 1)",
        c=lambda: nn.Conv1d(4, 3, 5),
    ),
    inputs("topk-positions", "(x * self.t).topk(5, 2)[0].flatten(1)", t=lambda: torch.rand(60)),
    inputs(
        "sort",
        "v, i = (x * self.t).sort(1)\nself.c(v)",
        t=lambda: torch.rand(4, 1) + 0.2,
        c=lambda: nn.Conv1d(4, 3, 5),
    ),
    inputs(
        "sort-plain",
        "v, i = x.sort(2)\ntorch.cat([v, self.c(x)], 1)",
        c=lambda: nn.Conv1d(4, 3, 5, padding=2),
    ),
    inputs(
        "sort-indices",
        "(x * self.t).sort(1)[1].to(x.dtype) * self.c(x)",
        t=lambda: torch.rand(4, 1) + 0.2,
        c=lambda: nn.Conv1d(4, 1, 5, padding=2),
    ),
    inputs("cummax", "(x * self.t).cummax(2)[0]", t=lambda: torch.rand(60)),
    inputs("median", "(x + self.t).median(1)[0]", t=lambda: torch.rand(4, 60)),
    inputs(
        "var-mean",
        "v, m = torch.var_mean(x * self.t, dim=2)\ntorch.cat([v, m], 1)",
        t=lambda: torch.rand(60),
    ),
    inputs(
        "cat-of-pieces",
        "a, b = x.split(2, 1)\np = x.unbind(1)[0].unsqueeze(1)\nm = x.max(1, keepdim=True)[0]\n"
        "torch.cat([b, p, a, m, self.c(x)], 1)",
        c=lambda: nn.Conv1d(4, 1, 3, padding=1),
    ),
)
def test_pieces_of_the_input(net, how, tmp_path):
    check(net, how, tmp_path)


@table(
    written("unbind", "p = torch.relu(self.stem(x)).unbind(1)\np[0] * p[3] + p[5]", **STEM),
    written("chunk-gate", "a, b = self.stem(x).chunk(2, 1)\na * torch.sigmoid(b)", **STEM),
    written(
        "max-index", "v, i = self.stem(x).max(1)\nv * self.t[i]", t=lambda: torch.rand(6), **STEM
    ),
    written("topk-channels", "self.stem(x).topk(3, 1)[0]", **STEM),
    written(
        "sort-channels", "self.c(self.stem(x).sort(1)[0])", c=lambda: nn.Conv1d(6, 2, 5), **STEM
    ),
    written(
        "split-uneven",
        "a, b, c = self.stem(x).split([1, 2, 3], 1)\na * b[:, :1] + c[:, 1:2]",
        **STEM,
    ),
    written(
        "stretches",
        "(self.stem(x).unfold(2, 7, 3) * self.w).amax(3)",
        w=lambda: torch.randn(7),
        **STEM,
    ),
    written("cat-of-tuple", "torch.cat(self.stem(x).split(2, 1)[::2], 1)", **STEM),
)
def test_pieces_of_an_activation(net, how, tmp_path):
    check(net, how, tmp_path)


# --- products that grow an axis -----------------------------------------------------------------


@table(
    *(
        written(f"grows-{name}", f"h = self.stem(x)\n{body}", a=make, **STEM)
        for name, body, make in [
            ("last", "h.unsqueeze(-1) * self.a", lambda: torch.randn(3)),
            ("last-ranks", "h.unsqueeze(-1) * self.a", lambda: torch.randn(1, 1, 1, 3)),
            ("first", "self.a * h.unsqueeze(-1)", lambda: torch.randn(3)),
            ("middle", "h.unsqueeze(2) * self.a", lambda: torch.randn(3, 1)),
            ("channels", "h[:, :1] * self.a", lambda: torch.randn(5, 1)),
            ("table", "h.unsqueeze(1) * self.a", lambda: torch.randn(3, 6, 60)),
            ("sum", "h.unsqueeze(-1) + self.a", lambda: torch.randn(3)),
            ("difference", "self.a - h.unsqueeze(-1)", lambda: torch.randn(3)),
            ("quotient", "h.unsqueeze(-1) / self.a", lambda: torch.rand(3) + 1),
            ("minimum", "torch.minimum(h.unsqueeze(-1), self.a)", lambda: torch.randn(3)),
            (
                "where",
                "torch.where(self.a > 0, h.unsqueeze(-1), -h.unsqueeze(-1))",
                lambda: torch.randn(3),
            ),
            (
                "two-windows",
                "h.unsqueeze(-1) * torch.stack([h, -h], 3) + self.a",
                lambda: torch.randn(2),
            ),
            ("outer", "h.unsqueeze(1) * h.unsqueeze(2) + self.a", lambda: torch.randn(1)),
            (
                "then-conv",
                "F.conv1d((h[:, :1] * self.a), self.a.view(1, 5, 1))",
                lambda: torch.randn(5, 1),
            ),
            ("before-batch", "(h * self.a).sum(0)", lambda: torch.randn(3, 1, 1, 1)),
            (
                "radial",
                "torch.exp(-(h.unsqueeze(-1) - self.a) ** 2).sum(1)",
                lambda: torch.randn(4),
            ),
            ("positions", "(h.mean(2, keepdim=True) * self.a)", lambda: torch.randn(7)),
        ]
    )
)
def test_products_that_grow_an_axis(net, how, tmp_path):
    check(net, how, tmp_path)


# --- convolutions over a dummy axis -------------------------------------------------------------


@table(
    *(
        Written(
            f"dummy-{axis}-{name}",
            f"h = torch.tanh(self.stem(x))\n"
            f"torch.cat([self.c(h.unsqueeze({axis})).flatten(1), h[:, :, 30]], 1)",
            {**STEM, "c": lambda make=make, axis=axis: make(axis)},
        )
        for axis in (2, 3)
        for name, make in {
            "dilated": lambda axis: plane(nn.Conv2d, axis, (3, 2, 2, 1), (5, 2, 1, 1)),
            "dilated-even": lambda axis: plane(nn.Conv2d, axis, (2, 1, 2, 1), (5, 2, 1, 1)),
            "dilated-more": lambda axis: plane(nn.Conv2d, axis, (5, 6, 3, 1), (3, 2, 2, 1)),
            "padded": lambda axis: plane(nn.Conv2d, axis, (3, 1, 1, 1), (5, 0, 1, 2)),
            "strided": lambda axis: plane(nn.Conv2d, axis, (3, 1, 1, 2), (5, 2, 1, 1)),
            "groups": lambda axis: plane(nn.Conv2d, axis, (3, 2, 2, 1), (5, 2, 1, 1), groups=3),
            "transposed": lambda axis: plane(nn.ConvTranspose2d, axis, (3, 2, 2, 1), (5, 2, 1, 1)),
            "transposed-stride": lambda axis: plane(
                nn.ConvTranspose2d, axis, (3, 2, 2, 3), (4, 1, 1, 3)
            ),
            "grows": lambda axis: plane(nn.Conv2d, axis, (3, 2, 1, 1), (5, 2, 1, 1)),
        }.items()
    )
)
def test_convolutions_over_a_dummy_axis(net, how, tmp_path):
    check(net, how, tmp_path)


def plane(make: Any, axis: int, dummy: Any, positions: Any, **options: Any) -> nn.Module:
    """A 2-D convolution of 6 channels: kernel, padding, dilation, stride of either axis."""
    pairs = zip(dummy, positions, strict=True) if axis == 2 else zip(positions, dummy, strict=True)
    kernel, padding, dilation, stride = pairs
    return make(6, 6, kernel, stride, padding, dilation=dilation, **options)


# --- batches with other rows --------------------------------------------------------------------


@table(
    written(
        "background",
        "y = torch.relu(self.stem(torch.cat([self.b, x])))\n(self.head(y)[1:]).flatten(1)",
        b=lambda: torch.rand(1, 4, 60),
        head=lambda: nn.Conv1d(6, 2, 3),
        **STEM,
    ),
    written(
        "background-linear",
        "y = torch.relu(self.stem(torch.cat([self.b, x])))\n"
        "y = self.head(y.flatten(1))\ny[1:] - y[:1]",
        b=lambda: torch.rand(1, 4, 60),
        head=lambda: nn.Linear(360, 2),
        **STEM,
    ),
    written(
        "background-last",
        "y = self.head(self.stem(torch.cat([x, self.b])).reshape(-1, 360))\ny[:-2]",
        b=lambda: torch.rand(2, 4, 60),
        head=lambda: nn.Linear(360, 2),
        **STEM,
    ),
    written(
        "background-view",
        "n = x.shape[0] + 1\ny = self.stem(torch.cat([self.b, x])).view(n, 12, 30).amax(2)\ny[1:]",
        b=lambda: torch.rand(1, 4, 60),
        **STEM,
    ),
    written(
        "strands-background",
        "y = self.stem(torch.cat([x, self.b, x.flip([1, 2])]))\nn = x.shape[0]\n"
        "(y[:n] + y[n + 1 :].flip(2)).amax(2)",
        b=lambda: torch.rand(1, 4, 60),
        **STEM,
    ),
)
def test_other_rows_in_the_batch(net, how, tmp_path):
    check(net, how, tmp_path)


# --- masks --------------------------------------------------------------------------------------

INF = 'float("-inf")'
KEYS: dict[str, Callable[[], Any]] = {
    "m": lambda: torch.arange(60) % 5 == 2,
    "causal": lambda: torch.ones(60, 60).triu(1).bool(),
    **STEM,
}
ATTEND = "q = h.transpose(1, 2)\ns = torch.matmul(q, h) * 0.3\n"


@table(
    *(
        Written(f"mask-{name}", f"h = torch.tanh(self.stem(x))\n{body}", KEYS)
        for name, body in {
            "causal": ATTEND + f"torch.matmul(s.masked_fill(self.causal, {INF}).softmax(2), q)",
            "keys": ATTEND + f"torch.matmul(s.masked_fill(self.m, {INF}).softmax(2), q)",
            "added": ATTEND
            + f"b = torch.zeros_like(self.causal, dtype=x.dtype).masked_fill(self.causal, {INF})\n"
            "torch.matmul((s + b).softmax(2), q)",
            "function": "q = h.transpose(1, 2)\n"
            "F.scaled_dot_product_attention(q, q, q, ~self.causal)",
            "function-causal": "q = h.transpose(1, 2)\n"
            "F.scaled_dot_product_attention(q, q, q, is_causal=True)",
            "softmax": f"(h.masked_fill(self.m, {INF}).softmax(2) * h)",
            "weighted": f"(h.masked_fill(self.m, {INF}).softmax(2) * h).sum(2)",
            "logsumexp": f"h.masked_fill(self.m, {INF}).logsumexp(2)",
            "maximum": f"h.masked_fill(self.m, {INF}).amax(2)",
            "maximum-of-flip": f"h.masked_fill(self.m, {INF}).flip(2)[:, :, 3:].amax(2)",
            "blocks": f"h.masked_fill(self.m, {INF}).reshape(-1, 6, 12, 5).amax(3)",
            "blocks-softmax": f"h.masked_fill(self.m, {INF}).reshape(-1, 6, 12, 5).softmax(3)",
            "pad": f"F.max_pool1d(F.pad(h, [2, 3], value={INF}), 4, 2)",
            "exp": f"h.masked_fill(self.m, {INF}).exp()[:, :, 7:]",
            "two-steps": f"h.masked_fill(self.m, {INF}).reshape(-1, 6, 60, 1).squeeze(3).exp()",
            "channels": f"F.pad(h, [0, 0, 1, 0], value={INF}).softmax(1)",
            "top": f"h.masked_fill(self.m, {INF}).topk(4, 2)[0]",
            "where": f"torch.where(self.m, torch.full_like(h, {INF}), h).mT.softmax(1)",
            # masks that an edit can change
            "data": f"h.masked_fill(x[:, :1] > 0.5, {INF}).softmax(2)",
            "data-least": "h.masked_fill(x[:, :1] > 0.5, -3.0e38).softmax(2)",
            "data-large": "h.masked_fill(x[:, :1] > 0.5, -1e9).softmax(2)",
            "data-added": "(h + x[:, :1] * -10000.0).softmax(2)",
            "data-negated": "(h + (1.0 - x[:, 1:2]) * -1e9).reshape(-1, 3, 120).softmax(2)",
            "data-weighted": f"(h.masked_fill(x[:, 1:2] > 0.5, {INF}).softmax(2) * h).sum(2)",
            "data-pad": f"F.pad(h.masked_fill(x[:, 1:2] > 0.5, {INF}), [2, 3]).exp()",
            "data-maximum": f"h.masked_fill(x[:, 1:2] > 0.5, {INF}).amax(2)",
            "data-blocks": f"h.masked_fill(x[:, 1:2] > 0.5, {INF}).reshape(-1, 6, 6, 10).amax(3)",
            "data-where": f"h = torch.where(x[:, :1] > 0.5, torch.full_like(h, {INF}), h)\n"
            "h.flip(2).exp()",
            "data-keys": ATTEND
            + f"torch.matmul(s.masked_fill(x[:, :1] > 0.5, {INF}).softmax(2), q)",
        }.items()
    )
)
def test_masks(net, how, tmp_path):
    check(net, how, tmp_path)


# --- functions that make much of little -----------------------------------------------------------

# Sums that are exactly 0 for many mutants: of few positions, of activations that are mostly 0.
SUMS = {
    "pool": "m = F.avg_pool1d(h, 7)",
    "pool-stride": "m = F.avg_pool1d(h, 3, 2, 1)",
    "pool-uncounted": "m = F.avg_pool1d(h, 5, 3, 2, count_include_pad=False)",
    "pool-ceil": "m = F.avg_pool1d(h, 7, 4, ceil_mode=True)",
    "uneven": "m = F.adaptive_avg_pool1d(h, 13)",
    "blocks": "m = h.reshape(-1, 3, 20, 3).mean(3)",
    "mean": "m = h[:, :, 8:14].mean(2, keepdim=True)",
    "sum": "m = h[:, :, 20:27].sum(2, keepdim=True)",
    "both": "m = h[:, :2, 30:33].mean([1, 2], keepdim=True)",
    "pool-mean": "m = F.avg_pool1d(h[:, :, 8:19], 7).mean(2, keepdim=True)",
    "pool-pool": "m = F.max_pool1d(F.avg_pool1d(h, 3, 1, 1), 2)",
    "pool-sum": "m = F.avg_pool1d(h, 5).sum(1, keepdim=True)",
    "convolution": "m = F.conv1d(h, self.k)",
    "convolution-stride": "m = F.conv1d(h, self.k, None, 3, 2, 2)",
    "convolution-2d": "m = F.conv2d(h.unsqueeze(2), self.k.unsqueeze(2)).squeeze(2)",
    "transposed": "m = F.conv_transpose1d(h, self.k.transpose(0, 1), None, 2)",
    "linear": "m = torch.matmul(h.transpose(1, 2), self.w).transpose(1, 2)",
    "matrix": "m = torch.matmul(h[:, :, 10:12].reshape(-1, 6), self.v)",
    "difference": "a = F.avg_pool1d(h, 3, 1, 1)\nm = (a - F.max_pool1d(a, 3, 1, 1)).neg()",
    "cumsum": "m = h[:, :, 10:22].cumsum(2)",
    "attention": "m = (self.logits.softmax(0) * h[:, :, 20:26]).sum(2, keepdim=True)",
}
# What may stand between.
HARMLESS = {
    "nothing": "",
    "relu": "m = 3.0 * torch.relu(m)",
    "moves": "m = F.pad(m.transpose(1, 2).flip(1).transpose(1, 2), [2, 1]).contiguous()",
    "slice": "m = torch.cat([m[:, :, 1:], m[:, :, :1]], 2)",
    "double": "m = F.interpolate(m, scale_factor=2.0)",
    "channels": "m = torch.cat([m, m.mean(1, keepdim=True)], 1)",
    "largest": "m = F.max_pool1d(m, 2, 1, 1)",
    "flat": "m = m.flatten(1)",
    "shared": "m = m * torch.sigmoid(m.amax(2, keepdim=True))",
}
FUNCTIONS = {
    "sqrt": "m.sqrt()",
    "log": "(m + 1e-7).log()",
    "log10": "(m + 1e-7).log10()",
    "rsqrt": "(m + 1e-7).rsqrt()",
    "reciprocal": "1.0 / (m + 1e-6)",
    "quotient": "m / (m + 1e-5)",
    "power": "m**0.3",
    "power-1.5": "m**1.5",
    "normal": "F.normalize(m.flatten(1))",
    "deviation": "torch.stack([m, 2.0 * m]).std(0, unbiased=False)",
    "sign": "torch.sign(m)",
    "ceil": "torch.ceil(m)",
    "floor": "torch.floor(-m)",
    "above": "(m > 0).to(m.dtype)",
    "equal": "(m == 0).to(m.dtype)",
    "where": "torch.where(m > 0, m + 1.0, m - 1.0)",
    "remainder": "torch.remainder(-m, 1.0)",
    "embedding": "self.e(torch.ceil(m.clamp(max=2.5)).long())",
    "buckets": "self.e(torch.bucketize(m, self.bounds))",
    "nonzero": "torch.heaviside(m, torch.zeros_like(m))",
    "count": "(m.flatten(1) > 0).sum(1, keepdim=True).to(m.dtype) * 0.3",
    "entropy": "torch.special.entr(m.clamp(max=0.9)) * 10.0 + torch.sign(m)",
}
SPARSE = {
    "c": lambda: nn.Conv1d(4, 3, 3, padding=1),
    "k": lambda: torch.rand(3, 3, 3) * 0.1,
    "w": lambda: torch.rand(3, 5) * 0.1,
    "v": lambda: torch.rand(6, 5) * 0.1,
    "logits": lambda: torch.randn(6),
    "bounds": lambda: torch.tensor([0.0, 0.5]),
    "e": lambda: nn.Embedding(5, 2),
}


def steep(total: str, between: str, function: str) -> Written:
    lines = ["h = torch.relu(self.c(x) - 0.8)", SUMS[total], HARMLESS[between]]
    body = "\n".join(line for line in [*lines, FUNCTIONS[function]] if line)
    return Written(f"{total}-{between}-{function}", body, SPARSE, LENGTH)


@table(
    *(
        steep(total, "nothing", function)
        for total in SUMS
        for function in (FUNCTIONS if total in ("pool", "mean") else ("sqrt", "ceil", "quotient"))
    ),
    *(
        steep(total, between, function)
        for total in ("pool", "uneven", "convolution", "difference")
        for between in HARMLESS
        if between != "nothing"
        for function in ("sqrt", "sign")
    ),
    in_turn=True,
)
def test_functions_that_make_much_of_little(net, how, tmp_path):
    check(net, how, tmp_path)


@table(
    written("root-of-mean", "F.avg_pool1d(x, 7).mean(2).sqrt()"),
    written("root-of-pools", "F.avg_pool1d(x[:, :, 11:29], 7).mean(2).sqrt()"),
    written("share", "s = x[:, 1] + x[:, 2]\ntorch.floor(s.mean(1, keepdim=True) * 64) * s", 64),
    written("counts", "torch.floor(x.sum(2) / 3 + 0.01)"),
    written(
        "rounded", "self.e((x.mean(2) * 60).round().long())", 60, e=lambda: nn.Embedding(61, 2)
    ),
    written(
        "flags",
        "h = self.stem(x)\nself.e((h > 0.5).sum(-1))",
        e=lambda: nn.Embedding(61, 2),
        **STEM,
    ),
    written("flags-any", "h = self.stem(x)\n(h > 1.2).any(2).to(x.dtype)", **STEM),
    written("flags-mean", "h = self.stem(x)\n(h > 0.5).to(x.dtype).mean(2)", **STEM),
    written(
        "flags-blocks",
        "h = self.stem(x)\nself.e((h > 0.5).reshape(-1, 6, 12, 5).sum(3))",
        e=lambda: nn.Embedding(6, 2),
        **STEM,
    ),
    written(
        "flags-channels",
        "h = self.stem(x)\nself.e((h > 0.5).sum(1))",
        e=lambda: nn.Embedding(7, 2),
        **STEM,
    ),
    written(
        "tokens",
        "t = (x * self.t).sum(1).long()\nself.c(self.e(t).transpose(1, 2))",
        t=lambda: torch.arange(4.0).view(4, 1),
        e=lambda: nn.Embedding(4, 3),
        c=lambda: nn.Conv1d(3, 2, 5),
    ),
    written(
        "one-hot-words",
        "t = x.argmax(1)\n"
        "self.c(F.one_hot(4 * t[:, 1:] + t[:, :-1], 16).to(x.dtype).transpose(1, 2))",
        c=lambda: nn.Conv1d(16, 2, 5),
    ),
    written(
        "words",
        "t = (x * self.t).sum(1)\nt = (4 * t[:, 1:] + t[:, :-1]).long()\nself.e(t).mean(1)",
        t=lambda: torch.arange(4.0).view(4, 1),
        e=lambda: nn.Embedding(16, 3),
    ),
    written(
        "gathered",
        "h = self.stem(x)\nh.gather(2, (h > 0).sum(2, keepdim=True).clamp(max=59))",
        **STEM,
    ),
    written(
        "whole-sums",
        "h = (4.0 * self.stem(x)).long()\nself.e(h[:, :, 7:30].sum(2).remainder(10))",
        e=lambda: nn.Embedding(10, 2),
        **STEM,
    ),
    written(
        "whole-max",
        "h = (4.0 * self.stem(x)).long()\nself.e(h.amax(2).clamp(0, 9))",
        e=lambda: nn.Embedding(10, 2),
        **STEM,
    ),
    written(
        "own-norm",
        "h = self.stem(x)\nv = h - h.mean(1, keepdim=True)\n"
        "v / (v.pow(2).mean(1, keepdim=True) + 1e-5).sqrt()",
        **STEM,
    ),
    written(
        "root-mean-square",
        "h = self.stem(x)\nh * torch.rsqrt(h.pow(2).mean(1, keepdim=True) + 1e-6)",
        **STEM,
    ),
    written(
        "instance",
        "h = self.stem(x)\n(h - h.mean(2, keepdim=True)) / (h.std(2, keepdim=True) + 1e-5)",
        **STEM,
    ),
    written("half-sums", "self.stem(x).half().sum(2).to(x.dtype)", **STEM),
    written(
        "half-moves",
        "h = self.stem(x).half() * 2.7 + 1\n"
        "h = F.pad(h.flip(2), [2, 1])\n"
        "(h - h.roll(1, 2)).to(x.dtype)",
        **STEM,
    ),
    written(
        "whole-products",
        "h = (3 * self.stem(x)).long()\ntorch.matmul(h.transpose(1, 2), self.m).to(x.dtype)",
        m=lambda: torch.arange(30).view(6, 5) % 7 - 3,
        **STEM,
    ),
    written("cosine", "h = torch.relu(self.stem(x))\nF.normalize(h, dim=1)", **STEM),
)
def test_sums_and_counts(net, how, tmp_path):
    check(net, how, tmp_path)


def test_casts_of_an_exported_model_end_no_windows(tmp_path):
    body = "h = self.stem(x).transpose(1, 2)\nF.layer_norm(h.to(torch.float32), [6]).to(x.dtype)"
    net = written("casts", body, **STEM)
    check(net, "exported", tmp_path)
    model = conformance.loaded(net.subject(), "exported", tmp_path)
    found = understand(model, conformance.settings_for(model))
    assert WHOLE not in found.plan.ways.values()


# --- pools over scaled activations --------------------------------------------------------------


@table(
    *(
        Written(
            f"scaled-{name}",
            "h = torch.relu(self.stem(x))\n"
            f"h = F.batch_norm(h, self.shift, self.scale.abs(), self.scale, self.shift)\n{body}",
            {
                **STEM,
                "scale": lambda: torch.tensor([1.0, -2.0, 0.5, -0.1, 3.0, -1.0]),
                "shift": lambda: torch.randn(6),
            },
        )
        for name, body in {
            "plain": "F.max_pool1d(h, 4)",
            "before": "F.max_pool2d(h.unsqueeze(1), (1, 4)).flatten(1)",
            "before-both": "F.max_pool2d(h.unsqueeze(1), (2, 4)).flatten(1)",
            "between": "F.max_pool2d(h.unsqueeze(2), (1, 4)).flatten(1)",
            "behind": "F.max_pool2d(h.unsqueeze(3), (4, 1)).flatten(1)",
            "twice": "F.max_pool2d(h.unsqueeze(1).squeeze(1).unsqueeze(2), (1, 4)).flatten(1)",
            "squeezed": "F.max_pool1d(h.unsqueeze(2).squeeze(2), 4, 2)",
            "transposed": "F.max_pool1d(h.transpose(1, 2), 2)",
            "only-channels": "F.max_pool1d(h[0:, 0].unsqueeze(1), 4)",
            "everything": "F.max_pool2d(h.unsqueeze(1), (6, 60)).flatten(1)",
        }.items()
    )
)
def test_pools_of_scaled_activations(net, how, tmp_path):
    check(net, how, tmp_path)


# --- upsampling and slices ----------------------------------------------------------------------


@table(
    *(
        Written(f"upsample-{name}", f"h = torch.tanh(self.stem(x))\n{body}", {**STEM, **TAIL})
        for TAIL in [{"c": lambda: nn.Conv1d(6, 2, 5)}]
        for name, body in {
            "2d": "self.c(F.interpolate(h.unsqueeze(2), scale_factor=[1.0, 3.0]).squeeze(2))",
            "2d-other": "self.c(F.interpolate(h.unsqueeze(3), scale_factor=[2.0, 1.0]).squeeze(3))",
            "2d-both": "F.interpolate(h.unsqueeze(2), scale_factor=2.0).mean(2)",
            "2d-size": "self.c(F.interpolate(h.unsqueeze(2), size=[1, 77]).squeeze(2))",
            "2.01": "self.c(F.interpolate(h, scale_factor=2.01))",
            "1.01": "self.c(F.interpolate(h, scale_factor=1.01))",
            "1.99": "self.c(F.interpolate(h, scale_factor=1.99))",
            "0.5": "self.c(F.interpolate(h, scale_factor=0.5))",
            "0.37": "self.c(F.interpolate(h, scale_factor=0.37))",
            "recomputed": "h = F.interpolate(h, scale_factor=2.01, recompute_scale_factor=True)\n"
            "self.c(h)",
            "size": "self.c(F.interpolate(h, size=100))",
            "twice": "self.c(F.interpolate(h, size=120))",
            "smaller": "self.c(F.interpolate(h, size=30))",
            "3": "self.c(F.interpolate(h, scale_factor=3.0))",
            "exact": 'self.c(F.interpolate(h, scale_factor=2.5, mode="nearest-exact"))',
            "linear": 'self.c(F.interpolate(h, scale_factor=2.01, mode="linear"))',
            "2d-channels": "h = F.interpolate(h.unsqueeze(1), scale_factor=[1.1, 2.0])\n"
            "self.c(h.squeeze(1))",
        }.items()
    )
)
def test_upsampling(net, how, tmp_path):
    check(net, how, tmp_path)


@table(
    *(
        Written(
            f"slice-{name}",
            f"h = torch.tanh(self.stem(x))\n{body}",
            {**STEM, "c": lambda: nn.Conv1d(6, 2, 3)},
            56,
        )
        for name, body in {
            "below": "self.c(h[..., -100:-5])",
            "below-open": "self.c(h[..., -100:])",
            "above": "self.c(h[..., 5:100])",
            "both": "self.c(h[..., -100:100])",
            "steps-below": "self.c(h[..., -100:-5:3])",
            "steps": "self.c(h[..., -50:-1:4])",
            "input": "self.c(self.stem(x[..., -100:-5]))",
            "twice": "self.c(h[..., -40:-1][..., -60:20])",
            "channels": "h[:, -9:-2]",
            "assigned": "y = torch.zeros_like(h)\ny[..., -100:-5] = h[..., -100:-5]\nself.c(y)",
            "difference": "h[..., 1:] - h[..., :-1]",
            "joined": "self.c(torch.cat([h[..., -70:-20], h[..., -10:90]], 2))",
            "ends": "torch.cat([h[..., :3], h[..., -3:]], 1)",
        }.items()
    )
)
def test_slices(net, how, tmp_path):
    check(net, how, tmp_path)
