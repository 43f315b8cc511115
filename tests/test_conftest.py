"""The net of the tests themselves: a test in which naive took over fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CASES = """
import logging
import pytest

def heal():
    logging.getLogger("yuzu_cli.engine").warning("windowed failed; naive is used instead")

@pytest.fixture(scope="module")
def made():
    heal()

def test_unseen(): heal()
def test_in_a_fixture(made): pass
def test_clean(): pass
@pytest.mark.falls_back
def test_said(): heal()
@pytest.mark.falls_back
def test_nothing_fell(): pass
"""


def test_a_healed_test_fails_unless_it_is_marked(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = falls_back\n")
    (tmp_path / "test_it.py").write_text(CASES)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    failed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("ERROR ")}
    named = {line.rpartition("::")[2] for line in failed}
    assert named == {"test_unseen", "test_in_a_fixture", "test_nothing_fell"}, done.stdout
