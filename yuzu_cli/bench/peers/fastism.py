"""fastISM beside this tool, in an environment of its own: TensorFlow and torch need not share one.

The network goes over as a list of layers with its weights, in files; the other process builds it in
Keras, and is then told to run over a pipe, so that it takes its turn like every other method.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from yuzu_cli.bench.clock import Sample
from yuzu_cli.bench.methods import LEAST, CannotRun, Found, Method
from yuzu_cli.bench.papers.networks import BPNet
from yuzu_cli.bench.peers.chain import layers
from yuzu_cli.bench.subject import Subject

WORKER = Path(__file__).parent / "fastism_worker.py"

SWEEP = (1, 8, 64, 256)
"""Sequences at a time that are tried."""

POSITIONS = 8
"""It is run on so many at least: each is some calls of its own."""


class FastISM(Method):
    """The published fastISM, on some positions, at its best number of sequences at a time.

    Parameters
    ----------
    python : str or None
        Python of the environment it is installed in.
    """

    name = "fastism"

    def __init__(self, python: str | None) -> None:
        self.python = python

    def prepare(self, subject: Subject) -> None:
        """Write the network and the sequences, start the other process."""
        super().prepare(subject)
        if self.python is None:
            raise CannotRun("needs an environment of its own: give --fastism-python")
        if subject.device.type != "cpu":
            raise CannotRun("is measured on the CPU only")
        if subject.module is None:
            raise CannotRun("a model file cannot be rebuilt in Keras")
        self.count = len(subject.codes)
        folder = tempfile.TemporaryDirectory()
        weakref.finalize(self, folder.cleanup)
        self.folder = Path(folder.name)
        steps, arrays = translate(subject.module, subject.case.length)
        np.savez(self.folder / "weights.npz", **arrays)  # type: ignore[arg-type]
        np.save(self.folder / "codes.npy", subject.codes[: max(SWEEP)].cpu().numpy())
        np.save(self.folder / "positions.npy", self._positions())
        (self.folder / "layers.json").write_text(json.dumps(steps))
        self.process = self._start()
        self._answer()

    def _positions(self) -> np.ndarray:
        """Evenly spread ones that the truth has mutants at: a position takes it long."""
        truth = self.subject.truth
        known = np.unique(truth.position[truth.sequence == 0])
        count = max(POSITIONS, int(LEAST * len(self.subject.positions)))
        place = np.linspace(0, len(known) - 1, min(count, len(known))).round().astype(np.int64)
        self.positions: np.ndarray = known[np.unique(place)]
        return self.positions

    def _start(self) -> subprocess.Popen[str]:
        threads = str(torch.get_num_threads())
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OMP_NUM_THREADS": threads,
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": "1",
        }
        environment.pop("PYTHONPATH", None)
        try:
            with (self.folder / "log").open("w") as log:
                process = subprocess.Popen(
                    [str(self.python), "-I", str(WORKER), str(self.folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=environment,
                )
        except OSError as error:
            raise CannotRun(f"{self.python}: {error.strerror}") from error
        weakref.finalize(self, _end, process)
        return process

    def _answer(self) -> dict[str, Any]:
        """The next line of the other process.

        Raises
        ------
        CannotRun
            It has ended, or says that it failed.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            log = (self.folder / "log").read_text().strip().splitlines()
            raise CannotRun("its process ended: " + (log[-1] if log else "no message"))
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise CannotRun(answer["error"])
        return answer

    def _ask(self, what: str, count: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then there is no answer, and it is told why
            self.process.stdin.write(f"{what} {count}\n")
            self.process.stdin.flush()
        return self._answer()

    def check(self) -> Found:
        """Its deltas of the mutants of the truth in the first sequence, at its positions."""
        truth = self.subject.truth
        self._ask("save", 1)
        delta = np.load(self.folder / "delta.npy")  # (A, N, its positions, T)
        seen = (truth.sequence == 0) & np.isin(truth.position, self.positions)
        place = np.searchsorted(self.positions, truth.position[seen])
        return Found("delta", delta[truth.letter[seen], 0, place], seen)

    def plan(self, seconds: float) -> float:
        """As many sequences at a time as are quickest."""
        self.count = self.at_once(SWEEP, seconds, lambda count: self._ask("run", count)["wall"])
        part = self.count * len(self.positions)
        return part / (len(self.subject.codes) * len(self.subject.positions))

    def run(self) -> Sample:
        """Time as the other process measured it."""
        answer = self._ask("run", self.count)
        return Sample(answer["wall"], answer["cpu"], elsewhere=True)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def translate(module: nn.Module, length: int) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """A network as a list of steps for Keras, with its arrays in Keras' order.

    A step has a `kind`, its settings, and the names of its arrays; `save` keeps its result under a
    name and `add` adds that back.

    Raises
    ------
    CannotRun
        There is a layer without a counterpart.
    """
    steps: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}

    def put(kind: str, weights: list[np.ndarray] | None = None, **settings: Any) -> None:
        names = []
        for weight in weights or []:
            names.append(f"a{len(arrays)}")
            arrays[names[-1]] = np.ascontiguousarray(weight)
        steps.append({"kind": kind, "weights": names, **settings})

    if isinstance(module, BPNet):
        _convolution(put, module.first)
        put("relu")
        for layer in module.dilated:
            assert isinstance(layer, nn.Conv1d)
            put("save")
            _convolution(put, layer)
            put("relu")
            put("add")
        _convolution(put, module.profile)
        if module.trim:
            put("crop", amount=module.trim)
        put("channels-first")
        return steps, arrays
    y = torch.zeros(2, 4, length)
    shape: tuple[int, int] | None = None
    for layer in layers(module, length):
        if isinstance(layer, nn.Flatten):
            shape = (y.shape[1], y.shape[2])
        shape = _put_layer(put, layer, shape)
        y = layer(y)
    if y.dim() == 3:
        put("channels-first")
    return steps, arrays


def _put_layer(put: Any, layer: nn.Module, shape: tuple[int, int] | None) -> tuple[int, int] | None:
    """One layer; `shape` is of what was flattened, until a dense layer has taken it."""
    if isinstance(layer, nn.Conv1d):
        _convolution(put, layer)
    elif isinstance(layer, nn.BatchNorm1d):
        parts = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
        put("norm", [_array(part) for part in parts], epsilon=layer.eps)
    elif isinstance(layer, nn.MaxPool1d) and layer.padding == 0:
        put("max-pool", size=layer.kernel_size, stride=layer.stride)
    elif isinstance(layer, nn.Linear):
        weight = layer.weight
        if shape is not None:
            weight = weight.unflatten(1, shape).transpose(1, 2).flatten(1)
            shape = None
        put("dense", [_array(weight).T, _array(layer.bias)])
    elif isinstance(layer, (nn.ReLU, nn.Sigmoid, nn.Flatten)):
        put(type(layer).__name__.lower())
    else:
        raise CannotRun(f"{layer} has no counterpart in Keras")
    return shape


def _convolution(put: Any, layer: nn.Conv1d) -> None:
    kernel, dilation, padding = layer.kernel_size[0], layer.dilation[0], layer.padding[0]
    if padding not in (0, dilation * (kernel - 1) / 2) or layer.stride[0] != 1:
        raise CannotRun(f"{layer} has no counterpart in Keras")
    put(
        "convolution",
        [_array(layer.weight).transpose(2, 1, 0), _array(layer.bias)],
        padding="same" if padding else "valid",
        dilation=dilation,
    )


def _array(tensor: torch.Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().cpu().float().numpy()
