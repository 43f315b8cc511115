"""Cases measured in other processes, several at a time, each with its share of the threads.

May not: know suites, or write.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def side_by_side(
    call: Callable[[Given], Made], groups: Sequence[Given], jobs: int, threads: int
) -> Iterator[Made]:
    """Call a function on every group, `jobs` at a time in processes of their own.

    Parameters
    ----------
    call : function
        Of the top level of a module; what it takes and returns can be pickled.
    groups : sequence
    jobs : int
        Processes.
    threads : int
        Of torch, in each.

    Yields
    ------
    object
        What `call` returned, as it comes.

    Raises
    ------
    concurrent.futures.process.BrokenProcessPool
        One of the processes was killed.
    """
    context = multiprocessing.get_context("spawn")  # threads do not survive a fork
    pool = ProcessPoolExecutor(jobs, context, _begin, (threads, os.getpid()))
    try:
        for future in as_completed([pool.submit(call, group) for group in groups]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(threads: int, parent: int) -> None:
    """In a new process: its threads; no messages; an end when the one that asked for it is gone."""
    import torch

    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
