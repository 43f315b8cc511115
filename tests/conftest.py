"""What holds for every test: a backend that is wrong must not be healed unseen."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

from tests.support.skips import Listed

FELL_BACK = "is used instead"
"""What the package says when naive takes over from a backend that failed."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--listed-skips", action="store_true", help="fail when a test is skipped unforeseen"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--listed-skips"):
        config.pluginmanager.register(Listed(), "listed-skips")


def pytest_collection_finish() -> None:
    """What is loaded by now stays: looking through it for garbage again and again takes long."""
    gc.collect()
    gc.freeze()


class _Listener(logging.Handler):
    """Keeps the messages that say so."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if FELL_BACK in record.getMessage():
            self.heard.append(record.getMessage())


@pytest.fixture(autouse=True, scope="session")
def listener() -> Iterator[_Listener]:
    """Hears the whole session, so also fixtures that are made before a test begins."""
    found, logger = _Listener(), logging.getLogger("yuzu_cli")
    logger.addHandler(found)
    yield found
    logger.removeHandler(found)


@pytest.fixture(autouse=True)
def no_fall_back(request: pytest.FixtureRequest, listener: _Listener) -> Iterator[None]:
    """Fail a test in which naive took over, unless it is marked `falls_back`; and the reverse."""
    yield
    heard, listener.heard = listener.heard, []
    marked = request.node.get_closest_marker("falls_back") is not None
    if heard and not marked:
        pytest.fail(f"naive took over: {heard[0]}", pytrace=False)
    if marked and not heard:
        pytest.fail("marked falls_back, and nothing fell back", pytrace=False)
