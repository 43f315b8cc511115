"""`torch.cuda` where there is one pretended card: what the package asks of it."""

from __future__ import annotations

import contextlib
from typing import Any
from unittest import mock

import torch

from tests.support.pretended_card import Card

TOTAL = 80 << 30


class Believing:
    """torch.cuda as it is where there is one card."""

    def __enter__(self) -> None:
        self._patch = mock.patch.multiple(torch.cuda, **_answers())
        self._patch.start()

    def __exit__(self, *exc: Any) -> None:
        self._patch.stop()


def _answers() -> dict[str, Any]:
    card = mock.Mock(total_memory=TOTAL, multi_processor_count=132)
    card.name = "pretended"
    fixed: dict[str, Any] = {
        "_lazy_init": None,
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "empty_cache": None,
        "get_device_name": "pretended",
        "get_device_properties": card,
        "reset_peak_memory_stats": None,
        "mem_get_info": (TOTAL, TOTAL),
        "is_current_stream_capturing": False,
    }
    made: dict[str, Any] = {
        name: lambda *_, answer=answer, **__: answer for name, answer in fixed.items()
    }
    made["memory_allocated"] = lambda *_: Card.current().live
    made["max_memory_allocated"] = lambda *_: Card.current().peak
    made["synchronize"] = lambda *_: Card.current().counts.wait("synchronize")
    made["current_stream"] = lambda *_: Stream()
    made["stream"] = lambda stream: contextlib.nullcontext(stream)
    return made | {"Stream": Stream, "Event": Stream}


class Stream:
    """A stream or an event: everything has happened already, and to ask for that is to wait."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, stream: Stream) -> None:
        pass

    def wait_event(self, event: Stream) -> None:
        pass

    def record(self, stream: Stream | None = None) -> None:
        pass

    def record_event(self, event: Stream | None = None) -> Stream:
        return event or Stream()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        Card.current().counts.wait("synchronize")
