"""Two runs on one output: the second is refused, a dead one's place taken, and no twin harmed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import expect_rows, make_info, make_rows, write_all, write_file
from yuzu_cli.errors import OutputError
from yuzu_cli.runs import lock as lock_module
from yuzu_cli.runs.lock import LOCK, Lock
from yuzu_cli.runs.writer import OutputRun


def _write_lock(folder: Path, count: int = 0, **owner: Any) -> Path:
    facts = {"host": "node7", "machine": "other", "pid": 1, "started": "1", "token": "t"} | owner
    (folder / LOCK).write_bytes(b"%020d\n" % count + json.dumps(facts).encode())
    return folder / LOCK


@contextmanager
def _sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_second_run_is_refused_at_once(tmp_path: Path) -> None:
    with OutputRun.open(tmp_path / "out.h5", make_info()) as run:
        start = time.monotonic()
        with pytest.raises(
            OutputError, match=rf"another run writes here \(process {os.getpid()} on"
        ):
            OutputRun.open(tmp_path / "out.h5", make_info(), force=True, resume=False)
        assert time.monotonic() - start < 2
        write_all(run)
        run.finish()
    expect_rows(tmp_path / "out.h5", make_info())


def test_a_live_process_of_this_machine_holds_its_lock(tmp_path: Path) -> None:
    with _sleeper() as process:
        started = lock_module._started(process.pid)
        machine = lock_module._machine()
        path = _write_lock(tmp_path, machine=machine, pid=process.pid, started=started)
        with pytest.raises(OutputError, match=f"process {process.pid} on node7"):
            Lock(tmp_path)
        assert path.exists()
        _write_lock(tmp_path, machine=machine, pid=process.pid, started="an earlier process")
        Lock(tmp_path).release()
    _write_lock(tmp_path, machine=machine, pid=process.pid, started=started)
    start = time.monotonic()
    Lock(tmp_path).release()
    assert time.monotonic() - start < 2, "a dead process need not be waited for"


def test_a_zombie_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    started = lock_module._started(process.pid)
    while lock_module._started(process.pid) is not None:
        time.sleep(0.01)
    machine = lock_module._machine()
    _write_lock(tmp_path, machine=machine, pid=process.pid, started=started)
    Lock(tmp_path).release()
    process.wait()


@pytest.mark.parametrize("broken", [None, b"", b'00000000000000000001\n{"host"'])
def test_a_still_lock_of_another_machine_is_taken_after_a_while(
    tmp_path: Path, broken: bytes | None
) -> None:
    path = _write_lock(tmp_path)
    if broken is not None:
        path.write_bytes(broken)
    start = time.monotonic()
    lock = Lock(tmp_path, heartbeat=0.05, timeout=0.5)
    assert time.monotonic() - start > 0.5
    assert lock.still_ours()
    lock.release()
    assert os.listdir(tmp_path) == []


def test_a_beating_lock_of_another_machine_is_respected(tmp_path: Path) -> None:
    _write_lock(tmp_path)
    beat = threading.Timer(0.2, lambda: _write_lock(tmp_path, count=1))
    beat.start()
    with pytest.raises(OutputError, match="process 1 on node7"):
        Lock(tmp_path, heartbeat=0.05, timeout=5)
    beat.join()


def test_the_heartbeat_beats(tmp_path: Path) -> None:
    lock = Lock(tmp_path, heartbeat=0.02)
    before, deadline = (tmp_path / LOCK).read_bytes(), time.monotonic() + 5
    while (tmp_path / LOCK).read_bytes() == before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / LOCK).read_bytes() != before
    lock.release()


def test_who_lost_the_lock_notices_and_leaves_it_alone(tmp_path: Path) -> None:
    lock = Lock(tmp_path, heartbeat=0.02)
    (tmp_path / LOCK).unlink()
    other = _write_lock(tmp_path, token="other")
    deadline = time.monotonic() + 5
    while not lock.lost and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lock.lost
    content = other.read_bytes()
    lock.release()
    assert other.read_bytes() == content


def _take_over(run: OutputRun, path: Path) -> OutputRun:
    """A second run on the same output, as when the first one's machine seemed dead."""
    (path.with_name(path.name + ".part") / LOCK).unlink()
    return OutputRun.open(path, run.info)


@pytest.mark.parametrize("orphan_batches", [0, 2, 7])
def test_an_orphan_and_its_twin_do_each_other_no_harm(tmp_path: Path, orphan_batches: int) -> None:
    path, info = tmp_path / "out.h5", make_info()
    orphan = OutputRun.open(path, info)
    write_all(orphan, 1)
    orphan.flush()
    twin = _take_over(orphan, path)
    assert len(twin.done) == 1
    write_all(orphan, orphan_batches)
    write_all(twin)
    twin.flush()
    assert not orphan._lock.still_ours()
    with pytest.raises(OutputError, match="another run took this output over"):
        orphan.finish()
    orphan.close()
    twin.finish()
    expect_rows(path, info)
    assert os.listdir(tmp_path) == ["out.h5"]


def test_an_orphan_that_finishes_after_its_twin_is_content(tmp_path: Path) -> None:
    path, info = tmp_path / "out.h5", make_info()
    orphan = OutputRun.open(path, info)
    write_all(orphan)
    orphan.flush()
    twin = _take_over(orphan, path)
    write_all(twin)
    twin.finish()
    before = path.read_bytes()
    assert orphan.finish() == path
    assert path.read_bytes() == before


def test_an_orphan_of_other_settings_cannot_slip_batches_in(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    orphan = OutputRun.open(path, make_info(model_sha256="old"))
    write_all(orphan, 1)
    orphan.flush()
    (tmp_path / "out.h5.part" / LOCK).unlink()
    with OutputRun.open(path, make_info(), resume=False) as run:
        batch, start, stop = next(orphan.pending())
        orphan.write(batch, make_rows(orphan.info, start, stop))
        orphan.flush()
        write_all(run, 1)
    with OutputRun.open(path, make_info()) as run:
        assert run.done == {0}
    assert not orphan._lock.still_ours()
    with pytest.raises(OutputError, match="took this output over"):
        orphan.flush()
    orphan.close()


def test_a_run_whose_folder_was_deleted_says_so(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    run = OutputRun.open(path, make_info())
    write_all(run)
    run.flush()
    for file in (tmp_path / "out.h5.part").iterdir():
        file.unlink()
    (tmp_path / "out.h5.part").rmdir()
    with pytest.raises(OutputError, match=r"took this output over|No such file"):
        run.finish()
    run.close()
    write_file(path, make_info())
    expect_rows(path, make_info())


def test_a_lock_that_says_nothing_yet_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner was killed between creating and filling it."""
    (tmp_path / LOCK).write_bytes(b"")
    monkeypatch.setattr(lock_module, "BEGUN", 0.3)
    start = time.monotonic()
    Lock(tmp_path, heartbeat=0.05).release()
    assert 0.3 < time.monotonic() - start < lock_module.TIMEOUT / 2
