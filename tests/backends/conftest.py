"""A world with models to plan, a plan of one, and a cache of plans that is empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import LENGTH, World, make_world
from tests.support.plans import settings_for, write_model
from yuzu_cli.backends.sensing.kept import precompute as make_plan
from yuzu_cli.model import Model, load_model
from yuzu_cli.plan.store import save_plan


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


@pytest.fixture
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


@pytest.fixture(scope="module")
def model(world: World) -> Model:
    return load_model(world.deep, length=LENGTH)
