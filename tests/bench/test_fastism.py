"""fastISM beside this tool: the network as Keras has it, and the process that it runs in."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.test_peers import one_hot
from yuzu_cli.bench.measure import measure
from yuzu_cli.bench.methods import CannotRun
from yuzu_cli.bench.papers import zoo
from yuzu_cli.bench.peers.chain import Rows
from yuzu_cli.bench.peers.fastism import FastISM, translate
from yuzu_cli.bench.subject import Case


def in_keras(steps: list[dict[str, Any]], arrays: dict[str, np.ndarray], x: np.ndarray) -> Any:
    """What Keras makes of the steps, written out with numpy; x is (N, L, 4)."""
    saved = x
    for step in steps:
        kind, weights = step["kind"], [arrays[name] for name in step["weights"]]
        if kind == "Conv1D":
            kernel, bias = weights
            assert kernel.shape[::2] == (step["kernel_size"], step["filters"])
            dilation = step["dilation_rate"]
            span = (len(kernel) - 1) * dilation
            if step["padding"] == "same":
                x = np.pad(x, ((0, 0), (span // 2, span - span // 2), (0, 0)))
            parts = [x[:, k * dilation :][:, : x.shape[1] - span] for k in range(len(kernel))]
            x = sum(part @ kernel[k] for k, part in enumerate(parts)) + bias
        elif kind == "BatchNormalization":
            gamma, beta, mean, variance = weights
            x = (x - mean) / np.sqrt(variance + step["epsilon"]) * gamma + beta
        elif kind == "MaxPooling1D":
            size = step["pool_size"]
            assert size == step["strides"]
            count = x.shape[1] // size
            x = x[:, : count * size].reshape(len(x), count, size, -1).max(2)
        elif kind == "Dense":
            x = x @ weights[0] + weights[1]
        elif (kind, step.get("activation")) == ("Activation", "relu"):
            x = np.maximum(x, 0)
        elif (kind, step.get("activation")) == ("Activation", "sigmoid"):
            x = 1 / (1 + np.exp(-x))
        elif kind == "Flatten":
            x = x.reshape(len(x), -1)
        elif kind == "save":
            saved = x
        elif kind == "add":
            x = x + saved
        elif kind == "Cropping1D":
            x = x[:, step["cropping"] : x.shape[1] - step["cropping"]]
        elif kind == "profile":
            x = x.swapaxes(1, 2)
        else:
            raise AssertionError(kind)
    return x


@pytest.mark.parametrize("name", ["onelayer", "deepsea", "basset", "factorized-basset", "bpnet9"])
def test_networks_in_keras(name: str) -> None:
    module = zoo.build(name, 180, width=0.05)
    x = one_hot(2, 180)
    steps, arrays = translate(module, 180)
    found = in_keras(steps, arrays, x.transpose(1, 2).numpy())
    expected = Rows(module)(x).numpy()
    np.testing.assert_allclose(found.reshape(2, -1), expected, rtol=1e-3, atol=1e-4)


def test_layers_without_a_counterpart_are_told() -> None:
    with pytest.raises(CannotRun, match=r"MaxPool1d.* has no counterpart in Keras"):
        translate(zoo.build("aitac3", 130, width=0.05), 130)


BARE = f'#!/bin/sh\nexec {sys.executable} -S "$@"\n'
"""A Python without the packages that are installed for it."""

PYTHONS = {
    "no such program": ("/nowhere/python", "/nowhere/python: No such file or directory"),
    "an environment without it": ("{folder}/bare", "ModuleNotFoundError: No module named"),
    "a program that is no Python": ("/bin/true", "its process ended: no message"),
}


@pytest.mark.parametrize(("python", "message"), PYTHONS.values(), ids=PYTHONS.keys())
def test_an_environment_that_will_not_do_is_told(python: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bare").write_text(BARE)
    (tmp_path / "bare").chmod(0o755)
    method = FastISM(python.format(folder=tmp_path))
    (row,) = measure(Case("toynet", 30, width=0.1), [method], rounds=1, seconds=0.05)
    assert row.status == "cannot"
    assert row.error.startswith(message)


WORKER = """
import json, sys
import numpy as np
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    what, count = line.split()
    if what == "save":
        np.save(sys.argv[-1] + "/delta.npy", np.zeros((4, int(count), 8, 60), np.float32))
    wall = 1.0 if int(count) < 8 else 2.0
    print(json.dumps({"wall": wall, "cpu": 0.25}), flush=True)
"""


def test_times_are_those_of_the_other_process(tmp_path: Path) -> None:
    """With a stand-in for the other process, whose scores are all zero and so wrong."""
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "python").write_text(
        f'#!/bin/sh\nexec {sys.executable} {tmp_path}/worker.py "$@"\n'
    )
    (tmp_path / "python").chmod(0o755)
    method = FastISM(str(tmp_path / "python"))
    case = Case("toynet", 30, 8, width=0.1)
    row = measure(case, [method], rounds=3, seconds=9.0)[0]
    assert (row.status, row.error, row.verdict) == ("ok", "", "wrong")
    assert row.share == 8 / 30  # eight positions of all eight sequences: quicker than one by one
    assert [(sample.wall, sample.cpu) for sample in row.samples] == [(2.0, 0.25)] * 3
    assert row.extra["tried"] == {1: 1.0, 8: 0.25}
    assert row.per_sequence == 2.0 / 8 * 30 / 8
    assert math.isnan(row.host_peak)
    process = method.process
    del method
    assert process.poll() is not None
