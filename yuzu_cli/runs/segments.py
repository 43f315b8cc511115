"""The segments of one result: what each answers for, the growing one, and the result made of them.

Those of a run are its own, and are gone when they are in the result; a merge has its shards
instead, which stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yuzu_cli.errors import OutputError
from yuzu_cli.files import remove
from yuzu_cli.results.reader import open_result
from yuzu_cli.runs.columns import begin_chunks
from yuzu_cli.runs.compression import threads
from yuzu_cli.runs.folder import LINK, Manifest, PartFolder
from yuzu_cli.runs.pack import DamageError, layouts, pack, pieces_of
from yuzu_cli.runs.segment import Segment
from yuzu_cli.runs.target import check_room, publish

#: A segment is closed at this size and the next one begun.
SEGMENT_BYTES = 1 << 30
#: Below this size `pack: auto` makes one file of a result.
PACKED = 8 << 30
#: The first segment of a result that will be one file may grow to this size: then nothing has to be
#: copied into it.
FIRST = PACKED
#: What a merge copies between two commits.
STEP = 1 << 30


@dataclass(frozen=True, slots=True)
class Sealed:
    """A segment that is complete, or a shard: it answers for records [start, stop)."""

    path: Path
    start: int
    stop: int


class Segments:
    """Used from one thread at a time, `begin` and `holds` aside; the folder's lock is held.

    `how` is ``auto``, ``yes`` or ``no``: whether the result is to be one file. With `look`, what an
    earlier process left is taken up. `shards` are those of a merge.
    """

    def __init__(
        self,
        part: PartFolder,
        manifest: Manifest,
        how: str,
        look: bool = True,
        shards: Sequence[Sealed] = (),
    ) -> None:
        self._part, self._run_id, self._info, self._how = part, manifest.run_id, manifest.info, how
        self._pool = threads()
        self._shards = list(shards)
        self._sealed: list[Sealed] = []
        self._growing: Segment | None = None
        if look:
            self._sealed = list(_complete(part, self._run_id))
            for log in part.logs(self._run_id):
                found = Segment.resume(log, self._run_id, self._info)
                if found is not None:
                    self._seal()
                    self._growing = found
            growing = self._growing.files() if self._growing else []
            part.sweep([*growing, *(sealed.path for sealed in self._sealed)])

    def _safe(self) -> Iterator[tuple[int, int]]:
        """Records [start, stop) that are safe on disk; some may come twice."""
        # The growing one first: it may be sealed meanwhile.
        if growing := self._growing:
            yield growing.start, growing.safe_stop
        yield from ((sealed.start, sealed.stop) for sealed in self._sealed)

    def holds(self, batch: int) -> bool:
        """Whether a batch is safe by now."""
        low, high = self._info.batch_records(batch)
        return any(start <= low and high <= stop for start, stop in self._safe())

    @property
    def uncommitted(self) -> int:
        """Bytes that are not safe yet."""
        return self._growing.uncommitted if self._growing else 0

    def begin(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Rows as `append` takes them; threads compress them from now on."""
        return begin_chunks(self._info, rows, self._pool)

    def append(self, batch: int, rows: dict[str, Any]) -> None:
        """Add a batch; safe after the next `commit`."""
        low, high = self._info.batch_records(batch)
        growing = self._growing
        if growing is not None and (growing.stop != low or growing.size >= self._limit(growing)):
            self._seal()
        self._grow(low).append(high, rows)

    def commit(self) -> None:
        """Make all of it safe."""
        if self._growing is not None:
            self._growing.commit()

    def _limit(self, growing: Segment) -> int:
        one = self._how == "yes" or (self._how == "auto" and self._info.disk_bytes() < 2 * PACKED)
        return FIRST if one and growing.start == self._info.record_start else SEGMENT_BYTES

    def _grow(self, start: int) -> Segment:
        if self._growing is None:
            self._growing = Segment.create(self._part.path, self._run_id, self._info, start)
        return self._growing

    def _seal(self) -> None:
        if self._growing is not None:
            growing, self._growing = self._growing, None
            path = growing.seal()
            self._sealed.append(Sealed(path, growing.start, growing.stop))

    def close(self) -> None:
        """Let go of the growing one, to be continued."""
        self._pool.shutdown(cancel_futures=True)
        if self._growing is not None:
            self._growing.close()
            self._growing = None

    # --- the result ---------------------------------------------------------------------------

    def finish(self, target: Path, between: Callable[[], None]) -> None:
        """Make the result of all segments and move it to `target`.

        `between` is called now and then; what it raises ends the work, to be gone on with.
        """
        between()
        whole = (self._info.record_start, self._info.record_stop)
        spans = [(s.start, s.stop) for s in (*self._sealed, self._growing) if s is not None]
        if whole not in spans:
            (self._pack_all if self._in_one_file() else self._link_all)(target, between)
        self._seal()
        result = next(s for s in reversed(self._sealed) if (s.start, s.stop) == whole)
        between()
        publish(result.path, target, self._part.force)

    def _in_one_file(self) -> bool:
        size = sum(s.path.stat().st_size for s in self._sealed)
        size += self._growing.size if self._growing else 0
        return self._how == "yes" or (self._how == "auto" and size < PACKED)

    def _plan(self, at: int) -> Iterator[tuple[Sealed, int]]:
        """Segments that together answer for all from record `at` on, each with its first record."""
        while at < self._info.record_stop:
            fit = [s for s in self._shards or self._sealed if s.start <= at < s.stop]
            if not fit:
                what = f"the segment with record {at} is gone"
                raise OutputError(os.fspath(self._part.path), what, "run the same command again")
            best = max(fit, key=lambda s: s.stop)
            yield best, at
            at = best.stop

    def _pack_all(self, target: Path, between: Callable[[], None]) -> None:
        """Copy all segments into one; each, but no shard, is deleted when it is in."""
        first = self._info.record_start
        if self._growing is not None and self._growing.start != first:
            self._seal()
        growing = self._grow(first)
        plan = [sealed for sealed, _ in self._plan(growing.stop)]
        sizes = [sealed.path.stat().st_size for sealed in plan]
        if plan:
            check_room(target, sum(sizes) - growing.size if self._shards else max(sizes))

        def pause() -> None:
            between()
            # Of a segment all is checked before it is in; a merge that fails is dropped whole.
            if self._shards and growing.uncommitted >= STEP:
                growing.commit()

        for sealed in plan:
            try:
                pieces = pieces_of(sealed.path, sealed.start, sealed.stop)
                pack(growing, pieces, sealed.stop, self._info, self._pool, pause)
            except DamageError as error:
                if self._shards:
                    raise
                remove(sealed.path)
                hint = "run the same command again to recompute it"
                raise OutputError(error.where, error.what, hint) from error
            between()
            if not self._shards:
                remove(sealed.path)
                self._sealed.remove(sealed)

    def _link_all(self, target: Path, between: Callable[[], None]) -> None:
        """Make the file that refers to all segments, where they stay."""
        self._seal()
        between()
        if not self._shards:
            moved = self._part.move_out([s.path for s in self._sealed])
            self._sealed = [replace(s, path=p) for s, p in zip(self._sealed, moved, strict=True)]
        first = self._info.record_start
        pieces = [p for s, at in self._plan(first) for p in pieces_of(s.path, at, s.stop)]
        linked = layouts(pieces, self._info, target)
        self._growing = Segment.create(self._part.path, LINK, self._info, first, linked)
        stop = self._info.record_stop
        pack(self._growing, pieces, stop, self._info, self._pool, between)


def _complete(part: PartFolder, run_id: str) -> Iterator[Sealed]:
    """The sealed segments that can be read; the others are deleted, to be computed again."""
    for path in part.sealed(run_id):
        try:
            with open_result(path) as result:
                start, stop = (int(result.attributes[f"record_{end}"]) for end in ("start", "stop"))
        except OutputError:
            remove(path)
            continue
        yield Sealed(path, start, stop)
