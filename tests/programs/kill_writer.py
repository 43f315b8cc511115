"""Run by tests/runs/test_kill.py: kills a run at every system call it makes, then continues it.

``python -m tests.programs.kill_writer FOLDER JOB [STEP]`` forks one child per call, or for every
`STEP`-th of them; it dies by SIGKILL before that call (a write every second time half way through).
Prints how many died.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.runs import content, make_info, shard_info, write_all, write_file
from yuzu_cli.runs import lock, segments
from yuzu_cli.runs.merge import merge
from yuzu_cli.runs.writer import OutputRun

CALLS = (
    *("open", "write", "pwrite", "ftruncate", "truncate", "fsync", "replace", "rename"),
    *("unlink", "link", "mkdir", "rmdir"),
)
FACTS = {"batch_size": 20, "save": ("delta", "l2"), "created": "2026-01-01"}
WIDE = {"length": 600, "mutate_start": 0, "mutate_end": 600, "n_targets": 1, "n_records": 16}


def write(path: Path) -> None:
    """What a user's command does, first time and after."""
    with OutputRun.open(path, make_info(**FACTS)) as run:
        write_all(run)
        run.finish()


def many(pack: str) -> Callable[[Path], None]:
    """The same with a segment for every second batch, to be packed or linked."""

    def job(path: Path) -> None:
        segments.SEGMENT_BYTES = segments.FIRST = 50_000
        info = make_info(**(FACTS | WIDE | {"batch_size": 8}))
        with OutputRun.open(path, info, pack=pack) as run:
            write_all(run)
            run.finish()

    return job


def shards(folder: Path) -> list[Path]:
    """Two of a run, written when they are not there."""
    paths = [folder / f"shard-{i}" for i in (1, 2)]
    for i, path in enumerate(paths, 1):
        if not path.exists():
            write_file(path, shard_info(i, 2, **(FACTS | WIDE)))
    return paths


def join(link: bool) -> Callable[[Path], None]:
    """A merge."""
    return lambda path: void(merge(shards(path.parent), path, link=link, command="yuzu merge"))


def void(_: object) -> None:
    """Nothing of it."""


JOBS = {
    "write": write,
    "pack": many("yes"),
    "link": many("no"),
    "merge": join(False),
    "merge-link": join(True),
}


def _arm(limit: int) -> None:
    """Let this process die at its `limit`-th call of `CALLS`."""
    counter = itertools.count()

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            number = next(counter)
            if number == limit:
                if name in ("write", "pwrite") and number % 2:
                    real(args[0], args[1][: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        setattr(os, name, call)

    for name in CALLS:
        wrap(name)
    lock.BEGUN = 0.1


def _child(job: Callable[[Path], None], path: Path, limit: int) -> int:
    """Exit status of a job in a process of its own."""
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


def main(folder: Path, name: str, step: int = 1) -> None:
    """Kill at one call after the other, until a run gets through."""
    job = JOBS[name]
    if "merge" in name:
        shards(folder)
    # Always the same path: it stands in what a merge records.
    path = folder / "out.h5"
    job(path)  # in this process, so that no child has to load what it takes
    wanted = content(path)
    for limit in itertools.count(0, step):
        path.unlink()
        shutil.rmtree(folder / "out.h5.segments", ignore_errors=True)
        status = _child(job, path, limit)
        if status == 0:
            break
        assert status == -signal.SIGKILL, status
        if path.exists():
            assert content(path) == wanted, "at its path a file must be whole"
        again = (folder / "out.h5.part" / "manifest.json").exists()
        if not path.exists() or again:
            if path.exists() and "merge" in name:
                path.unlink()  # A merge does not take up a finished one: it was done before.
            assert _child(job, path, -1) == 0, f"after a kill at call {limit}"
            assert content(path) == wanted
            assert not (folder / "out.h5.part").exists()
        shutil.rmtree(folder / "out.h5.part", ignore_errors=True)
    assert content(path) == wanted
    print(limit // step)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
