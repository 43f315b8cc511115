"""Memory does not grow with the number of regions: writing, finishing, merging and reading."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.peak import PRINT_PEAK

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from tests.support.runs import make_info, make_rows, shard_info
from yuzu_cli.runs.merge import merge
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs.writer import OutputRun

n, folder = int(sys.argv[1]), Path(sys.argv[2])
wide = {"length": 400, "mutate_start": 0, "mutate_end": 400, "dtype": "float16",
        "n_records": n, "batch_size": 100, "n_targets": 2, "compression": "none"}
shards = []
for i in (1, 2):
    info = shard_info(i, 2, **wide)
    rows = make_rows(info, 0, 100, drop=200)
    with OutputRun.open(folder / f"{i}.h5", info) as run:
        for batch, start, stop in run.pending():
            count = stop - start
            batch_rows = {name: values[:count] for name, values in rows.items()}
            batch_rows["regions/input_index"] = np.arange(start, stop)
            run.write(batch, batch_rows)
        shards.append(run.finish())
with open_result(merge(shards, folder / "out.h5")) as result:
    assert result.n_regions == n
    for i in range(0, n, 50):
        result.scores("delta", i)
"""


def _peak(folder: Path, n: int) -> float:
    """Peak resident MiB of writing, finishing, merging and reading `n` regions."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + PRINT_PEAK, str(n), os.fspath(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for path in folder.iterdir():
        path.unlink()
    return int(done.stdout) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak as Linux reports it")
def test_many_regions_take_what_few_take(tmp_path: Path) -> None:
    few, many = _peak(tmp_path / "few", 16_000), _peak(tmp_path / "many", 40_000)
    print(f"peak MiB: {few:.0f} at 16,000 regions, {many:.0f} at 40,000")
    # 24,000 more are 300 MB of scores. The heap settles at 100 to 112, 100,000 regions included.
    assert many < few + 20
