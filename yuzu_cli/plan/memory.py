"""Where the registers of a tape lie: one arena, shared by those that never live together."""

from __future__ import annotations

from dataclasses import dataclass

from yuzu_cli.plan.tape import Tape


@dataclass(frozen=True, slots=True)
class Storage:
    """Where registers lie: byte offsets of an arena, shared by those that never live together.

    Attributes
    ----------
    offsets : dict of register -> int
    size : int
        Bytes of the arena.
    peak : int
        Bytes that live at the worst step, what kernels make anew included.
    """

    offsets: dict[int, int]
    size: int
    peak: int


_ALIGN = 64


def storage(tape: Tape, batch: int) -> Storage:
    """Places for everything the tape's kernels write, for so many sequences.

    What the tape gives stays out of it: it is still wanted when the next chunk runs.
    """
    free: list[tuple[int, int]] = []  # (offset, bytes), by offset
    offsets: dict[int, int] = {}
    live: dict[int, int] = {}
    fresh: dict[int, int] = {}
    top = peak = 0
    for i, step in enumerate(tape.instructions):
        register, write = tape.registers[step.write], step.write
        if register.shape is None or write == tape.output.at:
            fresh[write] = register.bytes_for(batch)
        else:
            count = -(-register.bytes_for(batch) // _ALIGN) * _ALIGN
            over = step.over
            if over in live and tape.last[over] == i and live[over] == count:
                offsets[write], live[write] = offsets[over], live.pop(over)
            else:
                offsets[write], top = _take(free, count, top)
                live[write] = count
        peak = max(peak, top - sum(n for _, n in free) + sum(fresh.values()))
        for read in {*step.reads, write}:
            if tape.last.get(read, i) == i:
                fresh.pop(read, None)
                if read in live:
                    _give(free, offsets[read], live.pop(read))
    return Storage(offsets, top, peak)


def _take(free: list[tuple[int, int]], count: int, top: int) -> tuple[int, int]:
    """The smallest free piece that holds so many bytes, or a new one at the end."""
    fits = [(n, place) for place, n in free if n >= count]
    if fits:
        n, place = min(fits)
        free.remove((place, n))
        if n > count:
            free.append((place + count, n - count))
            free.sort()
        return place, top
    if free and sum(free[-1]) == top:  # the last piece grows
        place, n = free.pop()
        return place, place + count
    return top, top + count


def _give(free: list[tuple[int, int]], place: int, count: int) -> None:
    """A piece back, joined with its neighbours."""
    free.append((place, count))
    free.sort()
    joined: list[tuple[int, int]] = []
    for at, n in free:
        if joined and sum(joined[-1]) == at:
            joined[-1] = (joined[-1][0], joined[-1][1] + n)
        else:
            joined.append((at, n))
    free[:] = joined
