"""Which tests may be left out, by the reason they give; any other that is left out fails the run.

Only with ``--listed-skips``, which the make targets give: they install what the tests need.
"""

from __future__ import annotations

import re

import pytest

ALLOWED = (
    # What another user, system or machine would have.
    "the superuser may read everything",
    "this user may not mount a file system",
    "reads the peak as Linux reports it",
    "Snakemake needs Python 3.11",
    "no chromium here",
    # Tools that are compared with, or that results are handed to.
    "(the published Yuzu|tangermeme|captum|yuzu-ism|modisco-lite) is not installed",
    "could not import 'pysam': .*",
)
"""Regular expressions, each for a whole reason."""


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason alone, without the place it was given at."""
    where = report.longrepr
    text = str(where[2]) if isinstance(where, tuple) else str(where)
    return text.removeprefix("Skipped: ")


def unexpected(reason: str) -> bool:
    return not any(re.fullmatch(pattern, reason) for pattern in ALLOWED)


class Listed:
    """The plugin: gathers skips, and fails the run when one is not allowed."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._take(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._take(report)

    def _take(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        expected_failure = hasattr(report, "wasxfail")
        if report.skipped and not expected_failure and unexpected(reason_of(report)):
            self.found.append(f"{report.nodeid}: {reason_of(report)}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.found:
            terminalreporter.write_line(f"left out for a reason that is not allowed: {line}")
