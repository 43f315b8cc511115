"""The notebook of the docs runs as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

ROOT = Path(__file__).parents[2]


def test_the_notebook_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ROOT / "example_data"
    (tmp_path / "example_data").mkdir()
    shutil.copy(data / "model.pt", tmp_path / "example_data")
    kept = [r for r in (data / "sequences.fa").read_text().split(">") if r.startswith("SuHw_")][:2]
    (tmp_path / "example_data/sequences.fa").write_text("".join(f">{record}" for record in kept))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(ROOT / "docs/notebook.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "kept without outputs"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": tmp_path}}).execute()
    seen = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert not [out for out in seen if out.output_type == "stream" and "rror" in out.text]
    kinds = {kind for out in seen for kind in out.get("data", {})}
    assert {"text/html", "image/png"} <= kinds
    assert any("SuHw_1" in out.get("data", {}).get("text/html", "") for out in seen)
