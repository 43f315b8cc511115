"""A backend run over a model file and judged by the oracle; what the conformance tests share."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.support import oracle
from tests.support.cases import CASES
from tests.support.published import PUBLISHED
from yuzu_cli.backends import BACKENDS, get_backend
from yuzu_cli.backends.base import Runner, Settings
from yuzu_cli.bench.papers import zoo
from yuzu_cli.model import Model, load_model

SLACK = 1.5
"""How much worse than naive float32 a largest error may be by luck; see `oracle.assert_exact`."""

EXACT = [name for name in BACKENDS if get_backend(name).exact and name != "yuzu"]
"""The yuzu backend has several code matrices and a table of its own: `test_sensing_conformance`."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model to judge backends on, once as a file and once as what the oracle runs.

    Attributes
    ----------
    name : str
    length, letters : int
        L and A.
    module : callable
        () -> nn.Module, float32, always the same.
    function : callable
        (torch.dtype, device="cpu") -> (one-hot (N, A, L) -> targets (N, T)), on the CPU outside.
    arguments : callable
        One-hot (N, A, L) -> all inputs of the module, to trace it on.
    layout, output, extra : as `load_model` takes them
    """

    name: str
    length: int
    module: Callable[[], nn.Module]
    function: Callable[..., Callable[[Tensor], Tensor]]
    arguments: Callable[[Tensor], list[Tensor]] = lambda x: [x]
    letters: int = 4
    layout: str = "NCL"
    output: int | str = 0
    extra: Mapping[int, Tensor] = field(default_factory=dict)

    def sequences(self) -> Tensor:
        """Three sequences: random; with unknown letters, also at the ends; periodic, with ties."""
        draw = torch.Generator().manual_seed(len(self.name))
        codes = torch.randint(self.letters, (3, self.length), generator=draw)
        codes[1, [0, self.length // 3, self.length // 2, -1]] = oracle.UNKNOWN
        codes[2] = torch.arange(self.length) // 2 % min(self.letters, 3)
        return codes.to(torch.uint8)

    def save(self, path: Path, how: str) -> Path:
        """Write the module: `scripted`, `traced`, `exported` for any rows, or for one `alone`."""
        module = self.module()
        rows = self.sequences()[[0, 2]]
        x = torch.stack([oracle.one_hot(row, self.letters, torch.float32) for row in rows])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch thinks of these models is not the question
            if how in ("exported", "alone"):
                given = tuple(self.arguments(x if how == "exported" else x[:1]))
                free = tuple({0: torch.export.Dim.AUTO} for _ in given)
                shapes = free if how == "exported" else None
                graph = torch.export.export(module, given, dynamic_shapes=shapes)
                path = path.with_suffix(".pt2")
                torch.export.save(graph, path)
                return path
            if how == "scripted":
                program = torch.jit.script(module)
            else:
                program = torch.jit.trace(module, tuple(self.arguments(x)), check_trace=False)
        program.save(str(path))
        return path

    def load(self, path: Path, **options: Any) -> Model:
        """The file as the package loads it."""
        return load_model(
            path,
            length=self.length,
            alphabet_size=self.letters,
            layout=self.layout,
            output=self.output,
            extra_inputs=dict(self.extra.items()),
            **options,
        )


@functools.cache
def truth(
    subject: Subject, positions: tuple[int, ...], unknown: float = 0.0, device: str = "cpu"
) -> list[tuple[Tensor, float]]:
    """Per sequence: float64 scores (T, A, M) of the CPU, error of naive float32 on `device`."""
    exact, naive = subject.function(torch.float64), subject.function(torch.float32, device=device)
    options: dict[str, Any] = {"letters": subject.letters, "unknown": unknown}
    found = []
    for codes in subject.sequences():
        scores = oracle.saturation(exact, codes, positions, **options)
        found.append((scores, oracle.naive_error(naive, scores, codes, positions, **options)))
    return found


def settings_for(model: Model, **options: Any) -> Settings:
    return Settings(length=model.length, device=model.device, **options)


def scores(
    runner: Runner, codes: Tensor, positions: Sequence[int], letters: int, device: str = "cpu"
) -> Tensor:
    """Everything a runner yields as one (B, T, A, M) tensor, by the contract's rules.

    Raises
    ------
    AssertionError
        A mutant that changes a known letter is missing, an index is out of bounds, or `squares` is
        not what the deltas come to.
    """
    where = np.asarray(positions, dtype=np.int64)
    n, m = len(codes), len(where)
    there = codes.to(device)
    targets = runner.reference(there).shape[1]
    flat = torch.full((n * m * letters, targets), torch.nan, dtype=torch.float64)
    seen = torch.zeros(n * m * letters, targets, dtype=torch.bool)
    squares = torch.zeros(n * m * letters, dtype=torch.float64)
    for block in runner.blocks(there, where):
        assert block.index.dtype == torch.int64
        squares[block.index.cpu()] += block.squares().cpu().double()
        assert block.delta.dtype == torch.float32
        part = torch.arange(targets)[block.targets]
        index = block.index.cpu()[:, None]
        flat[index, part] = block.delta.cpu().double()
        seen[index, part] = True
    here = codes[:, torch.as_tensor(where)].long().reshape(-1, 1)
    same = (here == torch.arange(letters)).reshape(-1)
    lost = (here == oracle.UNKNOWN).expand(-1, letters).reshape(-1)
    missing = ~seen.all(dim=1) & ~same & ~lost
    assert not missing.any(), f"{int(missing.sum())} mutants are missing"
    told = ~same & ~lost
    sums = flat[told].square().sum(1)
    torch.testing.assert_close(squares[told], sums, rtol=1e-4, atol=1e-30, equal_nan=True)
    flat[same] = 0.0
    flat[lost] = torch.nan
    return flat.reshape(n, m, letters, targets).permute(0, 3, 2, 1)


def judge(
    subject: Subject,
    runner: Runner,
    positions: Sequence[int] | None = None,
    unknown: float = 0.0,
    device: str = "cpu",
    naive_on: str | None = None,
) -> None:
    """Refuse a runner that is less exact on the subject's sequences than naive float32.

    Naive computes on the same device, unless another is named: what is exact must be so beside it.

    Raises
    ------
    AssertionError
        See `oracle.assert_exact`; or the outputs for the sequences themselves are wrong.
    """
    positions = tuple(range(subject.length)) if positions is None else tuple(positions)
    codes = subject.sequences()
    found = scores(runner, codes, positions, subject.letters, device)
    exactly = truth(subject, positions, unknown, naive_on or device)
    for one, (exact, naive32) in zip(found, exactly, strict=True):
        oracle.assert_exact(one, exact, naive32, slack=SLACK)
    x = torch.stack([oracle.one_hot(c, subject.letters, torch.float64, unknown) for c in codes])
    with torch.no_grad():
        expected = subject.function(torch.float64)(x)
    reference = runner.reference(codes.to(device))
    assert reference.dtype == torch.float32
    torch.testing.assert_close(
        reference.cpu().double(),
        expected,
        rtol=0,
        atol=2e-5 * max(1e-3, float(expected.abs().max())),
    )


BY_NAME = {case.name: case for case in [*CASES, *PUBLISHED]}
# Letters and width of the zoo's reduced models; odd lengths, all poolings leave something.
REDUCED = {"deepsea": 173, "basset": 131, "factorized-basset": 131, "bpnet9": 121}


@functools.cache
def case_subject(name: str) -> Subject:
    case = BY_NAME[name]
    return Subject(
        name, case.length, case.build, case.function, case.arguments, case.letters, case.layout,
        case.output, case.extra,
    )  # fmt: skip


@functools.cache
def zoo_subject(name: str, length: int, width: float, output: int | str = 0) -> Subject:
    def build() -> torch.nn.Module:
        return zoo.build(name, length, 1, width=width)

    def function(dtype: torch.dtype, device: str = "cpu"):
        module = build().to(device, dtype)

        def call(x: torch.Tensor) -> torch.Tensor:
            y = module(x.to(device))
            parts = y if isinstance(y, tuple) else (y,)
            parts = parts if output == "all" else (parts[int(output)],)
            flat = [part.reshape(len(x), -1) for part in parts]
            return torch.cat(flat, dim=1).to(x.device)

        return call

    return Subject(name, length, build, function, output=output)


LOADED: dict[tuple[Subject, str], Model] = {}


def loaded(subject: Subject, how: str, folder: Path, device: str = "cpu") -> Model:
    """The model, written and loaded once for all backends; a process has one device."""
    if (subject, how) not in LOADED:
        path = subject.save(folder / f"{subject.name}-{how}.pt", how)
        LOADED[subject, how] = subject.load(path, device=device)
    return LOADED[subject, how]


def run(
    subject: Subject, how: str, backend: str, folder: Path, device: str = "cpu", **options
) -> None:
    positions = options.pop("positions", None)
    model = loaded(subject, how, folder, device)
    method, settings = get_backend(backend), settings_for(model, **options)
    reason = method.unsupported(model, settings)
    assert reason is None, reason
    runner = method.prepare(model, settings)
    judge(subject, runner, positions, options.get("unknown", 0.0), device)
