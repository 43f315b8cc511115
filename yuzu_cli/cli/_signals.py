"""Ctrl-C, SLURM's warnings and kills: what a command does when it is asked to stop.

The first signal asks: a run drops the batch in flight, everything else stops where it is. A second
signal, or `GRACE` seconds without an end, stops the process at once. That is safe: what is on disk
was made durable part by part. Nothing here writes results.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

#: Seconds until a batch in flight is dropped, and until the process ends whatever it does.
PATIENCE, GRACE = 2.0, 8.0

_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}
_NUMBERS = frozenset(int(number) for number in _CODES)
#: What the watcher sends the main thread to take it out of a batch.
_DROP = signal.SIGUSR2


class Interrupted(BaseException):
    """The process was asked to stop. Not an `Exception`, so that nothing takes it for a fault."""

    def __init__(self, exit_code: int, text: str = "") -> None:
        self.exit_code = exit_code
        super().__init__(text or ("interrupted" if exit_code == 130 else "terminated"))


@contextlib.contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install one handler for all stopping signals; only the main thread may, others go without."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in _CODES}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it, a signal raises `Interrupted` in the main thread."""
    seen: list[int] = []

    def note_and_raise(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise Interrupted(_CODES[signal.Signals(number)])

    with _handlers(note_and_raise):
        try:
            yield
        except Exception as error:
            if seen:
                raise Interrupted(_CODES[signal.Signals(seen[0])]) from error
            raise


class GracefulStop:
    """Within it, the first signal is only noted; ask `requested()` between batches.

    A watcher thread, woken by the interpreter's own signal handler through a pipe, keeps count: it
    acts also while the main thread is inside a long native call and no Python handler could run.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._dropped = self._over = False

    def requested(self) -> bool:
        """Whether a signal has asked the run to stop."""
        return self.exit_code != 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.exit_code = self.exit_code or _CODES[signal.Signals(number)]

    def _drop(self, number: int, frame: FrameType | None) -> None:
        if not self._over:
            self._dropped = True
            raise self._interrupted()

    def _interrupted(self) -> Interrupted:
        code = self.exit_code or 143
        word = "interrupted" if code == 130 else "terminated"
        return Interrupted(code, f"{word} before the end; the same command continues")

    def _next(self, seconds: float | None) -> int | None:
        """The next stopping signal; 0 when the run has ended, None when the time has passed."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._read], [], [], left)[0]:
                return None
            byte = os.read(self._read, 1)
            if not byte or byte == b"\0":
                return 0
            if byte[0] in _NUMBERS:
                return byte[0]

    def _watch(self) -> None:
        first = self._next(None)
        if not first:
            return
        self.exit_code = _CODES[signal.Signals(first)]
        answer = self._next(PATIENCE)
        if answer is None:
            # A real signal, for only that wakes a main thread that waits or sleeps.
            signal.pthread_kill(threading.main_thread().ident or 0, _DROP)
            answer = self._next(GRACE - PATIENCE)
        if answer != 0:
            os.write(2, b"stopped at once; finished batches are kept\n")
            os._exit(self.exit_code)

    def __enter__(self) -> GracefulStop:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._stack = contextlib.ExitStack()
        if threading.current_thread() is threading.main_thread():
            self._stack.enter_context(_handlers(self._note))
            self._stack.callback(signal.signal, _DROP, signal.signal(_DROP, self._drop))
            old = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            self._stack.callback(signal.set_wakeup_fd, old)
        self._thread = threading.Thread(target=self._watch, name="yuzu-signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The watcher first: what it sends after the handlers are back would end the process.
        self._over = True
        os.write(self._write, b"\0")
        self._thread.join()
        self._stack.close()
        os.close(self._write)
        os.close(self._read)
        if self._dropped and isinstance(error, Exception):
            # Native code that was called back has made another error of the interruption.
            raise self._interrupted() from error
