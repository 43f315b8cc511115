"""Nets on which windowed once was wrong, crashed, or refused without need: pieces, products,
dummy axes, other rows, pools, upsampling, slices; each against the oracle.

Every line of a table is a small net; see `tests.support.written`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.support.faults import STEM, check, table, written
from tests.support.written import Written

pytestmark = pytest.mark.filterwarnings("ignore:Using a target size")


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
