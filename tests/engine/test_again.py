"""Runs that are started again, beside themselves, elsewhere or differently, as schedulers do."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from torch import Tensor, nn

from tests.support.cli import contents
from tests.support.engine import config, done, fasta, sequences
from tests.support.engine_nets import L, conv, script, seeded
from tests.support.runs import make_info, write_all
from yuzu_cli import engine
from yuzu_cli.backends import BACKENDS
from yuzu_cli.errors import OutputError
from yuzu_cli.inputs.stream import WindowStream
from yuzu_cli.runs import folder as part_module
from yuzu_cli.runs.merge import merge
from yuzu_cli.runs.writer import OutputRun

BATCH = {"compute__batch_size": 2, "compute__backend": "naive"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    fasta(tmp_path, sequences(11))
    return script(seeded(conv), tmp_path / "m.pt")


def stop_after(calls: int) -> Any:
    """A question that is answered with yes from some time on."""
    asked = iter(range(calls))
    return lambda: next(asked, None) is None


# --- an output that is there already ------------------------------------------------------------


def test_a_finished_shard_is_left_alone(tmp_path: Path, model: Path) -> None:
    keys = {**BATCH, "run__shard": "1/2"}
    done(engine.run(config(tmp_path, [model], **keys)))
    before = (tmp_path / "out.h5").read_bytes()
    again = done(engine.run(config(tmp_path, [model], **keys)))
    assert again.finished_before
    assert (again.regions, again.records_before) == (0, again.records)
    assert "finished before by the same settings" in again.describe()
    assert (tmp_path / "out.h5").read_bytes() == before
    assert not (tmp_path / "out.h5.part").exists()
    forced = done(engine.run(config(tmp_path, [model], run__force=True, **keys)))
    assert not forced.finished_before
    assert forced.regions == forced.records


OTHERS = {
    "shard": {"run__shard": "2/2"},
    "scores": {"score__save": ["l2"]},
    "backend": {"compute__backend": "taylor"},
    "no resume": {"run__resume": False},
}


@pytest.mark.parametrize("keys", OTHERS.values(), ids=OTHERS.keys())
def test_a_finished_shard_of_other_settings_is_in_the_way(
    tmp_path: Path, model: Path, keys: dict[str, Any]
) -> None:
    first = {**BATCH, "run__shard": "1/2"}
    done(engine.run(config(tmp_path, [model], **first)))
    with pytest.raises(OutputError, match="exists; use --force"):
        engine.run(config(tmp_path, [model], **(first | keys)))


def test_a_whole_run_is_done_only_for_a_job_started_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(engine.run(config(tmp_path, [model], **BATCH)))
    with pytest.raises(OutputError, match="exists; use --force"):
        engine.run(config(tmp_path, [model], **BATCH))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert done(engine.run(config(tmp_path, [model], **BATCH))).finished_before
    fasta(tmp_path, sequences(12))
    with pytest.raises(OutputError, match="exists; use --force"):
        engine.run(config(tmp_path, [model], **BATCH))


IMPOSSIBLE = {
    "no folder": ("no/out.h5", "there is no such folder"),
    "a model": ("m.pt", "is an input of this run"),
    "extra input": ("extra.npy", "is an input of this run"),
    "a result": ("there.h5", "exists; use --force"),
}


@pytest.mark.parametrize(("name", "error"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_an_output_that_cannot_be_is_refused_before_the_model_is_loaded(
    tmp_path: Path, model: Path, name: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(engine.run(config(tmp_path, [model], output__path=str(tmp_path / "there.h5"), **BATCH)))
    np.save(tmp_path / "extra.npy", np.zeros(1))

    def loaded(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(engine.setup, "load_models", loaded)
    extra = {"model__extra_inputs": {"1": str(tmp_path / "extra.npy")}}
    with pytest.raises(OutputError, match=error):
        engine.run(config(tmp_path, [model], output__path=str(tmp_path / name), **extra, **BATCH))
    with pytest.raises(AssertionError, match="was loaded"):
        engine.run(config(tmp_path, [model], **BATCH))


def test_too_small_a_disk_is_told_before_the_run(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = shutil.disk_usage(tmp_path)
    size = 1 << 14
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))
    done(engine.run(config(tmp_path, [model], **BATCH)))
    assert "the run needs up to" in caplog.text
    assert "16.4 kB are free" in caplog.text
    caplog.clear()
    size = 1 << 20
    done(engine.run(config(tmp_path, [model], run__force=True, **BATCH)))
    assert "needs up to" not in caplog.text


# --- stopped while the file is put together -----------------------------------------------------


def test_a_stop_while_finishing_is_a_stop(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tmp_path / "whole.h5"
    done(engine.run(config(tmp_path, [model], output__path=str(expected), **BATCH)))
    true, finishing = OutputRun.finish, threading.Event()

    def finish(self: OutputRun, should_stop: Any = None) -> Path:
        finishing.set()
        return true(self, should_stop)

    monkeypatch.setattr(OutputRun, "finish", finish)
    stopped = engine.run(config(tmp_path, [model], **BATCH), should_stop=finishing.is_set)
    assert not stopped.complete
    assert "the same command continues" in stopped.describe()
    assert not (tmp_path / "out.h5").exists()
    monkeypatch.undo()
    again = done(engine.run(config(tmp_path, [model], **BATCH)))
    assert (again.records_before, again.regions) == (11, 0)
    assert contents(tmp_path / "out.h5") == contents(expected)


def test_a_stop_before_the_first_batch_records_nothing(tmp_path: Path, model: Path) -> None:
    stopped = engine.run(config(tmp_path, [model], **BATCH), should_stop=lambda: True)
    assert not stopped.complete
    assert not list(tmp_path.glob("out.h5*"))
    assert "stopped before the first batch; the same command" in stopped.describe()


# --- other inputs, other batches ----------------------------------------------------------------


class Scaled(nn.Module):
    """A second input that multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.net = conv()

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.net(x) * scale


def test_another_array_of_the_same_name_is_another_model(tmp_path: Path) -> None:
    fasta(tmp_path, sequences(11))
    path = script(seeded(Scaled), tmp_path / "m.pt")
    array = tmp_path / "scale.npy"
    keys = BATCH | {"model__extra_inputs": {"scale": str(array)}}

    def shard(number: int, **more: Any) -> Any:
        where = {"output__path": str(tmp_path / f"{number}.h5"), "run__shard": f"{number}/2"}
        return engine.run(config(tmp_path, [path], **keys, **where), **more)

    np.save(array, np.ones((1, 3), np.float32))
    done(shard(1))
    assert not shard(2, should_stop=stop_after(5)).complete
    np.save(array, np.full((1, 3), 2, np.float32))
    with pytest.raises(OutputError, match="had other settings: model is"):
        shard(2)
    with pytest.raises(OutputError, match="exists; use --force"):
        shard(1)
    shutil.rmtree(tmp_path / "2.h5.part")
    done(shard(2))
    with pytest.raises(OutputError, match=r"is of another run than .*: model is"):
        merge([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "out.h5")


def test_a_resumed_shard_goes_on_with_its_batches_and_says_so(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = config(tmp_path, [model], output__path=str(tmp_path / "whole.h5"), **BATCH)
    done(engine.run(whole))
    for number in (1, 2):
        where = {"output__path": str(tmp_path / f"{number}.h5"), "run__shard": f"{number}/2"}
        keys = BATCH | where
        engine.run(config(tmp_path, [model], **keys), should_stop=stop_after(5))
        caplog.clear()
        resumed = done(engine.run(config(tmp_path, [model], **(keys | {"compute__batch_size": 3}))))
        assert resumed.records_before > 0
        assert resumed.records == (6, 5)[number - 1]
        assert "begun with 2, which goes on, not 3" in caplog.text
    merge([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "out.h5")
    assert contents(tmp_path / "out.h5") == contents(tmp_path / "whole.h5")


@pytest.mark.parametrize("sizes", [(2, 3), (2, 4)], ids=["apart", "matching"])
def test_shards_of_other_batches_are_told_apart(
    tmp_path: Path, sizes: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    fasta(tmp_path, sequences(16))
    model = script(seeded(conv), tmp_path / "m.pt")
    shards = [tmp_path / "1.h5", tmp_path / "2.h5"]
    for number, size in enumerate(sizes, 1):
        keys = {"compute__batch_size": size, "compute__backend": "naive"}
        where = {"output__path": str(shards[number - 1]), "run__shard": f"{number}/2"}
        done(engine.run(config(tmp_path, [model], **keys, **where)))
    if sizes == (2, 3):
        with pytest.raises(OutputError, match=r"batch sizes are 2, 3, .* --batch-size 2"):
            merge(shards, tmp_path / "out.h5")
        return
    merge(shards, tmp_path / "out.h5")
    assert "different batch sizes (2, 4): their numbers agree to rounding" in caplog.text
    done(engine.run(config(tmp_path, [model], output__path=str(tmp_path / "whole.h5"), **BATCH)))
    with h5py.File(tmp_path / "out.h5") as merged, h5py.File(tmp_path / "whole.h5") as whole:
        np.testing.assert_allclose(merged["scores/delta"], whole["scores/delta"], atol=1e-6)


# --- beside a run that is thought dead ----------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module, "WAIT", 0.02)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("finishes", [True, False], ids=["finishes", "dies"])
def test_a_twin_waits_for_the_orphan(
    tmp_path: Path, finishes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path, info = tmp_path / "out.h5", make_info(shard_index=1, shard_count=1)
    orphan = OutputRun.open(path, info)
    write_all(orphan, None if finishes else 3)

    def end() -> None:
        time.sleep(0.3)
        if finishes:
            orphan.finish()
        else:
            orphan.close()

    ending = threading.Thread(target=end)
    ending.start()
    began = time.monotonic()
    with OutputRun.open(path, info, accept=True, wait=True) as twin:
        assert time.monotonic() - began > 0.2
        assert twin.finished == finishes
        assert len(twin.done) == (len(info.batches) if finishes else 3)
        if not finishes:
            write_all(twin)
            twin.finish()
    ending.join()
    assert caplog.text.count("waiting for it to end") == 1
    assert path.exists()


@pytest.mark.usefixtures("impatient")
def test_a_run_of_other_settings_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    with (
        OutputRun.open(path, make_info(shard_index=1, shard_count=4)),
        pytest.raises(OutputError, match="another run writes here"),
    ):
        OutputRun.open(path, make_info(shard_index=2, shard_count=4), wait=True)


# --- averages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_every_sequence_is_read_once_whatever_is_averaged(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fasta(tmp_path, ["".join("ACGT"[(i * k) % 4] for k in range(L)) for i in range(6)])
    models = [script(seeded(conv, seed), tmp_path / f"{seed}.pt") for seed in (0, 1, 2)]
    read: Counter[int] = Counter()
    true = WindowStream.iterate

    def counted(self: WindowStream, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        for window in true(self, start, stop):
            read[window.region.input_index] += 1
            yield window

    monkeypatch.setattr(WindowStream, "iterate", counted)
    keys = {
        "compute__backend": backend,
        "compute__batch_size": 2,
        "compute__verify": 0,
        "compute__reverse_complement": True,
        "compute__shifts": [0, 1, -1],
        "input__wrong_length": "crop",
        "input__length": L - 4,
    }
    assert done(engine.run(config(tmp_path, models, **keys))).regions == 6
    assert read == Counter(range(6))
