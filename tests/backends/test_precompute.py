"""Plans: written, read, shown, used, refused; and the cache that does the same unseen."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests.support.cli import LENGTH, World, invoke, make_world
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.sensing import kept
from yuzu_cli.backends.sensing.codes import MATRICES
from yuzu_cli.backends.sensing.design import make_design
from yuzu_cli.backends.sensing.kept import asked_of, design_for
from yuzu_cli.backends.sensing.kept import precompute as make_plan
from yuzu_cli.errors import InputError
from yuzu_cli.model import Model, load_model
from yuzu_cli.plan import store
from yuzu_cli.plan.store import StoredPlan, load_plan, save_plan
from yuzu_cli.results.reader import open_result


def write_model(path: Path, seed: int) -> str:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.Conv1d(6, 6, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * LENGTH, 3),
    ).eval()
    torch.jit.script(module).save(str(path))
    return str(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    made = make_world(folder, records=3)
    write_model(folder / "deep.pt", 1)
    write_model(folder / "twin.pt", 2)
    (folder / "gaussian.yaml").write_text("sensing: {matrix: gaussian}\n")
    (folder / "low.yaml").write_text("sensing: {matrix: gaussian, alpha: 0.9}\n")
    (folder / "other.yaml").write_text("sensing: {matrix: gaussian, alpha: 1.4}\n")
    return made


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "yuzu" / "plans"


@pytest.fixture(scope="module")
def plan(world: World) -> Path:
    """A plan of `deep.pt` with gaussian codes."""
    path = world.folder / "plan.h5"
    settings = settings_for("gaussian")
    save_plan(path, make_plan(load_model(world.deep, length=LENGTH), settings))
    return path


def same(x: torch.Tensor | None, y: torch.Tensor | None) -> bool:
    return x is not None and y is not None and torch.equal(x, y)


def settings_for(matrix: str, **options: Any) -> Settings:
    return Settings(LENGTH, torch.device("cpu"), matrix=matrix, **options)


@pytest.fixture(scope="module")
def model(world: World) -> Model:
    return load_model(world.deep, length=LENGTH)


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_plan_comes_back_as_it_was(model: Model, matrix: str, tmp_path: Path) -> None:
    made = make_plan(model, settings_for(matrix))
    save_plan(tmp_path / "p.h5", made)
    back = load_plan(tmp_path / "p.h5", asked_of(model, settings_for(matrix)))
    assert back.sha256() == made.sha256()
    one, two = kept.unpack(made), kept.unpack(back)
    assert two.alpha == one.alpha
    assert repr(two.tries) == repr(one.tries)  # NaN is not equal to itself
    assert two.left == one.left
    assert two.codes.keys() == one.codes.keys() != set()
    for a, b in zip(one.codes.values(), two.codes.values(), strict=True):
        assert (a.kind, a.probes, a.slots.count) == (b.kind, b.probes, b.slots.count)
        assert np.array_equal(a.slots.slot, b.slots.slot)
        for x, y in ((a.matrix, b.matrix), (a.decoders, b.decoders)):
            assert x is y is None or same(x, y)


def test_a_plan_holds_the_reach_of_every_step(plan: Path) -> None:
    with h5py.File(plan) as file:
        steps = file["steps"]
        convolution = next(n for n in steps if n.startswith("convolution_1"))
        start, stop = steps[convolution]["reach"][()]
        assert (stop - start == 7).all()
        assert bytes(steps[convolution]["strategy"][()]) == b"convolution"
        assert all("strategy" in step for step in steps.values())


def tampered(change: Callable[[h5py.File], object]) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return apply


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "there is no such plan"),
    "cut short": (cut, "is not a plan, or a damaged one"),
    "text": (lambda path: path.write_text("plan"), "is not a plan, or a damaged one"),
    "empty": (lambda path: path.write_bytes(b""), "is not a plan, or a damaged one"),
    "folder": (folder, "is not a plan, or a damaged one"),
    "an output": (tampered(lambda f: f.attrs.update(format="yuzu")), "is not a plan"),
    "older": (tampered(lambda f: f.attrs.update(format_version=0)), "format version 0, this yuzu"),
    "newer": (tampered(lambda f: f.attrs.update(format_version=2)), "format version 2, this yuzu"),
    "changed code": (
        tampered(lambda f: f["codes/0/matrix"].__setitem__((0, 0, 0), 9.0)),
        "its content was changed",
    ),
    "changed fact": (tampered(lambda f: f.attrs.update(alpha=1.0)), "its content was changed"),
    "lost array": (tampered(lambda f: f.__delitem__("codes/0/decoders")), "was changed"),
    "lost attribute": (tampered(lambda f: f.attrs.__delitem__("asked")), "damaged one"),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plan_is_refused_with_one_line(
    spoil: Callable[[Path], object],
    message: str,
    world: World,
    plan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "p.h5"
    path.write_bytes(plan.read_bytes())
    spoil(path)
    code, _, err = run_with(world, path, "gaussian", tmp_path, capsys)
    assert code == 1
    assert [line for line in err.splitlines() if line.startswith("error:")] == [
        err.splitlines()[-1]
    ]
    assert message in err
    assert not (tmp_path / "o.h5").exists()


def run_with(
    world: World,
    plan: Path,
    config: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    *more: str,
    model: str = "deep",
) -> tuple[int, str, str]:
    argv = ["run", "-m", getattr(world, model), "-f", world.seqs, "--plan", str(plan)]
    argv += ["-c", getattr(world, config), "-o", str(folder / "o.h5"), *more]
    return invoke(argv, capsys)


def test_a_run_with_a_plan(
    world: World, plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    code, _, err = run_with(world, plan, "gaussian", tmp_path, capsys)
    assert code == 0, err
    argv = ["run", "-m", world.deep, "-f", world.seqs, "--backend", "naive"]
    assert invoke([*argv, "-o", str(tmp_path / "naive.h5")], capsys)[0] == 0
    with open_result(tmp_path / "o.h5") as one, open_result(tmp_path / "naive.h5") as two:
        assert one.attributes["backend"] == "yuzu"
        found, expected = one.read("scores/delta"), two.read("scores/delta")
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert not cache.exists()


OTHERS = {
    "model": ({"model": "twin"}, [], "gaussian", "made for model "),
    "matrix": ({}, [], "typeless", "made for sensing.matrix gaussian, this run has interleaved"),
    "alpha": ({}, [], "other", "made for sensing.alpha auto, this run has 1.4"),
    "outputs": ({}, ["--targets", "0,2"], "gaussian", "number of targets 3, this run has 2"),
    "reduced": ({}, ["--targets", "2,1,0"], "gaussian", "graph of model, outputs, reduce"),
}


@pytest.mark.parametrize(("which", "more", "config", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_a_plan_for_something_else_says_what_differs(
    which: dict[str, str],
    more: list[str],
    config: str,
    message: str,
    world: World,
    plan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (world.folder / "typeless.yaml").write_text("{}\n")
    code, _, err = run_with(world, plan, config, tmp_path, capsys, *more, **which)
    assert code == 1
    assert message in err
    assert "yuzu precompute" in err


def test_another_length_is_named(model: Model, plan: Path) -> None:
    asked = asked_of(model, settings_for("gaussian")) | {"length": LENGTH + 1}
    with pytest.raises(InputError, match=f"made for length {LENGTH}, this run has {LENGTH + 1}"):
        load_plan(plan, asked)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--backend", "windowed"], "the windowed backend reads no plan"),
        (["-m", "twin"], "a plan is of one model"),
    ],
    ids=["backend", "ensemble"],
)
def test_a_plan_that_would_not_be_used_is_refused(
    more: list[str],
    message: str,
    world: World,
    plan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = [world.twin if word == "twin" else word for word in more]
    code, _, err = run_with(world, plan, "gaussian", tmp_path, capsys, *more)
    assert code == 2
    assert message in err


# --- the command --------------------------------------------------------------------------------


def test_the_command_and_info(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.h5"
    argv = ["precompute", "-m", world.deep, "-l", str(LENGTH), "-o", str(path)]
    code, out, err = invoke([*argv, "-c", world.gaussian], capsys)
    assert code == 0, err
    assert out == ""
    assert "gaussian codes, alpha 1" in err
    assert [name for name in os.listdir(tmp_path) if "p.h5" in name] == ["p.h5"]
    code, out, _ = invoke(["info", str(path)], capsys)
    assert code == 0
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert facts["matrix"] == "gaussian"
    assert facts["length"] == str(LENGTH)
    assert float(facts["largest_error"]) < 1e-4
    assert facts["alphas_tried"].startswith("alpha 1 (condition ")
    code, _, err = invoke([*argv, "-c", world.gaussian], capsys)
    assert code == 1
    assert "exists already; --force replaces it" in err
    assert invoke([*argv, "--force"], capsys)[0] == 0


REFUSED = {
    "no model": (["-l", "40"], 2, "no model"),
    "no length": (["-m", "deep"], 2, "give -l LENGTH"),
    "two models": (["-m", "deep", "-m", "twin", "-l", "40"], 2, "several models"),
    "alpha below one": (["-m", "deep", "-l", "40", "-c", "low"], 1, "not accurate at alpha 0.9"),
    "no such folder": (["-m", "deep", "-l", "40", "-o", "nowhere/p.h5"], 1, "there is no folder"),
}


@pytest.mark.parametrize(("argv", "status", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_the_command_refuses(
    argv: list[str],
    status: int,
    message: str,
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [getattr(world, word) if word in ("deep", "twin", "low") else word for word in argv]
    output = [] if "-o" in words else ["-o", str(tmp_path / "p.h5")]
    code, _, err = invoke(["precompute", *words, *output], capsys)
    assert code == status
    assert message in err
    assert not (tmp_path / "p.h5").exists()


def test_a_plan_never_replaces_the_model(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(world.deep).read_bytes()
    argv = ["precompute", "-m", world.deep, "-l", "40", "-o", world.deep, "--force"]
    assert invoke(argv, capsys)[0] == 1
    assert Path(world.deep).read_bytes() == before


# --- the cache ----------------------------------------------------------------------------------


def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes every design that is made and not read."""
    made: list[str] = []

    def noted(model: Model, settings: Settings, **options: Any):
        made.append(settings.matrix)
        return make_design(model, settings, **options)

    monkeypatch.setattr(kept, "make_design", noted)
    return made


def test_the_cache_saves_the_search(
    model: Model, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = searches(monkeypatch)
    first, second = (design_for(model, settings_for("gaussian")) for _ in range(2))
    assert made == ["gaussian"]
    assert len(list(cache.iterdir())) == 1
    for node, code in first.codes.items():
        assert same(code.matrix, second.codes[node].matrix)
    design_for(model, settings_for("gaussian", seed=1))
    assert made == ["gaussian"] * 2
    design_for(model, settings_for("interleaved"))  # nothing worth keeping
    assert design_for(model, settings_for("gaussian", alpha=0.8)).refusal  # nor that
    assert len(list(cache.iterdir())) == 2


def test_a_corrupted_cache_is_ignored_with_a_note(
    model: Model, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "yuzu_cli")
    made = searches(monkeypatch)
    design_for(model, settings_for("gaussian"))
    (file,) = cache.iterdir()
    good = file.read_bytes()
    for bad in (b"", good[:-500], b"something else"):
        file.write_bytes(bad)
        assert design_for(model, settings_for("gaussian")).codes
        assert "a plan in the cache is not used" in caplog.text
        caplog.clear()
        load_plan(file)  # mended
    assert len(made) == 4


def test_a_cache_that_cannot_be_written_stops_nothing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert design_for(model, settings_for("gaussian")).codes


def test_the_cache_is_in_the_home_without_xdg(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / ".cache/yuzu/plans"


def test_the_oldest_plans_make_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    for i, name in enumerate("abc"):
        (cache / f"{name}.h5").write_bytes(b"x" * 10)
        os.utime(cache / f"{name}.h5", (i, i))
    monkeypatch.setattr(store, "CACHE_BYTES", 20)
    store.prune_cache()
    assert sorted(path.name for path in cache.iterdir()) == ["b.h5", "c.h5"]


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.h5"
    save_plan(path, StoredPlan({"length": 1}, {}, {"a": np.arange(3)}))
    before = path.read_bytes()
    bad = StoredPlan({"length": 2}, {}, {"a": np.arange(3)})
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="full"):
        save_plan(path, bad)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["p.h5"]


def fail(*_: object) -> None:
    raise OSError("full")


def test_equal_plans_have_equal_hashes() -> None:
    one = StoredPlan({"a": 1}, {"b": 2.0}, {"x": np.arange(3)})
    assert one.sha256() == StoredPlan({"a": 1}, {"b": 2.0}, {"x": np.arange(3)}).sha256()
    change: dict[str, Any]
    for change in ({"asked": {"a": 2}}, {"facts": {}}, {"arrays": {"x": np.arange(3.0)}}):
        assert one.sha256() != dataclasses.replace(one, **change).sha256()
