"""The fused kernels compile for cards, and spill no registers; no card is needed to see that."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="triton has no wheel for this platform")


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--some"], 13),
        pytest.param([], 32, marks=pytest.mark.slow),
        pytest.param(["--capability", "80"], 32, marks=pytest.mark.slow),
    ],
    ids=["some", "all", "A100"],
)
def test_the_kernels_compile(options, count):
    """In a process of its own, where the interpreter was not asked for."""
    argv = [sys.executable, "-m", "tests.programs.compile_kernels", *options]
    environ = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 stack") == count
