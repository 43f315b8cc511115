"""The tables about probes, at the smallest size that has every column."""

from __future__ import annotations

import pytest

from yuzu_cli.bench.sensing_study import alpha_table, batch_table, layer_table, main, models_table


def test_models() -> None:
    lines = {line["method"]: line for line in models_table(["toynet"], 40, rounds=1)}
    assert list(lines)[:2] == ["naive", "windowed"]
    assert all(float(line["seconds"]) > 0 for line in lines.values())
    probed = lines["yuzu:orthogonal all on probes"]
    assert probed["share"] == "1 1 1"
    assert probed["probes"] == "21 39 57"
    assert 0 < float(probed["error"]) < 1e-5
    assert float(lines["yuzu:gaussian"]["alpha"]) >= 1


def test_alpha_shows_where_it_fails() -> None:
    lines = list(alpha_table(["toynet"], 80, ["gaussian"]))
    by_alpha = {line["alpha"]: line for line in lines}
    assert not by_alpha[0.95]["accepted"]
    assert by_alpha[1.5]["accepted"]
    assert float(by_alpha[0.95]["mse"]) > 1e4 * float(by_alpha[1.5]["mse"])
    assert float(by_alpha[1.5]["pearson"]) > 0.999


def test_layer_splits_the_time() -> None:
    lines = list(layer_table([(4, 3, 30)], rounds=1))
    assert [line["matrix"] for line in lines] == [
        "interleaved",
        "orthogonal",
        "gaussian",
        "bernoulli",
    ]
    for line in lines:
        parts = sum(float(line[part]) for part in ("build", "convolve", "decode"))  # type: ignore[arg-type]
        assert 0 < parts < float(line["probes"])  # type: ignore[arg-type]


def test_batch() -> None:
    lines = list(batch_table(["toynet"], 40, [1, 2], rounds=1))
    assert [line["sequences"] for line in lines] == [1, 2]


def test_lines_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--filters", "4", "--kernels", "3", "--lengths", "30", "--rounds", "1"]
    assert main(["layer", *sizes]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split("\t")[:4] == ["filters", "kernel", "length", "matrix"]
    assert len(rows) == 4
    assert all(row.count("\t") == head.count("\t") for row in rows)
