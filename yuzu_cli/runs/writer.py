"""Writing a run: batches safe on disk as they come, the file at its path only when whole.

Work in progress lives in `OUT.h5.part/`: a manifest that says whose it is, a lock, and segments, of
which one is growing. Compressing and writing happen in threads, so that the next batch computes
meanwhile; what goes wrong there is raised at the next call. No torch, and no idea of what a score
is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from yuzu_cli.errors import OutputError
from yuzu_cli.files import token
from yuzu_cli.runs.background import Background, Item
from yuzu_cli.runs.columns import Rows, check_rows
from yuzu_cli.runs.folder import Manifest, PartFolder
from yuzu_cli.runs.lock import Lock
from yuzu_cli.runs.run_info import RunInfo
from yuzu_cli.runs.segments import Segments
from yuzu_cli.runs.target import check_target, finished_by, preflight, same_run

__all__ = ["OutputRun", "RunInfo", "preflight"]

#: What is written at most before it is made safe, where batches come faster than disks sync.
UNSAFE = 64 << 20


class _StoppedError(Exception):
    """Putting the file together was given up because it was asked to be."""


class OutputRun:
    """One run writing one file: made by `open`, used from one thread, closed by `close`.

    The finished file will stand at `path`; once `finished`, nothing is left to do. `info` is as
    recorded when the run was first started: on a continued one, its `batch_size` counts, not the
    one asked for now.
    """

    def __init__(
        self,
        path: Path,
        part: PartFolder,
        lock: Lock,
        manifest: Manifest,
        finished: bool,
        pack: str,
    ) -> None:
        self.path, self.finished, self.info = path, finished, manifest.info
        self._part, self._lock, self._run_id = part, lock, manifest.run_id
        self._segments = Segments(part, manifest, pack, look=not finished)
        #: Batches that are safe or handed over.
        self._known = set(self.done)
        self._closed = False
        self._writing = Background(self._work)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        info: RunInfo,
        *,
        resume: bool = True,
        force: bool = False,
        inputs: Sequence[str | os.PathLike[str]] = (),
        accept: bool = False,
        wait: bool = False,
        pack: str = "auto",
    ) -> OutputRun:
        """Begin a run, or continue the same run after it was interrupted.

        Without `resume`, work in progress is thrown away. With `force` a finished output at `path`
        may be replaced, and so may work in progress of other settings; `inputs` never. `accept`: a
        finished output of the same settings is this run's own, with nothing left to do. `wait`: a
        live run of the same settings is waited for. `pack`: ``yes`` for a result in one file,
        ``no`` for one that is linked to its segments, ``auto`` for the first if it is small.

        Raises
        ------
        OutputError
            When there is a finished output (and no `force`), something that is not one (whatever
            `force`), work in progress of other settings, or a live run.
        """
        target = Path(os.path.realpath(path))
        part = PartFolder.make(target)
        lock = part.lock(info if wait else None)
        try:
            found = Manifest.load(part.path, tolerant=not resume or force)
            if found is None and accept and resume and not force:
                same = same_run(target, info)
                found = Manifest(token(), same) if same else None
            if found is not None and finished_by(target, found.info):
                part.clear()
                return cls(target, part, lock, found, True, pack)
            check_target(target, force, inputs)
            manifest = part.take_over(found, info, resume=resume, force=force)
            return cls(target, part, lock, manifest, False, pack)
        except BaseException:
            lock.release()
            part.remove_if_empty()
            raise

    @property
    def done(self) -> frozenset[int]:
        """Numbers of the batches that are safe on disk."""
        holds = self._segments.holds
        return frozenset(batch for batch in self.info.batches if self.finished or holds(batch))

    def pending(self) -> Iterator[tuple[int, int, int]]:
        """What remains to be computed: (batch, first record, one past the last), in order."""
        for batch in self.info.batches:
            if batch not in self._known:
                yield batch, *self.info.batch_records(batch)

    def write(self, batch: int, rows: Rows) -> None:
        """Hand over one batch; its arrays must not be changed afterwards.

        `rows` are values by dataset path, along the first axis the rows of the batch by rising
        `regions/input_index`; text as a sequence of str. May be empty when every record was
        dropped.

        Raises
        ------
        OutputError
            When this or an earlier batch could not be written.
        ValueError
            When the rows are not what the file needs: a mistake of the caller.
        """
        if self._writing.stopped:
            raise ValueError("this run is closed")
        if batch not in self.info.batches or batch in self._known:
            raise ValueError(f"batch {batch} is written already or is not of this run")
        checked = check_rows(self.info, batch, rows)
        self._known.add(batch)
        self._check()
        size = sum(getattr(values, "nbytes", 0) for values in checked.values())
        self._writing.put((batch, self._segments.begin(checked)), size)

    def flush(self) -> None:
        """Return when every batch handed over is safe on disk."""
        self._writing.join()
        self._check()

    def finish(self, should_stop: Callable[[], bool] | None = None) -> Path:
        """Put the file together and move it to its path; the work in progress is deleted.

        `should_stop` is asked now and then, as this can take minutes; once it is true, the work is
        left for the next time and `finished` stays False.

        Raises
        ------
        OutputError
            When the disk is full, a segment turns out damaged, or the path was taken meanwhile.
            Nothing is lost: run again to continue.
        """
        if not self.finished:
            self.flush()
            missing = next(self.pending(), None)
            if missing is not None:
                raise ValueError(f"batch {missing[0]} has not been written")
            self._writing.stop()
            try:
                self._segments.finish(self.path, self._between(should_stop or (lambda: False)))
            except _StoppedError:
                self.close()
                return self.path
            except OutputError:
                # A twin on another machine, which no lock may have kept out, can have been faster.
                if not finished_by(self.path, self.info):
                    raise
            self.finished = True
        self.close()
        return self.path

    def close(self) -> None:
        """Write what was handed over, then let go. To be continued, unless finished."""
        if self._closed:
            return
        self._closed = True
        self._writing.stop()
        with suppress(OutputError):  # Of a disk that is full; what is safe stays so.
            self._segments.close()
        if self.finished and self._lock.still_ours():
            self._part.clear()
            self._part.drop_segments(self._run_id)
        self._lock.release()
        self._part.remove_if_empty()

    def __enter__(self) -> OutputRun:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is None and not self.finished:
            self._check()

    def _check(self) -> None:
        if self._writing.failure is not None:
            raise self._writing.failure
        if self._lock.lost:
            what = "another run took this output over, thinking this one gone"
            raise OutputError(os.fspath(self._part.path), what, "let that one finish")

    def _between(self, should_stop: Callable[[], bool]) -> Callable[[], None]:
        def between() -> None:
            self._lock.still_ours()
            self._check()
            if should_stop():
                raise _StoppedError

        return between

    def _work(self, item: Item | None, more: bool) -> None:
        """In the thread: write a batch, and make all safe when there is time or need to."""
        if self._lock.lost:
            return
        if item is not None:
            self._segments.append(*item)
        if not more or self._segments.uncommitted > UNSAFE:
            self._segments.commit()
