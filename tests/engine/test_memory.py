"""Memory is bounded: it does not grow with regions, nor by what was freed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.engine_nets import L, conv, script, seeded
from tests.support.peak import PRINT_PEAK
from yuzu_cli.heap import GROWTH, Heap, resident

RUN = """
import sys
import torch
from yuzu_cli import engine
from yuzu_cli.config import load_config

torch.set_num_threads(1)
model, fasta, output, backend, batch = sys.argv[1:]
keys = {"model.path": [model], "input.fasta": fasta, "output.path": output}
keys |= {"compute.device": "cpu", "compute.backend": backend, "compute.batch_size": int(batch)}
summary = engine.run(load_config(None, keys))
assert summary.complete
"""


def peak(
    folder: Path, model: Path, regions: int, length: int = L, backend: str = "taylor"
) -> float:
    """Peak memory of a run of its own, in MB."""
    letters = np.random.default_rng(0).choice(list(b"ACGT"), (regions, length)).astype(np.uint8)
    fasta = folder / f"{regions}.fa"
    rows = (f">r{i}\n{row.tobytes().decode()}\n" for i, row in enumerate(letters))
    fasta.write_text("".join(rows))
    argv = [str(path) for path in (model, fasta, folder / f"{regions}.h5", backend, 64)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN + PRINT_PEAK, *argv],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak as Linux reports it")
def test_a_small_model_takes_little(tmp_path: Path) -> None:
    """With verification, which comes before: 490 to 560 measured, of which torch takes 350."""
    example = Path(__file__).parents[2] / "example_data" / "model.pt"
    assert peak(tmp_path, example, 24, 500, "windowed") < 600


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak as Linux reports it")
def test_a_heap_that_grew_by_what_was_freed_is_given_back() -> None:
    heap = Heap()
    if heap.give_back is None:
        pytest.skip("reads the peak as Linux reports it")
    blocks = [bytes(3000) for _ in range(2 * GROWTH // 3000)]
    last = blocks[-1]
    grown = resident()
    del blocks
    heap.trim()
    assert len(last) == 3000
    assert resident() < grown - GROWTH


@pytest.mark.slow
def test_memory_at_ten_times_the_regions(tmp_path: Path) -> None:
    model = script(seeded(conv), tmp_path / "m.pt")
    few, many = (peak(tmp_path, model, regions) for regions in (2000, 20_000))
    # The scores alone would be 20,000 x 3 x 4 x 24 float32: 23 MB.
    assert many < few + 15
