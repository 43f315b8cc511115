"""SIGKILL at any moment: the continued run gives the uninterrupted one's file, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.programs.kill_writer import JOBS
from tests.support.runs import content, data_files, make_info, write_all, write_file
from yuzu_cli.runs.writer import OutputRun

ROOT = Path(__file__).parents[2]
SLOW_RUN = """
import sys, time
from pathlib import Path
from tests.support.runs import make_info, make_rows
from yuzu_cli.runs.writer import OutputRun
info = make_info(
    n_records=400, batch_size=4, length=200, mutate_start=0, mutate_end=200, created="2026-01-01"
)
with OutputRun.open(Path(sys.argv[1]), info) as run:
    for batch, start, stop in run.pending():
        run.write(batch, make_rows(info, start, stop))
        time.sleep(0.01)
    run.finish()
"""
SLOW = make_info(
    n_records=400, batch_size=4, length=200, mutate_start=0, mutate_end=200, created="2026-01-01"
)


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: syncing to a disk a thousand times takes long."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.slow, id="every"), pytest.param(3, id="every third")]
)
def test_killed_at_system_calls(memory_path: Path, job: str, step: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.programs.kill_writer", memory_path, job, str(step)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30 // step, "too few moments to mean anything"


def written(part: Path) -> int:
    """Bytes of data so far; a file may go while it is looked at."""
    size = 0
    for data in data_files(part):
        with suppress(FileNotFoundError):
            size += data.stat().st_size
    return size


@pytest.mark.parametrize("locking", ["TRUE", "FALSE", None])
def test_killed_from_outside_again_and_again(tmp_path: Path, locking: str | None) -> None:
    path, info = tmp_path / "out.h5", SLOW
    env = {k: v for k, v in os.environ.items() if k != "HDF5_USE_FILE_LOCKING"}
    if locking is not None:
        env["HDF5_USE_FILE_LOCKING"] = locking
    part = tmp_path / "out.h5.part"
    kills = 0
    while not path.exists():
        before = written(part)
        run = subprocess.Popen([sys.executable, "-c", SLOW_RUN, path], cwd=ROOT, env=env)
        while run.poll() is None:
            if written(part) > before + 100_000 and kills < 3:
                time.sleep(0.003 * kills)
                run.kill()
                kills += run.wait() == -signal.SIGKILL
            time.sleep(0.005)
        assert run.returncode in (0, -signal.SIGKILL)
    assert kills >= 2
    whole = write_file(tmp_path / "whole.h5", info)
    assert content(path) == content(whole)
    assert sorted(os.listdir(tmp_path)) == ["out.h5", "whole.h5"]


def test_a_kill_costs_at_most_the_batches_in_flight(tmp_path: Path) -> None:
    info = make_info()
    with OutputRun.open(tmp_path / "out.h5", info) as run:
        write_all(run, 4)
        run.flush()
        assert run.done == {0, 1, 2, 3}, "a flush returns when all of it is safe"


def test_twins_on_one_output_both_end_well(tmp_path: Path) -> None:
    """The second takes the first for dead, as when a node is cut off and comes back."""
    path, info = tmp_path / "out.h5", SLOW
    part = tmp_path / "out.h5.part"
    twins = []
    for _ in range(2):
        command = [sys.executable, "-c", SLOW_RUN, os.fspath(path)]
        twins.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True))
        while len(data_files(part)) < len(twins) and twins[-1].poll() is None:
            time.sleep(0.005)
        if len(twins) == 1:
            (part / "lock").unlink()
    told = [twin.communicate()[1] for twin in twins]
    for twin, text in zip(twins, told, strict=True):
        assert twin.returncode == 0 or "another run took this output over" in text, text
    assert any(twin.returncode == 0 for twin in twins)
    assert content(path) == content(write_file(tmp_path / "whole.h5", info))
    assert sorted(os.listdir(tmp_path)) == ["out.h5", "whole.h5"]
