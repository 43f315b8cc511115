"""Plans: written, read, shown, used, refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.cli import LENGTH, World, invoke
from tests.support.plans import same, settings_for
from yuzu_cli.backends.sensing import kept
from yuzu_cli.backends.sensing.codes import MATRICES
from yuzu_cli.backends.sensing.kept import asked_of
from yuzu_cli.backends.sensing.kept import precompute as make_plan
from yuzu_cli.errors import InputError
from yuzu_cli.model import Model
from yuzu_cli.plan.store import load_plan, save_plan
from yuzu_cli.results.reader import open_result

pytestmark = pytest.mark.usefixtures("cache")


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
