"""Cases measured in other processes, several at a time, each with its share of the threads.

May not: know suites, or write.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from yuzu_cli.errors import UsageError

Given = TypeVar("Given")
Made = TypeVar("Made")


def side_by_side(
    call: Callable[[Given], Made], groups: Sequence[Sequence[Given]], jobs: int, threads: int
) -> Iterator[Made]:
    """Call a function on everything in every group, `jobs` groups at a time.

    What is in a group is taken in order by one process, which may keep what it has prepared. The
    processes end with this one, or when they next have something to tell it; each has so many
    `threads` of torch. `call` is of the top level of a module; what it takes and returns can be
    pickled.

    Yields
    ------
    object
        What `call` returned, as it comes.

    Raises
    ------
    UsageError
        One of the processes was killed.
    """
    context = multiprocessing.get_context("spawn")  # threads do not survive a fork
    todo = iter(groups)
    left: dict[Connection, Iterator[Given]] = {}

    def give(pipe: Connection) -> None:
        """The next of the process's group, or of the next group; else it is let go."""
        for group in chain([left[pipe]], todo):
            left[pipe] = iter(group)
            for given in left[pipe]:
                pipe.send(given)
                return
        del left[pipe]
        pipe.close()

    for _ in range(min(jobs, len(groups))):
        pipe, end = context.Pipe()
        context.Process(target=_serve, args=(end, call, threads), daemon=True).start()
        end.close()
        left[pipe] = iter(())
        give(pipe)
    while left:
        for ready in wait(list(left)):
            assert isinstance(ready, Connection)
            try:
                made = ready.recv()
            except EOFError:
                what = "a process was killed, most likely for its memory"
                hint = "give fewer; what is done is not done again"
                raise UsageError("--jobs", what, hint) from None
            if isinstance(made, Exception):
                raise made
            yield made
            give(ready)


def _serve(pipe: Connection, call: Callable[[Any], Any], threads: int) -> None:
    """In another process: answer what is given until there is no more."""
    import torch

    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)
    while True:
        try:
            given = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(call(given))
        except Exception as error:  # raised where the result is taken
            pipe.send(error)
