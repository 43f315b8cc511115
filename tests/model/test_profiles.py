"""Models of a profile and its counts: what is said of them, and their scores side by side."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.cli import invoke
from tests.support.engine_nets import seeded
from tests.support.results import random_sequences
from yuzu_cli import engine, open_result
from yuzu_cli.config import load_config
from yuzu_cli.model import load_model
from yuzu_cli.results.plot.square import tracks
from yuzu_cli.results.streaming import Source

L = 48


class Bpnet(nn.Module):
    """Two strands of logits, shorter than the window, and the logarithm of their counts."""

    def __init__(self, strands: int = 2) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(4, 6, 5), nn.Conv1d(6, 6, 3, dilation=2, padding=2)
        self.profile, self.counts = nn.Conv1d(6, strands, 9), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.first(x))
        x = x + torch.relu(self.second(x))
        return {"profile": 3 * self.profile(x), "counts": self.counts(x.mean(2))}


class Chrombpnet(nn.Module):
    """One strand, without an axis for it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Bpnet(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        both = self.net(x)
        return both["profile"].squeeze(1), both["counts"]


def exported(net: nn.Module, path: Path, length: int | None = None) -> Path:
    shapes = {0: torch.export.Dim("rows"), 2: torch.export.Dim("length", min=20)}
    if length:
        shapes.pop(2)
    example = torch.zeros(2, 4, L)
    torch.export.save(torch.export.export(net.eval(), (example,), dynamic_shapes=(shapes,)), path)
    return path


def score(logits: np.ndarray) -> np.ndarray:
    """The profile's attribution of chrombpnet and bpnet-lite, (N,) from (N, ...)."""
    flat = logits.astype(np.float64).reshape(len(logits), -1)
    weight = np.exp(flat) / np.exp(flat).sum(1, keepdims=True)
    return (weight * (flat - flat.mean(1, keepdims=True))).sum(1)


def x(count: int = 3) -> Tensor:
    codes = torch.randint(4, (count, L), generator=torch.Generator().manual_seed(3))
    return nn.functional.one_hot(codes, 4).transpose(1, 2).float()


@pytest.mark.parametrize("length", [None, L], ids=["any-length", "fixed-length"])
@pytest.mark.parametrize("kind", [Bpnet, Chrombpnet])
def test_profile_and_counts_side_by_side(
    tmp_path: Path, kind: type[Bpnet], length: int | None
) -> None:
    net = seeded(kind)
    path = exported(net, tmp_path / "m.pt2", length)
    model = load_model(path, length=L, output="all", reduce="profile")
    found = net(x())
    profile, counts = found.values() if isinstance(found, dict) else found
    names = ["profile", "counts"] if kind is Bpnet else ["0", "1[0]"]
    assert model.target_names == names
    expected = np.stack([score(profile.detach().numpy()), counts.detach().numpy()[:, 0]], 1)
    np.testing.assert_allclose(model(x()).numpy(), expected, rtol=1e-4, atol=1e-5)


def run(path: Path, folder: Path, **changes: object) -> Path:
    fasta, out = folder / "s.fa", folder / f"{len(list(folder.iterdir()))}.h5"
    fasta.write_text("".join(f">s{i}\n{s}\n" for i, s in enumerate(random_sequences(2, L))))
    keys = {"model.path": str(path), "input.fasta": str(fasta), "output.path": str(out)}
    engine.run(load_config(None, keys | {k.replace("__", "."): v for k, v in changes.items()}))
    return out


def test_every_exact_backend_gives_the_profile_score(tmp_path: Path) -> None:
    path = exported(seeded(Bpnet), tmp_path / "m.pt2")
    found = []
    for backend in ("naive", "windowed", "yuzu"):
        out = run(
            *(path, tmp_path),
            model__output="all",
            score__reduce="profile",
            compute__backend=backend,
        )
        with open_result(out) as result:
            assert result.attributes["backend"] == backend
            found.append(result.read("scores/delta"))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=2e-5 * np.abs(found[0]).max())


def test_distances_of_profiles_saved_and_derived(tmp_path: Path) -> None:
    path = exported(seeded(Bpnet), tmp_path / "m.pt2")
    out = run(path, tmp_path, score__save=["jsd", "delta"])
    with Source(out) as source:
        every = range(len(source.targets))
        saved = source.values("jsd", slice(0, 2), every)
        delta = source.values("delta", slice(0, 2), every).astype(np.float64)
        logits = source.reference(slice(0, 2), every).astype(np.float64)[:, :, None, None]
    assert saved.shape == (2, 4, L)
    p, q = (np.exp(v) / np.exp(v).sum(1, keepdims=True) for v in (logits, logits + delta))
    m = (p + q) / 2
    expected = np.sqrt(((p * np.log2(p / m) + q * np.log2(q / m)).sum(1) / 2).clip(0))
    np.testing.assert_allclose(saved, expected, atol=1e-6)
    assert saved.max() > 1e-3
    alone = run(path, tmp_path, score__save=["delta"])
    with Source(alone) as source:
        derived = source.values("jsd", slice(0, 2), every)
    np.testing.assert_allclose(derived, expected, atol=1e-6)


def test_what_the_model_returns_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = exported(seeded(Chrombpnet), tmp_path / "m.pt2")
    load_model(path, length=L)
    assert f"{path}: returns 0: (36), 1: (1); using 0" in caplog.text


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, True),
        ({"score.save": ["jsd"]}, False),
        ({"score.reduce": "profile"}, False),
        ({"score.targets": "0-9"}, False),
    ],
    ids=["unreduced", "distance", "reduced", "chosen"],
)
def test_unreduced_profiles_are_warned_of(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    warned: bool,
) -> None:
    monkeypatch.setattr("yuzu_cli.engine.setup.MANY", 40)
    path = exported(seeded(Bpnet), tmp_path / "m.pt2")
    run(path, tmp_path, **{k.replace(".", "__"): v for k, v in changes.items()})
    told = "(2, 36) is not reduced: 72 targets, each with all its scores; give --reduce profile"
    assert (told in caplog.text) is warned


def test_a_picture_of_input_by_output_position(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = exported(seeded(Bpnet), tmp_path / "m.pt2")
    out = run(path, tmp_path)
    code, _, err = invoke(["plot", str(out), "--map", "-o", str(tmp_path / "map.png")], capsys)
    assert code == 0, err
    assert (tmp_path / "map.png").stat().st_size > 5000
    with Source(out) as source:
        seen = tracks(source, source.row(1))
        expected = source.values("contribution", slice(1, 2), range(36, 72))[0]
    assert [name for name, _ in seen] == ["profile[0]", "profile[1]"]
    np.testing.assert_array_equal(seen[1][1], expected)
    # A letter reaches no further than the model looks: the corners are empty.
    assert np.all(np.abs(expected[0, -8:]) < 1e-6)
    assert np.abs(expected).max() > 1e-3
    reduced = run(path, tmp_path, score__reduce="profile")
    code, _, err = invoke(["plot", str(reduced), "--map", "-o", str(tmp_path / "no.png")], capsys)
    assert (code, "--map: the targets are not the positions of a profile" in err) == (2, True)
