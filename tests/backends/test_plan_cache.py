"""Plans made by the command; and the cache that does the same unseen."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cli import LENGTH, World, invoke
from tests.support.plans import same, settings_for
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.sensing import kept
from yuzu_cli.backends.sensing.design import make_design
from yuzu_cli.backends.sensing.kept import design_for
from yuzu_cli.model import Model
from yuzu_cli.plan import store
from yuzu_cli.plan.store import StoredPlan, load_plan, save_plan

pytestmark = pytest.mark.usefixtures("cache")

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
