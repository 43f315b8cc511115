"""What waits to be written is bounded by its bytes, however many batches that are."""

from __future__ import annotations

import threading
from typing import Any

from yuzu_cli.runs.background import WAITING, Background


def test_large_batches_wait_one_by_one_and_small_ones_together() -> None:
    gate, done = threading.Event(), []

    def work(item: Any, more: bool) -> None:
        gate.wait(60)
        done.append(item and item[0])

    background = Background(work)
    for batch in range(100):
        background.put((batch, {}), 1000)
    background.put((100, {}), WAITING)
    late = threading.Thread(target=background.put, args=((101, {}), 1000))
    late.start()
    late.join(0.2)
    assert late.is_alive(), "there is no room for one more"
    gate.set()
    late.join(60)
    background.join()
    assert done == [*range(102)]
    background.stop()
    assert background.stopped
    assert done[-1] is None


def test_after_a_failure_nobody_waits() -> None:
    def work(item: Any, more: bool) -> None:
        raise RuntimeError("broken")

    background = Background(work)
    for batch in range(4):
        background.put((batch, {}), WAITING)
    background.stop()
    assert isinstance(background.failure, RuntimeError)
