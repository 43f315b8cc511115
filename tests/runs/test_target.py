"""What stands at the path of an output already, or beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import pytest

from tests.support.runs import (
    expect_rows,
    make_info,
    write_all,
    write_file,
)
from yuzu_cli.errors import OutputError
from yuzu_cli.runs.writer import OutputRun, preflight


def test_a_finished_output_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = write_file(tmp_path / "out.h5", make_info())
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists; use --force to replace it"):
        OutputRun.open(path, make_info())
    assert os.listdir(tmp_path) == ["out.h5"]
    with OutputRun.open(path, make_info(save=("l2",)), force=True) as run:
        write_all(run)
        assert path.read_bytes() == before, "the old file stays until the new one is whole"
        run.finish()
    expect_rows(path, make_info(save=("l2",)))


def _foreign_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = 1


@pytest.mark.parametrize(
    ("make", "what"),
    [
        pytest.param(lambda p: p.write_text(">a\nACGT\n"), "not an output of yuzu", id="fasta"),
        pytest.param(lambda p: p.write_bytes(b""), "not an output of yuzu", id="empty"),
        pytest.param(_foreign_hdf5, "not an output of yuzu", id="other-hdf5"),
        pytest.param(lambda p: p.mkdir(), "not a regular file", id="folder"),
        pytest.param(lambda p: os.mkfifo(p), "not a regular file", id="pipe"),
    ],
)
def test_force_replaces_nothing_but_outputs(tmp_path: Path, make: Any, what: str) -> None:
    path = tmp_path / "out.h5"
    make(path)
    with pytest.raises(OutputError, match=what):
        OutputRun.open(path, make_info(), force=True)
    assert os.listdir(tmp_path) == ["out.h5"]


def test_force_never_replaces_an_input(tmp_path: Path) -> None:
    path = write_file(tmp_path / "out.h5", make_info())
    os.link(path, tmp_path / "plan.h5")
    with pytest.raises(OutputError, match="is an input of this run"):
        OutputRun.open(path, make_info(), force=True, inputs=[tmp_path / "plan.h5"])


def test_a_file_that_came_meanwhile_stays(tmp_path: Path) -> None:
    path, info = tmp_path / "out.h5", make_info()
    with OutputRun.open(path, info) as run:
        write_all(run)
        path.write_text("precious")
        with pytest.raises(OutputError, match="not an output of yuzu"):
            run.finish()
    assert path.read_text() == "precious"
    path.unlink()
    with OutputRun.open(path, info) as run:
        assert list(run.pending()) == []
        run.finish()
    expect_rows(path, info)


def test_a_preflight_says_what_opening_would_say(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    preflight(path)
    assert os.listdir(tmp_path) == []
    with pytest.raises(OutputError, match="there is no such folder"):
        preflight(tmp_path / "no" / "out.h5")
    with OutputRun.open(path, make_info()) as run:
        preflight(path)
        write_all(run)
        run.finish()
    with pytest.raises(OutputError, match="exists; use --force"):
        preflight(path)
    preflight(path, force=True)
    with pytest.raises(OutputError, match="is an input"):
        preflight(path, force=True, inputs=[path])


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.h5.part").mkdir()
    (tmp_path / "out.h5.part" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"not yuzu's \(thesis.tex\); move it away"):
        OutputRun.open(tmp_path / "out.h5", make_info(), force=True, resume=False)


def test_what_nfs_keeps_of_an_open_file_is_nobody_s(tmp_path: Path) -> None:
    """A file that is deleted while it is open becomes `.nfs…` there, for some time."""
    part, info = tmp_path / "out.h5.part", make_info()
    part.mkdir()
    (part / ".nfs000000000000b2c100000001").write_bytes(b"")
    write_file(tmp_path / "out.h5", info)
    expect_rows(tmp_path / "out.h5", info)
    assert os.listdir(part) == [".nfs000000000000b2c100000001"]


def test_the_lock_is_deleted_when_nobody_has_it_open(tmp_path: Path, monkeypatch: Any) -> None:
    real, seen = os.unlink, []

    def unlink(path: Any, **options: Any) -> None:
        if os.path.basename(path) == "lock":
            opened = {os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")}
            seen.append(os.path.realpath(path) in opened)
        real(path, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    write_file(tmp_path / "out.h5", make_info())
    assert seen == [False]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no such folder; create it"):
        OutputRun.open(tmp_path / "no" / "out.h5", make_info())


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out.h5").symlink_to(tmp_path / "scratch" / "real.h5")
    write_file(tmp_path / "out.h5", make_info())
    assert (tmp_path / "out.h5").is_symlink()
    expect_rows(tmp_path / "scratch" / "real.h5", make_info())
