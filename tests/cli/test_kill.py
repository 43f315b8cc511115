"""Runs that are killed, or asked to stop, and continued: the same result as an undisturbed one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import World, contents, make_world, start
from yuzu_cli.runs.info import info

RECORDS = 300
ARGV = ["run", "-m", "model.pt", "-f", "seqs.fa", "--batch-size", "1", "--backend", "naive"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), RECORDS)


@pytest.fixture(scope="module")
def expected(world: World) -> dict[str, bytes]:
    """What an undisturbed run writes."""
    process = start([*ARGV, "-o", "whole.h5"], world.folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return contents(world.folder / "whole.h5")


def batches_done(out: Path) -> int:
    """How many batches are safe; -1 before the work has begun."""
    part = out.with_name(out.name + ".part")
    return info(part)["batches_done"] if (part / "manifest.json").exists() else -1


def when(process: subprocess.Popen[str], ready: Callable[..., bool]) -> None:
    """Wait for a moment of a run."""
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def run_until(world: World, out: Path, least: int, number: signal.Signals) -> tuple[int, str]:
    """Start or continue a run and send it a signal at a moment; how it ended, and what it said."""
    before = batches_done(out)
    process = start([*ARGV, "-o", out.name], world.folder)
    when(process, lambda: batches_done(out) >= least)
    process.send_signal(number)
    began = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 5
    assert not out.exists()
    assert max(least, before) <= batches_done(out) < RECORDS
    if number != signal.SIGKILL and before > 0:
        assert f"{before} of {RECORDS} records were done before" in err
    return process.returncode, err


def end(world: World, out: Path, expected: dict[str, bytes]) -> None:
    """Continue a run to its end: it is that of an undisturbed one, and nothing else is left."""
    before = batches_done(out)
    process = start([*ARGV, "-o", out.name], world.folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"{before} of {RECORDS} records were done before" in err
    assert contents(out) == expected
    assert not out.with_name(out.name + ".part").exists()


def test_killed_at_any_moment_and_continued(world: World, expected: dict[str, bytes]) -> None:
    """Before the work, after its first batch, in the middle and late: again and again."""
    out = world.folder / "killed.h5"
    for least in (-1, 1, 40, 100):
        assert run_until(world, out, least, signal.SIGKILL)[0] == -signal.SIGKILL
    end(world, out, expected)


SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


def test_asked_to_stop_and_continued(world: World, expected: dict[str, bytes]) -> None:
    out = world.folder / "asked.h5"
    for least, number in ((5, signal.SIGINT), (40, signal.SIGTERM)):
        code, err = run_until(world, out, least, number)
        assert code == SIGNALS[number]
        assert "the same command continues" in err
        assert "Traceback" not in err
    end(world, out, expected)


#: A run that never asks whether it should stop.
DEAF = """
import sys, time
from yuzu_cli.cli import _signals
_signals.PATIENCE, _signals.GRACE = {patience}, {grace}
try:
    with _signals.GracefulStop():
        print("ready", flush=True)
        while True:
            try:
                time.sleep(60)
            except BaseException:
                if not {stubborn}:
                    raise
except _signals.Interrupted as stopped:
    print("dropped", stopped, flush=True)
    sys.exit(stopped.exit_code)
"""


def deaf(patience: float, grace: float, stubborn: bool) -> subprocess.Popen[str]:
    """Start one, and wait until it listens to signals."""
    code = DEAF.format(patience=patience, grace=grace, stubborn=stubborn)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_long_batch_is_dropped(number: signal.Signals) -> None:
    process = deaf(patience=0.2, grace=60, stubborn=False)
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == SIGNALS[number]
    assert out.startswith("dropped")
    assert out.endswith("the same command continues\n")


def test_a_second_signal_stops_at_once() -> None:
    process = deaf(patience=60, grace=120, stubborn=True)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert err == "stopped at once; finished batches are kept\n"


def test_grace_ends() -> None:
    process = deaf(patience=0.1, grace=0.3, stubborn=True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


@pytest.mark.parametrize("guard", ["graceful", "plain"])
def test_an_interruption_that_native_code_turned_into_an_error_is_one(guard: str) -> None:
    from yuzu_cli.cli import _signals

    def spoilt() -> None:
        try:
            signal.raise_signal(signal.SIGUSR2 if guard == "graceful" else signal.SIGTERM)
        except _signals.Interrupted:
            raise RuntimeError("") from None

    within = _signals.GracefulStop if guard == "graceful" else _signals.interruptible
    with pytest.raises(_signals.Interrupted) as caught, within():
        spoilt()
    assert caught.value.exit_code == 143
    with pytest.raises(RuntimeError, match="by itself"), within():
        raise RuntimeError("by itself")


#: A run that ends by itself just before it would have been dropped.
JUST = """
import contextlib, signal, time
from yuzu_cli.cli import _signals
_signals.PATIENCE = 0.3
true = _signals._handlers

@contextlib.contextmanager
def slow(handler):
    with true(handler):
        yield
    time.sleep(0.6)

_signals._handlers = slow
with _signals.GracefulStop() as stop:
    signal.raise_signal(signal.SIGTERM)
    while not stop.requested():
        time.sleep(0.001)
print("well", stop.exit_code)
"""


def test_a_run_that_ends_just_before_it_is_dropped_ends_well() -> None:
    done = subprocess.run([sys.executable, "-c", JUST], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "well 143\n"), done.stderr


def test_signals_are_as_before_afterwards() -> None:
    from yuzu_cli.cli._signals import GracefulStop, interruptible

    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGUSR2)}
    with interruptible(), GracefulStop() as stop:
        assert not stop.requested()
        signal.raise_signal(signal.SIGUSR1)
        assert stop.requested()
        assert stop.exit_code == 143
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.set_wakeup_fd(-1) == -1
