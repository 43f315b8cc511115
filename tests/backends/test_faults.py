"""Nets on which windowed once was wrong, crashed, or refused without need: a flatten, and
several tensors of the input; each against the oracle.

Every line of a table is a small net; see `tests.support.written`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.faults import LENGTH, STEM, check, table
from tests.support.written import Written

pytestmark = pytest.mark.filterwarnings("ignore:Using a target size")

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
