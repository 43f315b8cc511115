"""Opening models: layouts, outputs, reductions, further inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.engine_nets import (
    Dictionary,
    Extra,
    L,
    Profile,
    codes,
    conv,
    one_hot,
    script,
    seeded,
    trace,
)
from yuzu_cli.model import LAYOUTS, load_model
from yuzu_cli.model.probe import PROBE_ROWS


class Wants(nn.Module):
    """The network `conv` behind a change of axes."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.net, self.layout = conv(), layout
        self.tall = nn.Conv2d(1, 3, (4, 7) if layout == "N1CL" else (7, 4))
        self.wide = nn.Conv2d(4, 3, (3, 1) if layout == "NCL1" else (1, 3))

    def forward(self, x: Tensor) -> Tensor:
        if self.layout == "NCL":
            return self.net(x)
        if self.layout == "NLC":
            return self.net(x.transpose(1, 2))
        if self.layout in ("N1LC", "N1CL"):
            return self.tall(x).sum([2, 3])
        return self.wide(x).sum([2, 3])


@pytest.mark.parametrize("save", [script, trace], ids=["scripted", "traced"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_found(tmp_path: Path, layout: str, save: Callable[..., Path]) -> None:
    net = seeded(lambda: Wants(layout))
    x = one_hot(codes(3))
    arguments = () if save is script else (LAYOUTS[layout](x[:2]),)
    model = load_model(save(net, tmp_path / "m.pt", *arguments), length=L)
    assert model.layout == layout
    torch.testing.assert_close(model(x), net(LAYOUTS[layout](x)))


def test_the_first_of_several_layouts_is_taken_and_another_can_be_asked_for(tmp_path: Path) -> None:
    path = script(nn.Sequential(nn.Flatten(), nn.Linear(4 * L, 2)), tmp_path / "m.pt")
    assert load_model(path, length=L).layout == "NCL"
    assert load_model(path, length=L, layout="NLC").layout == "NLC"


class Listed(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x.mean(2), x.amax(2)[:, :2]]


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0].mean(1)


OUTPUTS: list[tuple[str, Callable[[], nn.Module], Any, list[str]]] = [
    ("tensor", conv, 0, ["0", "1", "2"]),
    ("one number", Flat, 0, ["0"]),
    ("second of a tuple", Profile, 1, ["1[0]"]),
    ("number as text", Profile, "1", ["1[0]"]),
    ("list", Listed, "all", ["0[0]", "0[1]", "0[2]", "0[3]", "1[0]", "1[1]"]),
    ("name", Dictionary, "mean", [f"mean[{i}]" for i in range(4)]),
    ("profile", Dictionary, 1, [f"profile[{c},{p}]" for c in range(4) for p in range(L)]),
]


@pytest.mark.parametrize(
    ("make", "output", "names"), [o[1:] for o in OUTPUTS], ids=[o[0] for o in OUTPUTS]
)
def test_outputs_and_their_names(
    tmp_path: Path, make: Callable[[], nn.Module], output: Any, names: list[str]
) -> None:
    net, x = seeded(make), one_hot(codes(3))
    model = load_model(script(net, tmp_path / "m.pt"), length=L, output=output)
    assert model.target_names == names
    value = net(x)
    values = list(value.values()) if isinstance(value, dict) else value
    if isinstance(values, Tensor):
        values = [values]
    chosen = values
    if output != "all":
        number = ["mean", "profile"].index(output) if output == "mean" else int(output)
        chosen = [values[number]]
    expected = torch.cat([v.reshape(3, -1) for v in chosen], 1)
    torch.testing.assert_close(model(x), expected)


HEADS: list[tuple[str, dict[str, Any], Callable[[Tensor, Tensor], Tensor], int]] = [
    ("sum", {"reduce": "sum"}, lambda p, c: p.sum(2), 2),
    ("mean", {"reduce": "mean"}, lambda p, c: p.mean(2), 2),
    ("max", {"reduce": "max"}, lambda p, c: p.max(2).values, 2),
    ("center", {"reduce": "center"}, lambda p, c: p[:, :, (L - 4) // 2], 2),
    ("index", {"reduce": "index", "index": 3}, lambda p, c: p[:, :, 3], 2),
    ("softmax of a profile", {"transform": "softmax"}, lambda p, c: p.softmax(2).flatten(1), 40),
    (
        "softmax after sum",
        {"reduce": "sum", "transform": "softmax"},
        lambda p, c: p.sum(2).softmax(1),
        2,
    ),
    ("targets", {"targets": "3,0,7-9"}, lambda p, c: p.flatten(1)[:, [3, 0, 7, 8, 9]], 5),
    (
        "all, reduced",
        {"output": "all", "reduce": "sum"},
        lambda p, c: torch.cat([p.sum(2), c], 1),
        3,
    ),
]


@pytest.mark.parametrize(
    ("options", "expected", "count"), [h[1:] for h in HEADS], ids=[h[0] for h in HEADS]
)
def test_reduce_transform_and_targets(
    tmp_path: Path, options: dict[str, Any], expected: Callable[..., Tensor], count: int
) -> None:
    net, x = seeded(Profile), one_hot(codes(3))
    model = load_model(script(net, tmp_path / "m.pt"), length=L, **options)
    torch.testing.assert_close(model(x), expected(*net(x)))
    assert len(model.target_names) == len(set(model.target_names)) == count


class Positive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = conv()

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.net(x))


@pytest.mark.parametrize(
    ("transform", "function"),
    [("log", torch.log), ("log1p", torch.log1p), ("logit", torch.logit)],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_pointwise_transforms(
    tmp_path: Path, transform: str, function: Callable[[Tensor], Tensor]
) -> None:
    net, x = seeded(Positive), one_hot(codes(3))
    model = load_model(script(net, tmp_path / "m.pt"), length=L, transform=transform)
    torch.testing.assert_close(model(x), function(net(x)))


class Last(nn.Module):
    """Returns (N, L / 4, T), as Keras-like models do."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.avg_pool1d(x, 4).transpose(1, 2)


def test_the_position_axis_is_the_one_that_changes_with_the_length(tmp_path: Path) -> None:
    model = load_model(script(Last(), tmp_path / "m.pt"), length=L, reduce="sum")
    assert model.target_names == ["0", "1", "2", "3"]


EXTRAS: list[tuple[str, dict[Any, Any], list[float]]] = [
    ("by name", {"condition": [2.0, 3.0]}, [2.0, 3.0]),
    ("by position", {0: [2.0, 3.0]}, [2.0, 3.0]),
    ("with a batch axis", {"condition": [[2.0, 3.0]]}, [2.0, 3.0]),
    ("one number", {"condition": 2.0}, [2.0, 2.0]),
    ("a number that is no tensor", {"0": [2.0, 3.0], "gain": 0.5}, [1.0, 1.5]),
]


@pytest.mark.parametrize(("extra", "factor"), [e[1:] for e in EXTRAS], ids=[e[0] for e in EXTRAS])
def test_extra_inputs(tmp_path: Path, extra: dict[Any, Any], factor: list[float]) -> None:
    net, x = seeded(Extra), one_hot(codes(5))
    model = load_model(script(net, tmp_path / "m.pt"), length=L, extra_inputs=extra)
    torch.testing.assert_close(model(x), net.net(x) * torch.tensor(factor))


def test_as_many_targets_as_rows_tried_do_not_mislead(tmp_path: Path) -> None:
    class AsManyTargets(Extra):
        def __init__(self) -> None:
            super().__init__()
            self.net = conv(targets=PROBE_ROWS)

    net, x = seeded(AsManyTargets), one_hot(codes(5))
    model = load_model(script(net, tmp_path / "m.pt"), length=L, extra_inputs={"condition": [2.0]})
    torch.testing.assert_close(model(x), net.net(x) * 2.0)


def test_extra_input_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.array([[2.0, 3.0]]))
    net, x = seeded(Extra), one_hot(codes(5))
    extra: dict[str | int, Any] = {"condition": str(tmp_path / "c.npy")}
    model = load_model(script(net, tmp_path / "m.pt"), length=L, extra_inputs=extra)
    torch.testing.assert_close(model(x), net.net(x) * torch.tensor([2.0, 3.0]))


def test_targets_may_be_named(tmp_path: Path) -> None:
    path = script(seeded(conv), tmp_path / "m.pt")
    assert load_model(path, length=L).target_names == ["0", "1", "2"]
    names = ["CTCF", "su(Hw)", "BEAF-32"]
    assert load_model(path, length=L, target_names=names).target_names == names
    (tmp_path / "names.txt").write_text("\ufeffCTCF\r\nsu(Hw)\nBEAF-32\n\n", encoding="utf-8")
    options: dict[str, Any] = {"length": L, "target_names": str(tmp_path / "names.txt")}
    assert load_model(path, **options).target_names == names
    assert load_model(path, **options, targets="2,0").target_names == ["BEAF-32", "CTCF"]
