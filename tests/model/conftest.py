"""What tests of files that mean harm start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hostile import save


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported program without a fault."""
    return save(tmp_path_factory.mktemp("good") / "good.pt2")
