"""Cases in processes of their own."""

from __future__ import annotations

import os

import pytest
import torch

from yuzu_cli.bench.workers import side_by_side
from yuzu_cli.errors import UsageError


def whose(number: int) -> tuple[int, int, int]:
    """The number, the process, and its threads."""
    if number < 0:
        raise ValueError(f"{number} is below zero")
    if number > 99:
        os._exit(9)
    return number, os.getpid(), torch.get_num_threads()


def test_a_group_stays_in_one_process() -> None:
    groups = [[1, 2, 3], [10], [20, 21], [30]]
    found = list(side_by_side(whose, groups, 2, 1))
    assert sorted(number for number, _, _ in found) == [1, 2, 3, 10, 20, 21, 30]
    for group in groups:
        own = [number for number, _, _ in found if number in group]
        assert own == group
        assert len({process for number, process, _ in found if number in group}) == 1
    assert {threads for _, _, threads in found} == {1}
    assert len({process for _, process, _ in found} | {os.getpid()}) == 3


@pytest.mark.parametrize(
    ("groups", "error", "told"),
    [
        ([[1], [100, 2]], UsageError, "--jobs: a process was killed, most likely for its memory"),
        ([[1, -1]], ValueError, "-1 is below zero"),
    ],
)
def test_what_goes_wrong_there_is_raised_here(
    groups: list[list[int]], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        list(side_by_side(whose, groups, 1, 1))
