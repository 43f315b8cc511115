"""Tests that are left out are told, and fail the run where nobody foresaw it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.skips import unexpected

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("reason", "fails"),
    [
        ("no chromium here", False),
        ("captum is not installed", False),
        ("no chromium here, or so", True),
        ("matplotlib is not installed", True),
        ("", True),
    ],
)
def test_reasons(reason, fails):
    assert unexpected(reason) is fails


@pytest.mark.parametrize("of_module", [False, True], ids=["one test", "a whole file"])
@pytest.mark.parametrize(
    ("reason", "code"), [("no chromium here", 0), ("I did not feel like it", 1)]
)
def test_a_run_fails_by_what_it_leaves_out(of_module, reason, code, tmp_path):
    skip = f"pytest.skip({reason!r}, allow_module_level=True)"
    body = f"import pytest\ndef test_a(): pass\ndef test_b():\n    {skip}\n"
    (tmp_path / "test_one.py").write_text(body)
    if of_module:
        (tmp_path / "test_two.py").write_text(f"import pytest\n{skip}\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--listed-skips", "-rs"]
    command += ["-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert reason in done.stdout
    assert done.stdout.count("for a reason that is not allowed") == code * (1 + of_module)
