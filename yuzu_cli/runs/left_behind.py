"""A segment whose writer has gone, or may have: what of it is whole, and may it be taken?"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from isal.isal_zlib import crc32

from yuzu_cli.runs.lock import is_gone
from yuzu_cli.runs.log import read_log

#: The two files of a segment that grows, and the one it becomes.
DATA, LOG, SEALED = ".data", ".log", ".h5"
#: How much of the end of the data is compared with its checksums, and how much is read at a time.
CHECKED, _READ = 1 << 30, 1 << 22


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What the log of a segment tells.

    Attributes
    ----------
    start, stop, rows : int
        Input records, and how many rows they have.
    reserved : int
        Bytes kept free at the start of the data.
    log_size : int
        Bytes of the log that are good.
    free : bool
        Its writer will not write to it any more, for certain.
    """

    start: int
    stop: int
    rows: int
    reserved: int
    log_size: int
    free: bool


def left_behind(log: Path, run_id: str, verify: bool = True) -> LeftBehind | None:
    """Look at the segment of a log; None when it is not of this run, or holds nothing.

    Parameters
    ----------
    log : Path
    run_id : str
    verify : bool
        Compare the end of the data with its checksums: what comes after damage is left out.
    """
    try:
        with open(log.with_suffix(DATA), "rb") as data:
            return _look(log, run_id, data, verify)
    except FileNotFoundError:
        return None


def _look(log: Path, run_id: str, data: BinaryIO, verify: bool) -> LeftBehind | None:
    found, length = None, os.fstat(data.fileno()).st_size
    at = 0
    for record in read_log(log):
        facts = record.facts
        if facts["run_id"] != run_id:
            return None
        if "start" in facts:
            at = facts["reserved"]
            found = LeftBehind(facts["start"], facts["start"], 0, at, 0, False)
        if found is None:
            return None
        if "end" in facts:
            end = facts["end"]
            if end > length:
                break
            if verify and end > length - CHECKED and _sum(data, at, end) != facts["checksum"]:
                break
            at = end
            found = replace(found, stop=facts["stop"], rows=facts["rows"])
        gone = "closed" in facts or ("owner" in facts and is_gone(facts["owner"]))
        told = "closed" in facts or "owner" in facts
        found = replace(found, log_size=record.end, free=gone if told else found.free)
    return found


def _sum(data: BinaryIO, start: int, end: int) -> int:
    checksum = 0
    data.seek(start)
    while start < end and (piece := data.read(min(_READ, end - start))):
        checksum = crc32(piece, checksum)
        start += len(piece)
    return checksum
