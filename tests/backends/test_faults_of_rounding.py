"""Nets on which windowed once was wrong or refused without need: masks, and functions that make
much of little; each against the oracle.

Every line of a table is a small net; see `tests.support.written`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.support import conformance
from tests.support.faults import LENGTH, STEM, check, table, written
from tests.support.written import Written
from yuzu_cli.backends.windowed import understand
from yuzu_cli.operators.record import WHOLE

pytestmark = pytest.mark.filterwarnings("ignore:Using a target size")

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


PASSED_ON = [between for between in HARMLESS if between != "nothing"]


@table(
    *(
        steep(total, "nothing", function)
        for total in SUMS
        for function in (FUNCTIONS if total in ("pool", "mean") else ("sqrt", "ceil", "quotient"))
    ),
    *(steep("pool", between, function) for between in PASSED_ON for function in ("sqrt", "sign")),
    in_turn=True,
    # By other sums as well: what passes a small number on does not ask how it was made.
    deep=[
        steep(total, between, function)
        for total in ("uneven", "convolution", "difference")
        for between in PASSED_ON
        for function in ("sqrt", "sign")
    ],
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
