"""What a command says while it works: log lines, and progress as a bar or as a line now and then.

All of it goes to stderr; results and tables go to stdout.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

#: Seconds between progress lines where there is no terminal.
EVERY = 30.0

logger = logging.getLogger("yuzu_cli")

#: Whether errors show where they come from: --debug, or run.debug of the config.
debug = False


class _Lines(logging.Formatter):
    """`12:03:44 text` for what happens, `warning: text` for what the user should know."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        if record.levelno >= logging.WARNING:
            return f"{record.levelname.lower()}: {record.getMessage()}"
        return super().format(record)


class _Stderr(logging.Handler):
    """Writes to whatever stderr is now, through the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(self.format(record))


def tell(text: str) -> None:
    """Lines on stderr, above the progress bar if there is one.

    A stderr that is closed or full must not end a run of hours.
    """
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):
        if Progress.bar is not None:
            Progress.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def messages(verbosity: int) -> Iterator[None]:
    """Within it, show warnings (-1), and what happens (0), in detail (1), or all there is (2)."""
    handler = _Stderr()
    handler.setFormatter(_Lines())
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel({-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG))
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            # Deprecations inside libraries are for maintainers; what concerns the user is logged.
            warnings.simplefilter("default" if debug or verbosity == 2 else "ignore")
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Around the import of what loads torch.

    What is imported stays, so looking through it for garbage, then, in every long run and at the
    end of the process, only costs time: half a second with torch.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if "triton" not in sys.modules:  # which complains at the end of what was not collected
            gc.freeze()
        if was_enabled:
            gc.enable()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """Call it with what is done and what there is in all; it shows a bar or logs a line.

    Parameters
    ----------
    show : bool or None
        A bar, no bar, or a bar when stderr is a terminal.
    unit : str
        What is counted.
    """

    bar: tqdm[Any] | None = None

    def __init__(self, show: bool | None = None, unit: str = "regions") -> None:
        self._show = _is_terminal(sys.stderr) if show is None else show and sys.stderr is not None
        self._unit = unit
        self._began = self._last = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Note that `done` of `total` are finished; cheap enough to call for every batch."""
        if self._first is None:
            self._first, self._began = done, time.monotonic()
        if self._show:
            with contextlib.suppress(OSError, ValueError):
                self._draw(done, total)
            return
        now = time.monotonic()
        if now - self._last >= EVERY:
            self._last = now
            rate = (done - self._first) / max(now - self._began, 1e-9)
            left = f", {_duration((total - done) / rate)} left" if rate else ""
            logger.info("%d of %d %s, %.3g/s%s", done, total, self._unit, rate, left)

    def _draw(self, done: int, total: int) -> None:
        if Progress.bar is None:
            from tqdm import tqdm

            Progress.bar = tqdm(
                total=total, initial=done, unit=f" {self._unit}", file=sys.stderr, mininterval=0.2
            )
        Progress.bar.total = total
        Progress.bar.update(done - Progress.bar.n)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if Progress.bar is not None:
            Progress.bar.close()
            Progress.bar = None


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False
