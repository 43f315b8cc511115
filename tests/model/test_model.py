"""Opening models: layouts, outputs, reductions, further inputs, and everything that is refused."""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.engine_nets import (
    L,
    Profile,
    codes,
    conv,
    export,
    one_hot,
    script,
    seeded,
    trace,
)
from yuzu_cli.errors import ModelError, UsageError, YuzuError
from yuzu_cli.model import LAYOUTS, load_model
from yuzu_cli.model.lengths import lengths_that_work
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


class Dictionary(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"mean": x.mean(2), "profile": x}


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


class Extra(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = conv(targets=2)

    def forward(self, condition: Tensor, x: Tensor, gain: float = 1.0) -> Tensor:
        return self.net(x) * condition * gain


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


@pytest.mark.parametrize("batch", [None, 1, 4], ids=["free", "one", "four"])
def test_exported_programs_run_in_pieces_of_their_batch(tmp_path: Path, batch: int | None) -> None:
    net, x = seeded(conv), one_hot(codes(7))
    model = load_model(export(net, tmp_path / "m.pt2", batch), length=L)
    assert (model.kind, model.fixed_batch) == ("exported", batch if batch != 1 else None)
    for rows in (1, 4, 7):
        torch.testing.assert_close(model(x[:rows]), net(x[:rows]))


class Squeezes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = conv(targets=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze()


def test_a_model_that_squeezes_away_a_batch_of_one(tmp_path: Path) -> None:
    net, x = seeded(Squeezes), one_hot(codes(3))
    model = load_model(script(net, tmp_path / "m.pt"), length=L)
    torch.testing.assert_close(model(x[:1]), net.net(x[:1]))


class Baked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * L, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.reshape(int(x.shape[0]), 4 * L))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_model_that_baked_its_batch_of_one_in(tmp_path: Path) -> None:
    net, x = seeded(Baked), one_hot(codes(3))
    model = load_model(trace(net, tmp_path / "m.pt", x[:1]), length=L)
    assert model.fixed_batch is None
    torch.testing.assert_close(model(x), net(x))


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2).sum(2)


def test_a_model_that_works_in_place_leaves_its_input_alone(tmp_path: Path) -> None:
    model, x = load_model(script(InPlace(), tmp_path / "m.pt"), length=L), one_hot(codes(3))
    torch.testing.assert_close(model(x), 2 * one_hot(codes(3)).sum(2))
    torch.testing.assert_close(x, one_hot(codes(3)))


def test_frozen_models_and_half_precision(tmp_path: Path) -> None:
    net, x = seeded(conv), one_hot(codes(3))
    model = load_model(script(net, tmp_path / "m.pt"), length=L, dtype=torch.bfloat16)
    found = model(x.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, net(x), rtol=0.1, atol=0.05)
    frozen = tmp_path / "frozen.pt"
    torch.jit.freeze(torch.jit.script(net)).save(str(frozen))
    torch.testing.assert_close(load_model(frozen, length=L)(x), net(x))
    with pytest.raises(ModelError, match=r"frozen\.pt"):
        load_model(frozen, length=L, dtype=torch.bfloat16)


def test_targets_by_name_and_pattern(tmp_path: Path) -> None:
    path, x = script(conv(), tmp_path / "m.pt"), one_hot(codes(3))
    names = ["CTCF", "GATA1", "GATA2"]
    whole = load_model(path, length=L, target_names=names)(x)
    model = load_model(path, length=L, target_names=names, targets="GATA*,0")
    assert model.target_names == ["GATA1", "GATA2", "CTCF"]
    torch.testing.assert_close(model(x), whole[:, [1, 2, 0]])


def test_the_file_stays_as_it_is_and_nothing_asks_for_gradients(tmp_path: Path) -> None:
    path = script(conv().train(), tmp_path / "m.pt")
    before = path.read_bytes()
    model = load_model(path, length=L)
    model(one_hot(codes(3)))
    assert path.read_bytes() == before
    assert model.sha256 == hashlib.sha256(before).hexdigest()
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.module.training


# --- what is refused ----------------------------------------------------------------------------


class Evil:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class Nested(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return x, (x, x)


class NoBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean([0, 2])


class NotANumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x - 1).sum(2)


class Chance(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, training=True).sum(2)


class Neighbours(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)).square().sum(2)


def _state_dict(path: Path) -> None:
    torch.save(conv().state_dict(), path)


def _legacy(path: Path) -> None:
    torch.save(conv().state_dict(), path, _use_new_zipfile_serialization=False)


def _truncated(path: Path) -> None:
    script(conv(), path)
    path.write_bytes(path.read_bytes()[:2000])


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")


FILES: list[tuple[str, Callable[[Path], Any], str]] = [
    ("missing", lambda p: None, "no such file"),
    ("folder", Path.mkdir, "is not a file"),
    ("empty", Path.touch, "is empty"),
    ("text", lambda p: p.write_text("weights"), "is not a TorchScript or torch.export file"),
    ("HDF5", lambda p: p.write_bytes(b"\x89HDF\r\n"), "Keras"),
    ("LFS pointer", lambda p: p.write_text("version https://git-lfs.github.com/spec/v1"), "LFS"),
    ("other zip", _zip, "is a zip file, but not"),
    ("truncated", _truncated, "damaged or truncated"),
    ("state_dict", _state_dict, "a state_dict or checkpoint"),
    ("old state_dict", _legacy, "a state_dict or checkpoint"),
    ("pickled module", lambda p: torch.save(conv(), p), "could run code"),
    ("plain pickle", lambda p: p.write_bytes(pickle.dumps(Evil(p), 4)), "could run code"),
]


@pytest.mark.parametrize(("make", "text"), [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_files_that_are_no_models(tmp_path: Path, make: Callable[[Path], Any], text: str) -> None:
    path = tmp_path / "m.pt"
    make(path)
    with pytest.raises(ModelError, match=text) as caught:
        load_model(path, length=L)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_no_pickle_is_ever_loaded(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    torch.save(Evil(proof), tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Evil(proof)))
    good = export(conv(), tmp_path / "good.pt2")
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(tmp_path / "c.pt2", "w") as target:
        for name in source.namelist():
            evil = name.endswith("sample_inputs/model.pt")
            content = (tmp_path / "a.pt").read_bytes() if evil else source.read(name)
            target.writestr(name, content)
    for name in ("a.pt", "b.pt", "c.pt2"):
        with pytest.raises(ModelError):
            load_model(tmp_path / name, length=L)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Evil(proof)))
    assert proof.exists(), "the pickle would not have shown that it was loaded"


class Whole(nn.Module):
    """A model of one length only, as most published ones are: (N, 6, 4) flattened."""

    def __init__(self, length: int, channels_last: bool = False) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv1d(4, 6, 5), nn.Linear(6 * ((length - 4) // 2), 1)
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2) if self.channels_last else x
        return self.last(nn.functional.max_pool1d(self.conv(x), 2).flatten(1))


class Quarters(nn.Module):
    """A model that was made for 100 letters, and takes 100 to 103."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(100, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(nn.functional.max_pool1d(x, 4).flatten(1))


class Blocks(nn.Module):
    """A model that takes multiples of 16 only."""

    def forward(self, x: Tensor) -> Tensor:
        return (
            x.reshape(x.shape[0], 4, 16, -1).mean((2, 3)) + x.reshape(x.shape[0], 64, -1)[:, :4, 0]
        )


LENGTHS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Path], str]] = {
    "scripted": (lambda: Whole(70), script, r"it takes lengths such as 70 and 71 \(layout NCL\)"),
    "channels last": (lambda: Whole(50, True), script, r"lengths such as 50 and 51 \(layout NLC\)"),
    "usual": (Blocks, script, r"it takes lengths such as 16, 32 and \d+ \(layout NCL\)"),
    "long": (lambda: Whole(300), script, r"it takes length 300 "),
    "usual first": (Quarters, script, r"it takes lengths such as 100, 101 and 102 "),
}


@pytest.mark.parametrize(("make", "save", "text"), LENGTHS.values(), ids=LENGTHS)
def test_lengths_that_a_model_takes_are_told(
    tmp_path: Path, make: Callable[[], nn.Module], save: Callable[..., Path], text: str
) -> None:
    path = save(seeded(make), tmp_path / "m.pt")
    with pytest.raises(ModelError, match=f"4 letters and length 24.*{text}") as caught:
        load_model(path, length=L)
    assert "set input.length" in str(caught.value)
    assert "shapes cannot be multiplied" not in str(caught.value)
    told = re.findall(r"\d+", str(caught.value).split("it takes")[1].split("(")[0])
    for length in told:
        load_model(path, length=int(length))


def test_the_length_of_an_exported_program_is_told(tmp_path: Path) -> None:
    program = torch.export.export(seeded(lambda: Whole(70)), (torch.zeros(2, 4, 70),))
    torch.export.save(program, str(tmp_path / "m.pt2"))
    with pytest.raises(ModelError, match="it takes length 70"):
        load_model(tmp_path / "m.pt2", length=L)


def test_a_search_for_lengths_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def refuse(layout: str, length: int) -> bool:
        tried.append(length)
        return False

    assert lengths_that_work(24, {"NCL": "3x96 and 9x1"}, refuse) == ("", [])
    assert 50 < len(tried) <= 400
    tried.clear()
    many = " ".join(f"3x9 and {n}x1" for n in range(9, 4000))
    assert lengths_that_work(24, {"NCL": many}, refuse) == ("NCL", [])
    assert len(tried) == 400
    monkeypatch.setattr("yuzu_cli.model.lengths._SECONDS", -1.0)
    assert lengths_that_work(24, {"NCL": "x"}, lambda *_: True) == ("NCL", [])


class Summed(nn.Module):
    """Decides by a sum over its whole batch, which other random sequences do not change."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean(2)
        if float(x[:, 0].sum()) > 0.6 * float(x.sum()):
            y = 2 * y
        return y


class Joined(nn.Module):
    """The same by hidden values."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv1d(4, 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.body(x)).mean(2)
        if float(self.body(x).sum()) > 0.0:
            y = y + 0.1
        return y


class Nothing(nn.Module):
    """Returns no columns."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(2)[:, 4:]


class Spectrum(nn.Module):
    """Returns complex numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x.mean(1))


REFUSED: list[tuple[str, Callable[[], nn.Module], dict[str, Any], type[YuzuError], str]] = [
    ("channels", conv, {"alphabet_size": 5}, ModelError, "to have 4 channels, but got 5"),
    (
        "length",
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 1)),
        {},
        ModelError,
        "length 24.*96 and 9",
    ),
    ("layout", conv, {"layout": "NLC"}, ModelError, "layout NLC"),
    ("unknown layout", conv, {"layout": "LNC"}, UsageError, "model.layout"),
    ("nested", Nested, {}, ModelError, "output 1 is tuple"),
    ("no batch axis", NoBatch, {}, ModelError, "no batch axis"),
    ("NaN", NotANumber, {}, ModelError, "NaN"),
    ("dropout", Chance, {}, ModelError, "second time.*dropout"),
    ("neighbours", Neighbours, {}, ModelError, "another batch.*batch norm"),
    ("a sum over the batch", Summed, {}, ModelError, "another batch"),
    ("hidden sums", Joined, {}, ModelError, "another batch"),
    ("no targets", Nothing, {}, ModelError, r"has no targets: its output is \(N, 0\)"),
    ("complex", Spectrum, {}, ModelError, r"its output is complex; return torch.view_as_real"),
    ("output number", conv, {"output": 1}, UsageError, "no output 1; it returns 1 output"),
    ("output name", Dictionary, {"output": "x"}, UsageError, "2 outputs: mean, profile"),
    ("target", conv, {"targets": "1,3"}, UsageError, "no target 3; there are 3"),
    ("target text", conv, {"targets": "a"}, UsageError, "no target a"),
    ("target range", conv, {"targets": "2-1"}, UsageError, "the range 2-1 has no"),
    ("reduce", conv, {"reduce": "sum"}, UsageError, "no position axis"),
    ("index", Profile, {"reduce": "index", "index": 20}, UsageError, "one of the 20 positions"),
    ("index missing", Profile, {"reduce": "index"}, UsageError, "score.index"),
    (
        "log",
        lambda: nn.Sequential(conv(), nn.Hardtanh(-1.0, -0.5)),
        {"transform": "log"},
        ModelError,
        "log gives NaN",
    ),
    ("extra wanted", Extra, {}, ModelError, "further inputs: x"),
    ("extra unknown", conv, {"extra_inputs": {"z": 1}}, UsageError, "no input 'z'"),
    ("extra position", conv, {"extra_inputs": {3: 1}}, UsageError, "no input 3"),
    ("extra all", conv, {"extra_inputs": {0: 1}}, UsageError, "no input for the sequences"),
    ("extra text", Extra, {"extra_inputs": {0: {}}}, UsageError, "not a number"),
    ("names too few", conv, {"target_names": ["a", "b"]}, UsageError, "2 names for 3 targets"),
    ("names twice", conv, {"target_names": ["a", "b", "a"]}, UsageError, "'a' stands there twice"),
    ("names with tabs", conv, {"target_names": ["a", "b\tc", "d"]}, UsageError, "is no name"),
    ("names in no file", conv, {"target_names": "no.txt"}, UsageError, "no.txt: No such file"),
    ("extra file", Extra, {"extra_inputs": {0: "no.npy"}}, UsageError, "no.npy"),
]


@pytest.mark.parametrize(
    ("make", "options", "kind", "text"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_models_and_settings_that_are_refused(
    tmp_path: Path,
    make: Callable[[], nn.Module],
    options: dict[str, Any],
    kind: type[YuzuError],
    text: str,
) -> None:
    path = script(seeded(make), tmp_path / "m.pt")
    with pytest.raises(kind, match=text) as caught:
        load_model(path, **{"length": L, **options})
    assert "\n" not in str(caught.value)
