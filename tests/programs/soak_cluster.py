"""Many shards, killed at random and started again: is the merged result that of one quiet run?

`make soak-cluster` runs it with 50,000 regions:
`python -m tests.programs.soak_cluster --regions 50000`.
As often as planned, shards are killed by SIGKILL in the middle of their work, and so is the merge;
then they are killed or asked to stop by SIGTERM at random times of their start, their work and
their end. Then every row is compared with the unsharded run's, and the
memory of every process at its end with that at its beginning. Ends by 1 if anything is not right.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from tests.support.cli import LENGTH, make_world

CONFIG = """\
model: {path: model.pt}
input: {bed: many.bed, genome: big.fa, length: 40}
score: {save: [delta, l2]}
compute: {backend: naive, batch_size: 50, device: cpu}
"""
#: Seconds between two looks at a process; a merge has done its work in a few tenths.
EVERY, CLOSE = 0.1, 0.005
#: SIGKILLs of the merge while it works.
MERGE_KILLS = 3
#: MB that a process may take more at its end than at its beginning.
FLAT = 16.0
#: Looks at a process that tell something about its memory.
ENOUGH = 40


@dataclass
class Attempt:
    """One process: how long, how it ended, its memory in MB while it works."""

    name: str
    seconds: float
    code: int
    sent: int
    memory: list[float] = field(default_factory=list)

    @property
    def growth(self) -> float | None:
        """Median of the last quarter less that of the second; None for a short life.

        In the first, libraries warm up.
        """
        if len(self.memory) < ENOUGH:
            return None
        quarter = len(self.memory) // 4
        return statistics.median(self.memory[-quarter:]) - statistics.median(
            self.memory[quarter : 2 * quarter]
        )


def make_input(folder: Path, regions: int) -> None:
    """A tiny model, a genome of two chromosomes and regions of both strands."""
    folder.mkdir(parents=True)
    make_world(folder)
    rng = np.random.default_rng(0)
    with open(folder / "big.fa", "w") as genome:
        for name in ("chr1", "chr2"):
            letters = rng.choice(list(b"ACGT"), 500_000).astype(np.uint8).tobytes().decode()
            genome.write(f">{name}\n{letters}\n")
    starts = rng.integers(0, 500_000 - LENGTH, regions)
    with open(folder / "many.bed", "w") as bed:
        for i, start in enumerate(starts):
            bed.write(f"chr{i % 2 + 1}\t{start}\t{start + LENGTH}\tr{i}\t0\t{'+-'[i % 3 == 0]}\n")
    (folder / "run.yaml").write_text(CONFIG)


def resident(pid: int) -> float:
    """Memory of a process in MB; 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def held_by(lock: Path, pid: int) -> bool:
    """Whether a process has loaded everything and begun to work on its output."""
    try:
        return bool(json.loads(lock.read_bytes().partition(b"\n")[2])["pid"] == pid)
    except (OSError, ValueError, KeyError):
        return False


class Soak:
    """The runs of one soak, in one folder."""

    def __init__(self, folder: Path, shards: int, seed: int, kills: int) -> None:
        self.folder, self.shards, self.kills = folder, shards, kills
        self.attempts: list[Attempt] = []
        self._seed = seed

    def attempt(
        self, name: str, argv: list[str], kill_after: float, number: int, working: bool = False
    ) -> Attempt:
        """Start a process, watch its memory, and send it `number` after so many seconds.

        With `working` they count from when it has begun to work on its output.
        """
        began, sent = time.monotonic(), 0
        since = None if working else began
        every = CLOSE if name == "merged" else EVERY
        lock = self.folder / f"{name}.h5.part" / "lock"
        memory: list[float] = []
        with open(self.folder / f"{name}.log", "a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "yuzu_cli", *argv],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            while process.poll() is None:
                time.sleep(every)
                if held_by(lock, process.pid) and (now := resident(process.pid)):
                    since = since or time.monotonic()
                    if every == EVERY:
                        memory.append(now)
                if not sent and since and time.monotonic() - since > kill_after:
                    process.send_signal(number)
                    sent = number
        found = Attempt(name, time.monotonic() - began, process.returncode, sent, memory)
        self.attempts.append(found)
        return found

    def to_the_end(self, name: str, argv: list[str], mean: float, kills: int, work: float) -> None:
        """Start again and again, each time killed after a random while, until it has finished.

        The first `kills` times it is killed at work; all of that takes `work` seconds undisturbed,
        and each time less is let pass than its share of that.
        """
        chance = random.Random(f"{self._seed} {name}")
        for count in range(1000):
            if count < kills:
                number, working = signal.SIGKILL, True
                after = chance.uniform(0, 0.7 * work / (kills + 1))
            else:
                number, working = chance.choice([signal.SIGKILL, signal.SIGTERM]), False
                after = chance.expovariate(1 / mean)
            ended = self.attempt(name, argv, after, number, working)
            if ended.code == 0:
                return
            # 143 when it was told to stop; -15 when that came before it listened.
            allowed = (-signal.SIGKILL,) if number == signal.SIGKILL else (143, -signal.SIGTERM)
            if ended.sent != number or ended.code not in allowed:
                text = (self.folder / f"{name}.log").read_text()
                raise SystemExit(f"{name}: ended by {ended.code}\n{text}")
        raise SystemExit(f"{name}: does not come to an end")

    def run(self, workers: int) -> None:
        """The quiet run, then the shards, so many at a time, and their merge."""
        quiet = self.attempt("whole", ["run", "-c", "run.yaml", "-o", "whole.h5"], 1e9, 0)
        if quiet.code:
            raise SystemExit((self.folder / "whole.log").read_text())
        self.quiet = quiet
        # About once in what a shard would take undisturbed.
        mean = 5 + quiet.seconds / self.shards
        work = len(quiet.memory) * EVERY / self.shards
        shards = range(1, self.shards + 1)

        def shard(number: int) -> None:
            share = ["--shard", f"{number}/{self.shards}", "-o", f"{number}.h5"]
            kills = self.kills * number // self.shards - self.kills * (number - 1) // self.shards
            self.to_the_end(str(number), ["run", "-c", "run.yaml", *share], mean, kills, work)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(shard, shards))
        parts = [f"{number}.h5" for number in shards]
        random.Random(self._seed).shuffle(parts)
        self.to_the_end("merged", ["merge", *parts, "-o", "merged.h5"], 5, MERGE_KILLS, 0.1)

    def killed(self, merges: bool) -> int:
        """How many processes of shards, or merges, SIGKILL has ended."""
        every = [a for a in self.attempts if a.code == -signal.SIGKILL]
        return sum((attempt.name == "merged") == merges for attempt in every)

    def problems(self, regions: int) -> list[str]:
        """What is not as it should be; empty when all is well."""
        found = compare(self.folder / "whole.h5", self.folder / "merged.h5", regions)
        left = [path.name for path in self.folder.glob("*.part")]
        found += [f"{name} is left" for name in left]
        for attempt in self.attempts:
            if attempt.growth is not None and attempt.growth > FLAT:
                found.append(f"{attempt.name}: memory grew by {attempt.growth:.1f} MB")
        if self.killed(merges=False) < self.kills:
            found.append(f"shards were killed {self.killed(merges=False)} times, not {self.kills}")
        if not self.killed(merges=True):
            found.append("the merge was never killed")
        return found

    def report(self, regions: int, problems: list[str]) -> dict[str, object]:
        """Figures of all of it."""
        parts = [a for a in self.attempts if a.name not in ("whole", "merged")]
        grown = [a.growth for a in self.attempts if a.growth is not None]
        first: dict[str, float] = {}
        last: dict[str, float] = {}
        for attempt in parts:
            if attempt.memory:
                first.setdefault(attempt.name, max(attempt.memory))
                last[attempt.name] = max(attempt.memory)
        return {
            "regions": regions,
            "shards": self.shards,
            "processes of shards": len(parts),
            "SIGKILLs of shards": self.killed(merges=False),
            "SIGKILLs of merges": self.killed(merges=True),
            "ends of shards": dict(Counter(str(a.code) for a in parts)),
            "ends of merges": dict(
                Counter(str(a.code) for a in self.attempts if a.name == "merged")
            ),
            "seconds of the quiet run": round(self.quiet.seconds, 1),
            "seconds of all processes of shards": round(sum(a.seconds for a in parts), 1),
            "peak MB of the quiet run": round(max(self.quiet.memory), 1),
            "growth MB of the quiet run": round(self.quiet.growth or 0.0, 1),
            "peak MB of each shard's first process": {k: round(v) for k, v in first.items()},
            "peak MB of each shard's last process": {k: round(v) for k, v in last.items()},
            "largest growth MB within a process": round(max(grown), 1) if grown else None,
            "processes long enough to tell": len(grown),
            "problems": problems,
        }


def compare(whole: Path, merged: Path, regions: int) -> list[str]:
    """Every dataset bit for bit, and every record once."""
    found = []
    with h5py.File(whole) as one, h5py.File(merged) as other:
        index = other["regions/input_index"][()]
        if len(index) != regions:
            found.append(f"{len(index)} rows, not {regions}")
        if len(np.unique(index)) != len(index):
            found.append("a row is doubled")
        if not np.array_equal(index, np.arange(regions)):
            found.append("rows are missing or out of order")
        names: list[str] = []
        one.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        for name in names:
            if name not in other or other[name].shape != one[name].shape:
                found.append(f"{name}: another shape, or not there")
            elif not all(_same(one[name], other[name], start) for start in _starts(one[name])):
                found.append(f"{name}: other values")
        for name in ("model_sha256", "input_sha256", "n_regions", "batch_size"):
            if one.attrs[name] != other.attrs[name]:
                found.append(f"attribute {name}: another value")
    return found


def _starts(data: h5py.Dataset) -> range:
    return range(0, data.shape[0], 1000)


def _same(one: h5py.Dataset, other: h5py.Dataset, start: int) -> bool:
    a, b = one[start : start + 1000], other[start : start + 1000]
    return bool((a == b).all()) if a.dtype == object else a.tobytes() == b.tobytes()


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--regions", type=int, default=50_000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2, help="shards at one time")
    parser.add_argument("--kills", type=int, default=16, help="SIGKILLs of shards at work")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="emptied first")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if folder.exists():
        shutil.rmtree(folder)
    make_input(folder, options.regions)
    soak = Soak(folder, options.shards, options.seed, options.kills)
    soak.run(options.workers)
    problems = soak.problems(options.regions)
    report = soak.report(options.regions, problems)
    (folder / "soak.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    print("\n".join(f"error: {problem}" for problem in problems) or "the merged result is the same")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
