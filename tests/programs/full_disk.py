"""Run by tests/runs/test_disk.py, in a process of its own: limits and crashes concern all of one.

``python -m tests.programs.full_disk FOLDER`` does a run under ever larger limits of the size of
a file, first while its batches are written and then while its file is put together, each try
in a child. Prints how many tries failed cleanly.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

from tests.support.runs import content, make_info, write_all
from yuzu_cli.errors import OutputError
from yuzu_cli.runs.writer import OutputRun

INFO = make_info(
    n_records=30, batch_size=5, length=300, mutate_start=0, mutate_end=300, created="2026-01-01"
)
FULL = 3


def attempt(path: Path, finish: bool) -> int:
    """What a user's command does; `FULL` when it ends with the error of a full disk."""
    try:
        with OutputRun.open(path, INFO) as run:
            write_all(run)
            if finish:
                run.finish()
    except OutputError as error:
        text = str(error)
        told = "larger than" in text or "the disk is full" in text or "are free" in text
        return FULL if told and "run the same command to continue" in text else 1
    return 0


def child(path: Path, limit: int, finish: bool) -> int:
    """Exit status of an attempt in which no file grows beyond `limit` bytes; -11 is a crash."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            status = attempt(path, finish)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def sweep(path: Path, step: int, finish: bool) -> int:
    """Try under rising limits until it works; the number of failures."""
    part = path.with_name(path.name + ".part")
    for failures, limit in enumerate(range(step, 1 << 30, step)):
        status = child(path, limit, finish)
        if status == 0:
            return failures
        assert status == FULL, f"status {status} at {limit} bytes"
        assert not path.exists(), "nothing may be at the path"
        left = sorted(p.name for p in part.iterdir()) if part.exists() else []
        assert not [name for name in left if name.endswith(".tmp") or name == "lock"], left
    raise AssertionError("never worked")


def main(folder: Path) -> None:
    """Both sweeps; then the file must be that of a run without limits."""
    whole, path = folder / "whole.h5", folder / "out.h5"
    assert child(whole, 0, True) == 0
    batches = sweep(path, 997, False)
    finishing = sweep(path, 9973, True)
    assert content(path) == content(whole)
    print(batches, finishing)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
