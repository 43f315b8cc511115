"""Trains ``model.pt``: four insulator proteins of the fly from 500 bp of sequence.

    python example_data/train.py SOURCE_FOLDER

SOURCE_FOLDER holds the chromosome and the peak files named in README.md. Needs torch, numpy and
pyjaspar (which brings the JASPAR matrices). Everything random is seeded and one thread computes,
so the same torch build writes the same bytes again. Nothing in the package imports this file.
"""

from __future__ import annotations

import argparse
import copy
import io
import time
import zipfile
from pathlib import Path

import numpy as np
import source
import torch
from torch import nn

SEED = 20
FILTER_WIDTH = 21
CHANNELS = 64
DILATIONS = (1, 2, 4, 8)
FIRST_POOL = 4
POOL = 25
# Filters start silent but at clear matches: 2.5 standard deviations above their mean.
FIRST_BIAS = -2.5
EPOCHS = 12
BATCH = 64
NEGATIVES_PER_PEAK = 2
JITTER = 100
AVERAGE_RATE = 0.02
# Each goes in twice, as it is and reverse-complemented: 16 of the 64 filters start as a motif.
JASPAR = (
    "MA0533.1",  # su(Hw)
    "MA0531.1",  # CTCF
    "MA0529.1",  # BEAF-32
    "MA1456.2",  # Dref, which shares BEAF-32's sites
    "MA1459.2",  # M1BP
    "MA2318.1",  # pita, recruits CP190
    "MA2322.1",  # ZIPIC, recruits CP190
    "MA0205.3",  # Trl (GAGA factor)
)


class Residual(nn.Module):
    """``x + relu(norm(dilated convolution of x))``, of the same length as x."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.norm(self.conv(x)))


class InsulatorNet(nn.Module):
    """(N, 4, 500) one-hot, order ACGT -> (N, 4) logits, order ``source.PROTEINS``."""

    def __init__(self) -> None:
        super().__init__()
        self.motifs = nn.Conv1d(4, CHANNELS, FILTER_WIDTH, padding=FILTER_WIDTH // 2)
        self.norm = nn.BatchNorm1d(CHANNELS)
        nn.init.constant_(self.norm.bias, FIRST_BIAS)
        self.first_pool = nn.MaxPool1d(FIRST_POOL)
        self.body = nn.Sequential(*(Residual(CHANNELS, d) for d in DILATIONS))
        self.pool = nn.MaxPool1d(POOL)
        self.drop = nn.Dropout(0.3)
        places = source.LENGTH // FIRST_POOL // POOL
        self.head = nn.Linear(CHANNELS * places, len(source.PROTEINS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.motifs(x)))
        x = self.pool(self.body(self.first_pool(x)))
        return self.head(self.drop(x.flatten(1)))


def motif_filter(matrix_id: str) -> np.ndarray:
    """Log-odds of a JASPAR matrix against a uniform background, float32 (4, FILTER_WIDTH).

    Centred in the filter and scaled to norm 1; a matrix wider than the filter loses its ends.
    """
    import pyjaspar

    motif = pyjaspar.jaspardb(release="JASPAR2026").fetch_motif_by_id(matrix_id)
    counts = np.array([motif.counts[letter] for letter in "ACGT"], dtype=np.float64)
    frequencies = (counts + 0.25) / (counts + 0.25).sum(axis=0)
    log_odds = np.log2(frequencies * 4)[:, :FILTER_WIDTH]
    kernel = np.zeros((4, FILTER_WIDTH))
    left = (FILTER_WIDTH - log_odds.shape[1]) // 2
    kernel[:, left : left + log_odds.shape[1]] = log_odds
    return (kernel / np.linalg.norm(kernel)).astype(np.float32)


def start_from_motifs(net: InsulatorNet) -> None:
    """Overwrites the first filters with the matrices of ``JASPAR``, both strands."""
    kernels = [motif_filter(matrix_id) for matrix_id in JASPAR]
    kernels += [kernel[::-1, ::-1].copy() for kernel in kernels]
    with torch.no_grad():
        for index, kernel in enumerate(kernels):
            net.motifs.weight[index] = torch.from_numpy(kernel)
            net.motifs.bias[index] = 0.0


def windows_at(codes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Codes (N, L) of the windows centred there."""
    return codes[centres[:, None] + np.arange(-(source.LENGTH // 2), source.LENGTH // 2)]


def labels_at(peaks: list[np.ndarray], centres: np.ndarray) -> np.ndarray:
    """float32 (N, proteins): 1 a peak's midpoint lies within 150 bp of the centre, 0 no peak
    touches the window, NaN in between (left out of the loss)."""
    labels = np.zeros((len(centres), len(peaks)), dtype=np.float32)
    for column, table in enumerate(peaks):
        middle = table[:, :2].sum(axis=1) // 2
        half = source.LENGTH // 2
        for row, centre in enumerate(centres):
            near = (table[:, 0] < centre + half) & (table[:, 1] > centre - half)
            if near.any():
                inside = np.abs(middle[near] - centre).min() <= 150
                labels[row, column] = 1.0 if inside else np.nan
    return labels


class Sampler:
    """Draws the windows of an epoch from [0, stop): every peak, jittered, and random places."""

    def __init__(self, codes: np.ndarray, peaks: list[np.ndarray], stop: int) -> None:
        self.codes, self.peaks, self.stop = codes, peaks, stop
        self.random = np.random.default_rng(SEED)
        every = np.concatenate([table[:, :2].sum(axis=1) // 2 for table in peaks])
        self.middle = every[(every > 1000) & (every < stop - 1000)]
        known = np.concatenate([[0], np.cumsum(codes == source.UNKNOWN)])
        self.unknown_before = known

    def epoch(self) -> tuple[np.ndarray, np.ndarray]:
        """Shuffled codes (N, L) on random strands, and their labels."""
        draw = self.random
        positive = self.middle + draw.integers(-JITTER, JITTER + 1, len(self.middle))
        negative = draw.integers(1000, self.stop - 1000, NEGATIVES_PER_PEAK * len(positive))
        centres = np.concatenate([positive, negative])
        half = source.LENGTH // 2
        unknown = self.unknown_before[centres + half] - self.unknown_before[centres - half]
        centres = draw.permutation(centres[unknown == 0])
        codes = windows_at(self.codes, centres)
        flip = draw.random(len(centres)) < 0.5
        codes[flip] = source.reverse_complement(codes[flip])
        return codes, labels_at(self.peaks, centres)


def train(net: nn.Module, sampler: Sampler, epochs: int) -> nn.Module:
    """Trains in place; returns the running average of the weights, which is steadier."""
    steps_per_epoch = (1 + NEGATIVES_PER_PEAK) * len(sampler.middle) // BATCH + 1
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=2e-3, total_steps=epochs * steps_per_epoch
    )
    average = copy.deepcopy(net)
    for epoch in range(epochs):
        began, total, seen = time.perf_counter(), 0.0, 0
        codes, labels = sampler.epoch()
        net.train()
        for first in range(0, len(codes), BATCH):
            x = torch.from_numpy(source.one_hot(codes[first : first + BATCH]))
            y = torch.from_numpy(labels[first : first + BATCH])
            known = ~torch.isnan(y)
            loss = nn.functional.binary_cross_entropy_with_logits(net(x)[known], y[known])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                for kept, now in zip(
                    average.state_dict().values(), net.state_dict().values(), strict=True
                ):
                    if kept.dtype.is_floating_point:
                        kept.lerp_(now, AVERAGE_RATE)
                    else:
                        kept.copy_(now)
            total, seen = total + loss.item(), seen + 1
        print(f"epoch {epoch + 1}: loss {total / seen:.4f}, {time.perf_counter() - began:.0f} s")
    return average.eval()


def evaluate(
    net: nn.Module, codes: np.ndarray, peaks: list[np.ndarray], start: int, stop: int
) -> list[tuple[int, int, float]]:
    """Per protein: peaks, background windows and AUROC in [start, stop).

    Background is the peaks' own windows moved 10 kb and 20 kb either way, where no peak of that
    protein touches them.
    """
    rows = []
    for column, table in enumerate(peaks):
        middle = table[:, :2].sum(axis=1) // 2
        middle = middle[(middle >= start + 500) & (middle < stop - 500)]
        moved = np.concatenate([middle + by for by in (-20_000, -10_000, 10_000, 20_000)])
        moved = moved[(moved >= start + 500) & (moved < stop - 500)]
        moved = moved[labels_at([table], moved)[:, 0] == 0]
        scores = []
        for centres in (middle, moved):
            batch = windows_at(codes, centres)
            batch = batch[(batch != source.UNKNOWN).all(axis=1)]
            with torch.no_grad():
                parts = [net(torch.from_numpy(source.one_hot(b))) for b in np.array_split(batch, 8)]
            scores.append(torch.cat(parts)[:, column].numpy())
        rows.append((len(scores[0]), len(scores[1]), source.auroc(*scores)))
    return rows


def in_fixed_order(code: bytes) -> bytes:
    """Sorts each run of constants; TorchScript writes them in the order of a hash set, which
    changes from one process to the next."""
    lines: list[bytes] = []
    constants: list[bytes] = []
    for line in code.split(b"\n"):
        if b": Final[" in line:
            constants.append(line)
        else:
            lines += [*sorted(constants), line]
            constants = []
    return b"\n".join(lines)


def save(net: nn.Module, path: Path) -> None:
    """Writes TorchScript without what depends on the machine: debug records, which hold source
    paths, the serialization id, which is a hash over them, and the order of constants."""
    raw = io.BytesIO()
    torch.jit.save(torch.jit.script(net.eval()), raw)
    with zipfile.ZipFile(raw) as full, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as lean:
        for name in full.namelist():
            if not name.endswith((".debug_pkl", "serialization_id")):
                record = full.read(name)
                inside = "model/" + name.split("/", 1)[1]
                lean.writestr(
                    zipfile.ZipInfo(inside),
                    in_fixed_order(record) if name.endswith(".py") else record,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="folder with the chromosome and the peak files")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "model.pt")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--stop", type=int, default=source.HELD_OUT, help="train left of this")
    parser.add_argument("--no-jaspar", action="store_true", help="start from random filters only")
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    codes = source.encode(source.read_sequence(options.source))
    peaks = source.read_peaks(options.source)
    net = InsulatorNet()
    if not options.no_jaspar:
        start_from_motifs(net)
    net = train(net, Sampler(codes, peaks, options.stop), options.epochs)
    save(net, options.output)
    loaded = torch.jit.load(options.output)
    stop = source.HELD_OUT if options.stop < source.HELD_OUT else len(codes)
    for name, row in zip(
        source.PROTEINS, evaluate(loaded, codes, peaks, options.stop, stop), strict=True
    ):
        print(f"{name}: {row[0]} peaks, {row[1]} background windows, AUROC {row[2]:.3f}")


if __name__ == "__main__":
    main()
