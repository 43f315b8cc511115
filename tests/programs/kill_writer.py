"""Run by tests/runs/test_kill.py: kills a run at every system call it makes, then continues it.

``python -m tests.programs.kill_writer FOLDER`` forks one child per call; the k-th dies by SIGKILL
before its k-th call (a write every second time half way through). Prints how many there were.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.runs import content, make_info, write_all
from yuzu_cli.runs.writer import OutputRun

CALLS = ("open", "write", "pwrite", "fsync", "replace", "unlink", "link", "mkdir", "rmdir")
INFO = make_info(batch_size=20, save=("delta", "l2"), created="2026-01-01")


def job(path: Path) -> None:
    """What a user's command does, first time and after."""
    with OutputRun.open(path, INFO) as run:
        write_all(run)
        run.finish()


def _arm(limit: int) -> Callable[[], int]:
    """Let this process die at its `limit`-th call of `CALLS`; returns a count of them."""
    counter = itertools.count()
    last = [0]

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            number = last[0] = next(counter)
            if number == limit:
                if name in ("write", "pwrite") and number % 2:
                    real(args[0], args[1][: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        setattr(os, name, call)

    for name in CALLS:
        wrap(name)
    return lambda: last[0] + 1


def _child(path: Path, limit: int) -> int:
    """Exit status of `job` in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            _arm(limit)
            job(path)
        except BaseException as error:
            print(f"call {limit}: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder: Path) -> None:
    """Kill at every call in turn, until one run gets through."""
    whole = folder / "whole.h5"
    assert _child(whole, -1) == 0
    wanted = content(whole)
    for limit in itertools.count():
        path = folder / f"{limit}.h5"
        status = _child(path, limit)
        if status == 0:
            break
        assert status == -signal.SIGKILL, status
        finished = path.exists()
        if finished:
            assert content(path) == wanted, "at its path a file must be whole"
        if finished and not (folder / f"{path.name}.part" / "manifest.json").exists():
            continue  # Killed while clearing up: nothing is left to be done.
        assert _child(path, -1) == 0
        assert content(path) == wanted
        assert not (folder / f"{path.name}.part").exists()
        path.unlink()
    print(limit)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
