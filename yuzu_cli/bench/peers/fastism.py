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
from yuzu_cli.bench.peers.chain import by_position, layers
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
        self.positions = self._some_positions()
        folder = tempfile.TemporaryDirectory()
        weakref.finalize(self, folder.cleanup)
        self.folder = Path(folder.name)
        steps, arrays = translate(subject.module, subject.case.length)
        np.savez(self.folder / "weights.npz", **arrays)  # type: ignore[arg-type]
        np.save(self.folder / "codes.npy", subject.codes[: max(SWEEP)].cpu().numpy())
        np.save(self.folder / "positions.npy", self.positions)
        (self.folder / "layers.json").write_text(json.dumps(steps))
        self.process = self._start()
        self._answer()

    def _some_positions(self) -> np.ndarray:
        """Evenly spread ones that the truth has mutants at: a position takes it long."""
        truth = self.subject.truth
        known = np.unique(truth.position[truth.sequence == 0])
        count = max(POSITIONS, int(LEAST * len(self.subject.positions)))
        place = np.linspace(0, len(known) - 1, min(count, len(known))).round().astype(np.int64)
        return known[np.unique(place)]

    def _start(self) -> subprocess.Popen[str]:
        threads = str(torch.get_num_threads())
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OMP_NUM_THREADS": threads,
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": "1",
        }
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
        """The next line of the other process, unless it has ended or failed."""
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
        self.count = self.at_once(SWEEP, seconds)
        return self.share

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

    A step has a `kind`, a layer of Keras, its settings, and the names of its arrays; `save`
    keeps a value, `add` adds it to another, and `profile` flattens what is to be read channels
    first.

    Raises
    ------
    CannotRun
        There is a layer without a counterpart.
    """
    made = _Steps()
    if isinstance(module, BPNet):
        made.layer(module.first)
        made.put("Activation", activation="relu")
        for layer in module.dilated:
            made.put("save")
            made.layer(layer)
            made.put("Activation", activation="relu")
            made.put("add")
        made.layer(module.profile)
        if module.trim:
            made.put("Cropping1D", cropping=module.trim)
        made.put("profile")
        return made.steps, made.arrays
    chain = by_position(layers(module, length), length)
    for layer, _ in chain:
        made.layer(layer)
    if chain[-1][1].dim() == 3:
        made.put("profile")
    return made.steps, made.arrays


class _Steps:
    """What `translate` makes, step by step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.arrays: dict[str, np.ndarray] = {}

    def put(self, kind: str, *weights: torch.Tensor | None, **settings: Any) -> None:
        """A step, with its arrays as they are to be."""
        names = []
        for weight in weights:
            assert weight is not None
            names.append(f"a{len(self.arrays)}")
            self.arrays[names[-1]] = weight.detach().cpu().float().contiguous().numpy()
        self.steps.append({"kind": kind, "weights": names, **settings})

    def layer(self, layer: nn.Module) -> None:
        """A layer's step; of values that are flattened position by position."""
        if isinstance(layer, nn.Conv1d):
            self._convolution(layer)
        elif isinstance(layer, nn.BatchNorm1d):
            parts = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
            self.put("BatchNormalization", *parts, epsilon=layer.eps)
        elif isinstance(layer, nn.MaxPool1d) and layer.padding == 0:
            self.put("MaxPooling1D", pool_size=layer.kernel_size, strides=layer.stride)
        elif isinstance(layer, nn.Linear):
            self.put("Dense", layer.weight.T, layer.bias, units=layer.out_features)
        elif isinstance(layer, (nn.ReLU, nn.Sigmoid)):
            self.put("Activation", activation=type(layer).__name__.lower())
        elif isinstance(layer, nn.Flatten):
            self.put("Flatten")
        else:
            raise CannotRun(f"{layer} has no counterpart in Keras")

    def _convolution(self, layer: nn.Conv1d) -> None:
        kernel, dilation, padding = layer.kernel_size[0], layer.dilation[0], layer.padding[0]
        if padding not in (0, dilation * (kernel - 1) / 2) or layer.stride[0] != 1:
            raise CannotRun(f"{layer} has no counterpart in Keras")
        sizes = {"filters": layer.out_channels, "kernel_size": kernel, "dilation_rate": dilation}
        weight, same = layer.weight.permute(2, 1, 0), "same" if padding else "valid"
        self.put("Conv1D", weight, layer.bias, padding=same, **sizes)
