"""Memory does not grow with the number of regions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.engine_nets import L, conv, script, seeded

RUN = """
import resource, sys
import torch
from yuzu_cli import engine
from yuzu_cli.config import load_config

torch.set_num_threads(1)
model, fasta, output = sys.argv[1:]
keys = {"model.path": [model], "input.fasta": fasta, "output.path": output}
keys |= {"compute.device": "cpu", "compute.backend": "taylor", "compute.batch_size": 64}
summary = engine.run(load_config(None, keys))
assert summary.complete
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder: Path, model: Path, regions: int) -> float:
    """Peak memory of a run of its own, in MB."""
    letters = np.random.default_rng(0).choice(list(b"ACGT"), (regions, L)).astype(np.uint8)
    fasta = folder / f"{regions}.fa"
    rows = (f">r{i}\n{row.tobytes().decode()}\n" for i, row in enumerate(letters))
    fasta.write_text("".join(rows))
    argv = [str(path) for path in (model, fasta, folder / f"{regions}.h5")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, *argv], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.slow
def test_memory_at_ten_times_the_regions(tmp_path: Path) -> None:
    model = script(seeded(conv), tmp_path / "m.pt")
    few, many = (peak(tmp_path, model, regions) for regions in (2000, 20_000))
    # The scores alone would be 20,000 x 3 x 4 x 24 float32: 23 MB.
    assert many < few + 15
