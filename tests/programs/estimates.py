"""How good estimates are, and how fast: models trained here in minutes, every mutant both ways.

``python -m tests.programs.estimates [NAME...]``

Each model learns what the example's model says of windows of the example's genome: conv and pool,
then something that ends windows. Pearson's r with saturation mutagenesis is that of every window
and target, of all mutants of 500 bp; the median is printed, with the worst in brackets. Times are
the processor's, on one thread.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from yuzu_cli.backends.base import Runner, Settings
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.backends.taylor import CutRunner, TaylorRunner
from yuzu_cli.model import Model, load_model

HOME = Path(__file__).parent.parent.parent / "example_data"
LENGTH, CHANNELS, WINDOWS = 500, 48, 8
SAMPLES, STEPS, BATCH = 2048, 300, 32


class Excite(nn.Module):
    """A residual convolution whose channels are gated by their means over all positions."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 5, padding=2)
        self.gate = nn.Sequential(
            nn.Linear(channels, 12), nn.SiLU(), nn.Linear(12, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.nn.functional.silu(self.conv(x))
        return x + y * self.gate(y.mean(2)).unsqueeze(2)


class Attend(nn.Module):
    """A transformer layer on (N, C, L) with a learnt bias by distance."""

    def __init__(self, places: int, channels: int = CHANNELS) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query, self.key = (
            nn.Linear(channels, channels),
            nn.Linear(channels, channels),
        )
        self.value, self.join = (
            nn.Linear(channels, channels),
            nn.Linear(channels, channels),
        )
        self.near = nn.Parameter(torch.zeros(2 * places - 1))
        at = torch.arange(places)
        self.apart = nn.Buffer(at[:, None] - at[None, :] + places - 1)
        self.more = nn.Sequential(
            nn.Linear(channels, 2 * channels),
            nn.GELU(),
            nn.Linear(2 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        h = self.norm(x)
        scores = self.query(h) @ self.key(h).transpose(1, 2) * h.shape[2] ** -0.5
        x = x + self.join(torch.softmax(scores + self.near[self.apart], 2) @ self.value(h))
        return (x + self.more(self.last(x))).transpose(1, 2)


class Both(nn.Module):
    """An LSTM both ways on (N, C, L)."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.states = nn.LSTM(channels, channels // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x.transpose(1, 2))[0].transpose(1, 2)


class SoftPool(nn.Module):
    """Pairs of positions, weighed by a softmax of their channels."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(x.shape[0], x.shape[1], x.shape[2] // 2, 2)
        return (x * torch.softmax(self.weigh(x), 3)).sum(3)


def _block(width: int) -> list[nn.Module]:
    conv = nn.Conv1d(CHANNELS, CHANNELS, width, padding=width // 2)
    return [nn.BatchNorm1d(CHANNELS), nn.GELU(), conv]


def _stem(pool: int) -> list[nn.Module]:
    return [nn.Conv1d(4, CHANNELS, 15, padding=7), nn.ReLU(), nn.MaxPool1d(pool)]


def _head(places: int) -> list[nn.Module]:
    return [nn.AdaptiveMaxPool1d(5), nn.Flatten(), nn.Linear(5 * CHANNELS, 4)] if places else []


MODELS: dict[str, Callable[[], nn.Module]] = {
    "squeeze-excite": lambda: nn.Sequential(
        *_stem(5), *(Excite() for _ in range(3)), *_head(100)
    ),
    "transformer": lambda: nn.Sequential(*_stem(5), Attend(100), Attend(100), *_head(100)),
    "lstm": lambda: nn.Sequential(*_stem(5), Both(), *_head(100)),
    "enformer-like": lambda: nn.Sequential(
        nn.Conv1d(4, CHANNELS, 15, padding=7), *_block(1), SoftPool(), *_block(5), SoftPool(),
        *_block(5), nn.MaxPool1d(5), *(Attend(25) for _ in range(8)), *_head(25),
    ),
    "legnet-like": lambda: nn.Sequential(
        nn.Conv1d(4, CHANNELS, 7, padding=3), nn.BatchNorm1d(CHANNELS), nn.SiLU(), Excite(),
        Excite(), nn.MaxPool1d(2), *(Excite() for _ in range(4)), *_head(250),
    ),
}  # fmt: skip

EXAMPLE = {
    "conv 1": "relu_default", "residual 1": "add", "residual 2": "add_1", "residual 4": "add_3",
}  # fmt: skip


def genome() -> Tensor:
    """Codes of the example's piece of genome, uint8."""
    with gzip.open(HOME / "genome.fa.gz", "rt") as file:
        text = file.read().partition("\n")[2]
    letters = np.frombuffer(text.replace("\n", "").upper().encode(), np.uint8)
    table = np.zeros(256, np.uint8)
    table[[ord(c) for c in "ACGT"]] = range(4)
    return torch.as_tensor(table[letters])


def peaks() -> Tensor:
    """Codes (WINDOWS, L) of windows about peaks, evenly taken."""
    lines = (HOME / "peaks.bed").read_text().splitlines()
    middles = [sum(map(int, line.split("\t")[1:3])) // 2 for line in lines]
    chosen = middles[:: len(middles) // WINDOWS][:WINDOWS]
    letters = genome()
    return torch.stack([letters[m - LENGTH // 2 : m + LENGTH // 2] for m in chosen])


def one_hot(codes: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(codes.long(), 4).transpose(1, 2).float()


def trained(make: Callable[[], nn.Module]) -> nn.Module:
    """A model that says what the example's says of windows of the genome, peaks left out or not."""
    torch.manual_seed(1)
    teacher, letters = torch.jit.load(str(HOME / "model.pt")), genome()
    starts = torch.randint(len(letters) - LENGTH, (SAMPLES,))
    codes = torch.stack([letters[s : s + LENGTH] for s in starts.tolist()])
    with torch.no_grad():
        wanted = torch.cat([teacher(one_hot(part)) for part in codes.split(256)])
    net = make()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=STEPS)
    for _ in range(STEPS):
        rows = torch.randint(SAMPLES, (BATCH,))
        loss = (net(one_hot(codes[rows])) - wanted[rows]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def deltas(runner: Runner, codes: Tensor) -> tuple[Tensor, float]:
    """Effects (B, mutants, T) and seconds of a second time."""
    found, spent, positions = torch.zeros(0), 0.0, np.arange(LENGTH)
    at_once = getattr(runner, "sequences", len(codes))
    for _ in range(1 if isinstance(runner, NaiveRunner) else 2):
        began, parts = time.process_time(), []
        for part in codes.split(min(at_once, len(codes))):
            outputs = runner.reference(part)
            table = torch.zeros(len(part) * LENGTH * 4, outputs.shape[1])
            for block in runner.blocks(part, positions):
                table[block.index, block.targets] = block.delta
            parts.append(table.view(len(part), LENGTH * 4, -1))
        found, spent = torch.cat(parts), time.process_time() - began
    keep = torch.zeros(found.shape[:2], dtype=torch.bool)
    keep.view(-1)[mutant_index(codes, positions, 4)] = True
    return found[keep].view(len(codes), 3 * LENGTH, -1), spent


def correlation(a: Tensor, b: Tensor) -> str:
    """Median and worst over windows and targets."""
    a, b = (x.double() - x.double().mean(1, keepdim=True) for x in (a, b))
    r = (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()
    return f"{float(r.median()):.2f} ({float(r.min()):.2f})"


def measured(name: str, model: Model, starts: dict[str, str]) -> None:
    """A line for each start of the estimate."""
    settings, codes = Settings(LENGTH, torch.device("cpu")), peaks()
    exact, naive = deltas(NaiveRunner(model, settings), codes)
    for label, start in starts.items():
        kind = TaylorRunner if start == "input" else CutRunner
        runner = kind(model, replace(settings, start=start))
        found, spent = deltas(runner, codes)
        line = f"| {name} | {label} | {correlation(found, exact)} | {naive / spent:.0f} |"
        print(line, flush=True)


def main(names: list[str]) -> None:
    """The table, for all models or those named."""
    torch.set_num_threads(1)
    print("| model | estimate from | r (worst) | times faster than naive |\n|---|---|---|---|")
    if not names or "example" in names:
        model = load_model(HOME / "model.pt", length=LENGTH)
        measured("example", model, {"input (TISM)": "input", **EXAMPLE})
    with tempfile.TemporaryDirectory() as folder:
        for name in [n for n in MODELS if not names or n in names]:
            path = Path(folder) / f"{name}.pt"
            torch.jit.script(trained(MODELS[name])).save(str(path))
            starts = {"input (TISM)": "input", "frontier": "frontier"}
            measured(name, load_model(path, length=LENGTH), starts)


if __name__ == "__main__":
    main(sys.argv[1:])
