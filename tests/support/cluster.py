"""A small run of the example, cut into shards: for tests of the workflow and the array script."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

from yuzu_cli.errors import YuzuError
from yuzu_cli.runs.info import info

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "configs/snakemake"
ARRAY = ROOT / "configs/slurm/array.sbatch"
YUZU = [sys.executable, "-m", "yuzu_cli"]
REGIONS, WIDTH, SHARDS = 24, 120, 3
#: With one region a batch, batches of shards and of the whole coincide, and so does every bit.
RUN = {
    "model": {"path": "example_data/model.pt"},
    "input": {
        "bed": "example_data/peaks.bed",
        "genome": "example_data/genome.fa.gz",
        "length": 500,
    },
    "mutate": {"center": WIDTH},
    "score": {"save": ["delta", "contribution"]},
    "compute": {"backend": "naive", "batch_size": 1, "device": "cpu"},
}
SETTINGS = {
    "shards": SHARDS,
    "yuzu": " ".join(YUZU),
    "exports": ["tsv", {"to": "modisco", "target": 3}],
    "resources": {"shard": {"cpus": 1}},
}


def make_world(folder: Path) -> Path:
    """The first regions of the example, `run.yaml` for `yuzu run`, `mine.yaml` for the workflow."""
    data = folder / "example_data"
    data.mkdir(parents=True)
    for name in ("model.pt", "genome.fa.gz"):
        shutil.copy(ROOT / "example_data" / name, data)
    peaks = (ROOT / "example_data/peaks.bed").read_text().splitlines(keepends=True)
    (data / "peaks.bed").write_text("".join(peaks[:REGIONS]))
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN))
    (folder / "mine.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder


def environment(**more: str) -> dict[str, str]:
    """Where the package under test is found, whatever folder a job starts in."""
    paths = os.pathsep.join(filter(None, [os.fspath(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths} | more


def snakemake(folder: Path, *arguments: str, profile: str = "local") -> subprocess.Popen[str]:
    """Start the workflow; stdout has everything it says."""
    command = [sys.executable, "-m", "snakemake", "-s", os.fspath(WORKFLOW / "Snakefile")]
    command += ["--profile", os.fspath(WORKFLOW / "profiles" / profile)]
    command += ["--cores", str(SHARDS)] if profile == "local" else []
    command += [*arguments, "--configfile", "mine.yaml"]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen[str], seconds: float = 280) -> tuple[int, str]:
    """Exit code and everything a process said."""
    said, _ = process.communicate(timeout=seconds)
    return process.returncode, said


def done_in(part: Path) -> int:
    """Batches that are safe in a folder of unfinished work; 0 before and after it is there."""
    try:
        return int(info(part)["batches_done"])
    except (YuzuError, OSError, ValueError, KeyError):  # it appears and goes while we look
        return 0


def owner(part: Path) -> int:
    """The process that works in it."""
    return int(json.loads((part / "lock").read_bytes().partition(b"\n")[2])["pid"])


def stop_midway(signals: Mapping[Path, signal.Signals], seconds: float = 200) -> dict[Path, int]:
    """Send signals to the runs that work in folders, to each once some batches are safe; how many.

    All are watched at once: one may be through while another has hardly begun.
    """
    deadline = time.monotonic() + seconds
    found: dict[Path, int] = {}
    while len(found) < len(signals):
        for part in signals.keys() - found.keys():
            if (done := done_in(part)) >= 2:
                os.kill(owner(part), signals[part])
                found[part] = done
        assert time.monotonic() < deadline, f"no progress but in {list(found)}"
        time.sleep(0.01)
    return found
