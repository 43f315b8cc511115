"""Models, files and settings that are refused, each with one clear line."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.engine_nets import (
    Dictionary,
    Extra,
    L,
    Profile,
    conv,
    export,
    script,
    seeded,
)
from yuzu_cli.errors import ModelError, UsageError, YuzuError
from yuzu_cli.model import load_model

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
