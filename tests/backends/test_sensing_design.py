"""The search for alpha on small models: what is accepted, what is refused, what is recorded."""

from __future__ import annotations

import math

import pytest
import torch

from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.sensing import design as rules
from yuzu_cli.backends.sensing import layers
from yuzu_cli.backends.sensing.codes import PUBLISHED
from yuzu_cli.backends.sensing.design import draw, judge, largest_error, make_design
from yuzu_cli.backends.sensing.kept import precompute
from yuzu_cli.backends.sensing.layers import layers_of
from yuzu_cli.backends.windowed import understand
from yuzu_cli.engine.choose import choose
from yuzu_cli.errors import ModelError
from yuzu_cli.model import Model, load_model

LENGTH = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(2)
    module = torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.Conv1d(6, 5, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv1d(5, 5, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(5 * LENGTH, 3),
    ).eval()
    path = tmp_path_factory.mktemp("design") / "model.pt"
    torch.jit.script(module).save(str(path))
    return load_model(path, length=LENGTH)


def settings(matrix: str = "gaussian", alpha: float | None = None) -> Settings:
    return Settings(length=LENGTH, device=torch.device("cpu"), matrix=matrix, alpha=alpha)


def test_layers(model: Model) -> None:
    layers = layers_of(understand(model, settings()))
    assert [(layer.slots.count, layer.first) for layer in layers] == [
        (5, True),
        (7, False),
        (9, False),
    ]


@pytest.mark.parametrize("matrix", PUBLISHED)
def test_search(model: Model, matrix: str) -> None:
    found = make_design(model, settings(matrix))
    *refused, accepted = found.tries
    assert accepted.accepted
    assert accepted.alpha == found.alpha
    assert accepted.condition <= rules.CONDITION
    assert accepted.error <= rules.ERROR
    assert all(not one.accepted for one in refused)
    assert [one.alpha for one in found.tries] == list(rules.ALPHAS[: len(found.tries)])
    assert list(found.left.values()) == ["its deltas are columns of its weight"]
    # Sequences that the search did not see.
    assert largest_error(model, settings(matrix), found.codes, seed=99) < 1e-4


@pytest.mark.parametrize("matrix", PUBLISHED)
def test_alpha_below_one_is_refused(model: Model, matrix: str) -> None:
    found = make_design(model, settings(matrix, 0.9))
    assert found.refusal is not None
    assert found.refusal.startswith("codes are not accurate at alpha 0.9 (condition inf, error ")
    assert found.error > 0.05
    with pytest.raises(ModelError, match=r"not accurate at alpha 0\.9"):
        precompute(model, settings(matrix, 0.9))
    with pytest.raises(ModelError, match=r"not accurate at alpha 0\.9"):
        choose("yuzu", [model], settings(matrix, 0.9), LENGTH)
    assert make_design(model, settings(matrix, 1.5)).refusal is None


def test_alpha_below_one_gives_wrong_deltas(model: Model) -> None:
    """What the refusal is for: with the conditions ignored, effects are wrong."""
    layers = layers_of(understand(model, settings()))[1:]
    codes = draw(layers, settings(), 3, 0.9)
    assert largest_error(model, settings(), codes, slack=math.inf) > 0.05
    fine = draw(layers, settings(), 3, 1.5)
    assert largest_error(model, settings(), fine, slack=math.inf) < 1e-5


def test_a_good_condition_alone_is_not_enough(model: Model) -> None:
    layers = layers_of(understand(model, settings()))[1:]
    codes = draw(layers, settings(), 3, 1.5)
    code = next(iter(codes.values()))
    assert judge(model, settings(), codes, 1.5, math.inf).accepted
    assert code.decoders is not None
    code.decoders[20] *= 1.001  # one position in error
    spoiled = judge(model, settings(), codes, 1.5, math.inf)
    assert spoiled.condition < rules.CONDITION
    assert not spoiled.accepted


def test_no_alpha_is_accurate_enough(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "ERROR", 0.0)
    monkeypatch.setattr(rules, "ALPHAS", (1.0, 1.5))
    with pytest.raises(ModelError, match=r"no gaussian codes are accurate at alpha 1, 1\.5") as e:
        make_design(model, settings())
    assert "orthogonal" in e.value.hint


def test_layers_too_large_go_the_windowed_way(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "LAYER_BYTES", 1000)
    found = make_design(model, settings())
    assert not found.codes
    assert any("decoders would take" in reason for reason in found.left.values())


@pytest.mark.parametrize("matrix", ["interleaved", "orthogonal"])
def test_the_periodic_forms_are_measured_on_demand(model: Model, matrix: str) -> None:
    assert make_design(model, settings(matrix)).tries == ()
    measured = make_design(model, settings(matrix), measure=True, slack=math.inf)
    assert measured.alpha == 1
    assert measured.error < 2e-6


def test_progress_counts_decoders(model: Model) -> None:
    seen: list[tuple[int, int]] = []
    make_design(model, settings(), progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert all(0 < done <= total for done, total in seen)
