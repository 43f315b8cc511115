"""Which lengths a model takes, found by trying: for the message that it does not take one.

May not: be used for anything but the message.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

_SECONDS = 5.0
_MOST_TRIES = 400
_SHORTEST = 8
"""A shorter one may pass for the letters in a wrong layout."""
_NEAR = 40
"""How far a length may lie from where proportion puts it: what convolutions cut off at the ends."""
_FURTHEST = 16
"""Lengths of more than this many times the one asked are tried only if a message names them."""
_USUAL = (
    *(50, 100, 101, 150, 200, 201, 230, 249, 250, 300, 400, 500, 501, 600, 800, 1000, 1001, 1024),
    *(1200, 1344, 1500, 2000, 2048, 2114, 2500, 3000, 4000, 4096, 5000, 6000, 8000, 8192, 10000),
    *(10500, 16384, 20000, 32768, 40000, 65536, 100000, 131072, 196608, 262144, 524288),
    *(8, 10, 12, 16, 20, 24, 30, 32, 36, 40, 48, 60, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512),
)


def lengths_that_work(
    length: int,
    failures: dict[str, str],
    takes: Callable[[str, int], bool],
    most: int = 3,
) -> tuple[str, list[int]]:
    """A layout and up to `most` lengths that a model takes in it.

    Parameters
    ----------
    length : int
        The one that it does not take.
    failures : dict
        Layout to what the model said, the likeliest layout first.
    takes : callable
        ``(layout, length)``: whether it runs.

    Returns
    -------
    (layout, lengths)
        No lengths when none was found in some seconds.
    """
    until = time.monotonic() + _SECONDS
    near = sorted(_USUAL, key=lambda usual: max(usual / length, length / usual))
    usual = [n for n in near if n <= _FURTHEST * length]
    tries = 0
    for place, (layout, text) in enumerate(failures.items()):
        said = sorted(_said(length, text), key=lambda n: n not in _USUAL)  # 100 before 101 to 103
        found: list[int] = []
        for number, candidate in enumerate(dict.fromkeys([*said, *usual])):
            if candidate < _SHORTEST or candidate == length:
                continue
            if number >= len(said) and place and not found:
                break  # the usual lengths are tried in the likeliest layout only
            tries += 1
            if tries > _MOST_TRIES or time.monotonic() > until:
                return layout, sorted(found)
            if takes(layout, candidate):
                found.append(candidate)
            if len(found) == most:
                break
        if found:
            return layout, sorted(found)
    return "", []


def _said(length: int, text: str) -> Iterator[int]:
    """Numbers of a message, and lengths by proportion: `3x96 and 9x1` at 24 says 24*9/96."""
    pairs = re.findall(r"\d+x(\d+) and (\d+)x\d+", text)
    for got, wanted in pairs:
        middle = round(length * int(wanted) / int(got)) if int(got) else 0
        yield from (middle + step for far in range(_NEAR) for step in (far, -far))
    yield from (int(number) for number in re.findall(r"\d+", text) if len(number) < 8)
