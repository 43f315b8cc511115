"""Whole runs: files in, one file out, against an oracle that mutates letters one at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.engine import LETTERS, config, done, fasta, sequences
from tests.support.engine_nets import L, Profile, conv, one_hot, script, seeded
from yuzu_cli import engine
from yuzu_cli.engine.summary import Estimate
from yuzu_cli.errors import InputError, ModelError, OutputError, UsageError, YuzuError

PAIRS = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


def encode(text: str) -> Tensor:
    return torch.tensor([LETTERS.find(c) if c in LETTERS else 255 for c in text])


def prediction(
    nets: Sequence[nn.Module], wide: str, reverse: bool, shifts: Sequence[int]
) -> Tensor:
    """Outputs (T,) of a window with flanks, averaged over models, strands and shifts."""
    flank = (len(wide) - L) // 2
    found = []
    for net in nets:
        for turned in (False, True) if reverse else (False,):
            for shift in shifts:
                seen = wide[flank + shift : flank + shift + L]
                if turned:
                    seen = "".join(PAIRS[c] for c in reversed(seen))
                with torch.no_grad():
                    found.append(net(one_hot(encode(seen)[None]))[0])
    return torch.stack(found).mean(0)


def oracle(
    nets: Sequence[nn.Module],
    wides: Sequence[str],
    positions: Sequence[int],
    reverse: bool = False,
    shifts: Sequence[int] = (0,),
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (N, T) and deltas (N, T, A, M)."""
    outputs, deltas = [], []
    for wide in wides:
        flank = (len(wide) - L) // 2
        base = prediction(nets, wide, reverse, shifts)
        delta = torch.zeros(len(base), 4, len(positions))
        for m, position in enumerate(positions):
            at = position + flank
            for a, letter in enumerate(LETTERS):
                mutant = wide[:at] + letter + wide[at + 1 :]
                if wide[at] == "N":
                    delta[:, a, m] = torch.nan
                elif wide[at] != letter:
                    delta[:, a, m] = prediction(nets, mutant, reverse, shifts) - base
        outputs.append(base)
        deltas.append(delta)
    return torch.stack(outputs).numpy(), torch.stack(deltas).numpy()


def close(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


def test_every_score_of_a_fasta(tmp_path: Path) -> None:
    net, texts = seeded(conv), sequences(5)
    fasta(tmp_path, texts)
    save = ["delta", "l2", "contribution", "centered", "prediction"]
    options = {"score__save": save, "compute__batch_size": 2, "compute__backend": "naive"}
    summary = done(engine.run(config(tmp_path, [script(net, tmp_path / "m.pt")], **options)))
    assert (summary.regions, summary.mutants, summary.batch_size) == (5, 5 * L * 3, 2)
    outputs, delta = oracle([net], texts, range(L))
    with h5py.File(tmp_path / "out.h5") as file:
        close(file["reference"], outputs)
        close(file["scores/delta"], delta)
        close(file["scores/l2"], np.sqrt((delta**2).sum(1)))
        close(file["scores/contribution"], -delta.mean(2))
        close(file["scores/centered"], delta - delta.mean(2, keepdims=True))
        close(file["scores/prediction"], delta + outputs[:, :, None, None])
        assert file["sequences"][2, 6] == 255
        assert list(file["regions/name"].asstr()) == [f"r{i}" for i in range(5)]
        assert list(file["targets"].asstr()) == ["0", "1", "2"]
        assert file.attrs["backend"] == "naive"
        assert np.isnan(file.attrs["verify_max_abs_error"])


@pytest.mark.parametrize(
    ("keys", "positions"),
    [
        ({"mutate__start": 3, "mutate__end": 9}, range(3, 9)),
        ({"mutate__start": 20}, range(20, L)),
        ({"mutate__center": 5}, range(9, 14)),
    ],
    ids=["range", "from", "center"],
)
def test_mutated_range(tmp_path: Path, keys: dict[str, int], positions: range) -> None:
    net, texts = seeded(conv), sequences(3)
    fasta(tmp_path, texts)
    done(engine.run(config(tmp_path, [script(net, tmp_path / "m.pt")], **keys)))
    with h5py.File(tmp_path / "out.h5") as file:
        close(file["scores/delta"], oracle([net], texts, positions)[1])
        assert (file.attrs["mutate_start"], file.attrs["mutate_end"]) == (
            positions.start,
            positions.stop,
        )


@pytest.mark.parametrize("backend", ["auto", "naive", "windowed", "yuzu"])
@pytest.mark.parametrize("save", [["delta"], ["l2"]], ids="+".join)
@pytest.mark.parametrize(
    ("models", "reverse", "shifts"),
    [(1, True, [0]), (1, False, [0, 1, -2]), (2, False, [0]), (2, True, [0, -1])],
    ids=["strands", "shifts", "models", "everything"],
)
def test_averages(
    tmp_path: Path, models: int, reverse: bool, shifts: list[int], save: list[str], backend: str
) -> None:
    """Regions of a genome, so that shifted windows see their neighbours; both strands of it."""
    nets = [seeded(conv, seed) for seed in range(models)]
    paths = [script(net, tmp_path / f"{i}.pt") for i, net in enumerate(nets)]
    genome = "".join(sequences(1, 100))
    (tmp_path / "g.fa").write_text(f">c\n{genome}\n")
    starts, strands = [10, 40, 50], ["+", "-", "."]
    lines = [f"c\t{s}\t{s + L}\tr\t0\t{k}\n" for s, k in zip(starts, strands, strict=True)]
    (tmp_path / "in.bed").write_text("".join(lines))
    options = {
        "input__bed": str(tmp_path / "in.bed"),
        "input__genome": str(tmp_path / "g.fa"),
        "input__length": L,
        "compute__backend": backend,
        "compute__reverse_complement": reverse,
        "compute__shifts": shifts,
        "score__save": save,
    }
    done(engine.run(config(tmp_path, paths, **options)))
    flank = max(map(abs, shifts))
    wides = [genome[s - flank : s + L + flank] for s in starts]
    wides[1] = "".join(PAIRS[c] for c in reversed(wides[1]))
    outputs, delta = oracle(nets, wides, range(L), reverse, shifts)
    with h5py.File(tmp_path / "out.h5") as file:
        close(file["reference"], outputs)
        expected = delta if save == ["delta"] else np.sqrt((delta**2).sum(1))
        close(file[f"scores/{save[0]}"], expected)


def test_resumed_and_sharded_runs_give_the_same_bits(tmp_path: Path) -> None:
    from yuzu_cli.runs.merge import merge

    path = script(seeded(conv), tmp_path / "m.pt")
    fasta(tmp_path, sequences(11))
    keys = {"compute__batch_size": 2, "score__save": ["delta", "l2"]}
    done(engine.run(config(tmp_path, [path], output__path=str(tmp_path / "whole.h5"), **keys)))

    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    summary = engine.run(config(tmp_path, [path], **keys), should_stop=stop)
    assert not summary.complete
    assert not (tmp_path / "out.h5").exists()
    calls: list[tuple[int, int]] = []
    resumed = done(
        engine.run(config(tmp_path, [path], **keys), progress=lambda *call: calls.append(call))
    )
    assert 0 < resumed.records_before < 11
    assert calls[0] == (resumed.records_before, 11)
    assert calls[-1] == (11, 11)
    shards = []
    for number in (1, 2, 3):
        shards.append(tmp_path / f"{number}.h5")
        where = {"output__path": str(shards[-1]), "run__shard": f"{number}/3"}
        done(engine.run(config(tmp_path, [path], **keys, **where)))
    merge([str(shard) for shard in shards], str(tmp_path / "merged.h5"))
    with h5py.File(tmp_path / "whole.h5") as whole:
        for name in ("out.h5", "merged.h5"):
            with h5py.File(tmp_path / name) as file:
                for key in ("scores/delta", "scores/l2", "reference", "regions/input_index"):
                    np.testing.assert_array_equal(file[key], whole[key])


def test_dropped_records_leave_no_row(tmp_path: Path) -> None:
    texts = sequences(7)
    fasta(tmp_path, texts)
    path = script(seeded(conv), tmp_path / "m.pt")
    keys = {"input__unknown": "drop", "compute__batch_size": 1}
    summary = done(engine.run(config(tmp_path, [path], **keys)))
    assert summary.regions == 6
    assert "1 of 7 records were dropped" in summary.describe()
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file["regions/input_index"]) == [0, 1, 3, 4, 5, 6]


def test_uniform_columns_for_unknown_letters(tmp_path: Path) -> None:
    net, texts = seeded(conv), sequences(3)
    fasta(tmp_path, texts)
    path = script(net, tmp_path / "m.pt")
    done(engine.run(config(tmp_path, [path], input__unknown="uniform")))
    with torch.no_grad():
        expected = net(one_hot(encode(texts[2])[None], unknown=0.25))
    with h5py.File(tmp_path / "out.h5") as file:
        close(file["reference"][2:], expected.numpy())


class Fragile(nn.Module):
    """NaN for a sequence of nothing but A."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x[:, 1:].sum([1, 2])).sub(1).sqrt().unsqueeze(1)


def test_regions_without_a_number_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fasta(tmp_path, [*sequences(1), "A" * L])
    path = script(Fragile(), tmp_path / "m.pt")
    done(engine.run(config(tmp_path, [path], compute__backend="naive")))
    assert "r1:1-24 (record 1): the model's output is NaN" in caplog.text
    assert "r0" not in caplog.text


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    fasta(tmp_path, sequences(9))
    path = script(seeded(Profile), tmp_path / "m.pt")
    estimate = engine.run(config(tmp_path, [path], run__dry_run=True, compute__backend="naive"))
    assert isinstance(estimate, Estimate)
    assert (estimate.records, estimate.mutants) == (9, 9 * L * 3)
    assert estimate.passes == 9 * (L * 3 + 1)
    assert estimate.disk_bytes >= 9 * L * 4 * 2 * (L - 4) * 4
    assert 0 < estimate.seconds < 60
    assert "naive on cpu" in estimate.describe()
    assert {p.name for p in tmp_path.iterdir()} == {"in.fa", "m.pt"}


def test_nothing_is_left_behind_by_a_run(tmp_path: Path) -> None:
    """No thread, no flag of torch, no change of the model's file."""
    fasta(tmp_path, sequences(3))
    path = script(seeded(conv), tmp_path / "m.pt")
    before = path.read_bytes(), threading.active_count(), torch.backends.cudnn.deterministic
    done(engine.run(config(tmp_path, [path])))
    assert before == (
        path.read_bytes(),
        threading.active_count(),
        torch.backends.cudnn.deterministic,
    )


def test_a_fault_of_the_reader_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yuzu_cli.inputs.stream import WindowStream

    fasta(tmp_path, sequences(6))
    path = script(seeded(conv), tmp_path / "m.pt")
    true = WindowStream.iterate

    def broken(self: WindowStream, start: int = 0, stop: int | None = None) -> Any:
        if start >= 4:
            raise InputError("in.fa", "was changed")
        return true(self, start, stop)

    monkeypatch.setattr(WindowStream, "iterate", broken)
    keys = {"compute__batch_size": 2, "compute__backend": "naive"}
    with pytest.raises(InputError, match="was changed"):
        engine.run(config(tmp_path, [path], **keys))
    monkeypatch.undo()
    assert done(engine.run(config(tmp_path, [path], **keys))).records_before == 4


FAULTS: list[tuple[str, dict[str, Any], type[YuzuError], str]] = [
    ("range", {"mutate__start": 20, "mutate__end": 40}, UsageError, "mutate.end: 20:40"),
    ("center", {"mutate__center": 25}, UsageError, "mutate.center"),
    ("start", {"mutate__start": 24}, UsageError, "mutate.start: 24:24"),
    ("device", {"compute__device": "cuda:99"}, UsageError, "compute.device"),
    (
        "alphabet",
        {"model__alphabet": "ABCD", "compute__reverse_complement": True},
        UsageError,
        "no complement",
    ),
    ("target", {"score__targets": [7]}, UsageError, "no target 7"),
]


@pytest.mark.parametrize(
    ("keys", "kind", "text"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_settings_that_cannot_be(
    tmp_path: Path, keys: dict[str, Any], kind: type[YuzuError], text: str
) -> None:
    fasta(tmp_path, sequences(3))
    with pytest.raises(kind, match=text):
        engine.run(config(tmp_path, [script(seeded(conv), tmp_path / "m.pt")], **keys))
    assert not list(tmp_path.glob("out.h5*"))


def test_models_of_different_targets_are_not_averaged(tmp_path: Path) -> None:
    fasta(tmp_path, sequences(3))
    paths = [script(seeded(partial(conv, targets=n)), tmp_path / f"{n}.pt") for n in (2, 3)]
    with pytest.raises(ModelError, match="3 targets"):
        engine.run(config(tmp_path, paths))


def test_a_finished_output_is_not_replaced(tmp_path: Path) -> None:
    fasta(tmp_path, sequences(3))
    path = script(seeded(conv), tmp_path / "m.pt")
    done(engine.run(config(tmp_path, [path])))
    with pytest.raises(OutputError):
        engine.run(config(tmp_path, [path]))
    done(engine.run(config(tmp_path, [path], run__force=True)))
