"""Backends and the whole command on a pretended GPU: same numbers, and nothing that stalls one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
import torch

from tests.support.card_costs import Counts
from tests.support.card_runs import carried, computing_on_card, counts_of
from tests.support.cases import CASES
from tests.support.conformance import (
    BY_NAME,
    case_subject,
    judge,
    loaded,
    settings_for,
)
from tests.support.engine import config, done, fasta, sequences
from tests.support.engine_nets import conv, script, seeded
from tests.support.pretended_card import CUDA, Card
from yuzu_cli import engine, scores
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Block
from yuzu_cli.engine.members import Member, Views
from yuzu_cli.engine.net import Net
from yuzu_cli.engine.scoring import Scorer
from yuzu_cli.kernels import between, fused
from yuzu_cli.model import Model

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

SAMPLE = (
    "conv-stride-3",
    "max-pool-padded-dilated",
    "strands-max",
    "dilated-residual-stack",
    "pad-reflect-function",
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


# --- the package --------------------------------------------------------------------------------


def conforms(name: str, backend: str, folder: Path) -> None:
    subject = case_subject(name)
    model = loaded(subject, "scripted" if BY_NAME[name].scripted else "traced", folder)
    with computing_on_card():
        there = carried(model)
        runner = get_backend(backend).prepare(there, settings_for(there))
        judge(subject, runner, device="cuda:0", naive_on="cpu")


@pytest.mark.parametrize("name", SAMPLE)
def test_some_cases(name, folder):
    conforms(name, "windowed", folder)


@pytest.mark.parametrize("backend", ["naive", "yuzu"])
def test_other_backends(backend, folder):
    conforms("conv-stride-3", backend, folder)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["naive", "windowed", "yuzu"])
@pytest.mark.parametrize("name", [case.name for case in CASES if case.captured])
def test_all_cases(name, backend, folder):
    conforms(name, backend, folder)


def test_the_whole_command(tmp_path):
    fasta(tmp_path, sequences(5))
    model = script(seeded(conv), tmp_path / "m.pt")
    options = {"compute__batch_size": 2, "score__save": ["delta", "l2"]}
    options |= {"compute__reverse_complement": True}
    done(engine.run(config(tmp_path, [model], **options)))
    with computing_on_card() as card:
        options |= {"compute__device": "cuda:0", "output__path": str(tmp_path / "card.h5")}
        done(engine.run(config(tmp_path, [model], compute__backend="windowed", **options)))
    assert card.counts.kernels.total() > 100
    with h5py.File(tmp_path / "out.h5") as cpu, h5py.File(tmp_path / "card.h5") as gpu:
        assert gpu.attrs["device"] == "cuda:0 (pretended)"
        for key in ("scores/delta", "scores/l2", "reference"):
            np.testing.assert_allclose(gpu[key][:], cpu[key][:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["conv-stride-3", "dilated-residual-stack"])
def test_no_wait_inside_a_batch(name, folder):
    first, second = two_batches(name, folder)
    assert first.uploads > 1
    assert not second.waits
    assert second.uploads == 1, "letters, and nothing else"


def two_batches(name: str, folder: Path, spoil=lambda runner: None) -> tuple[Counts, Counts]:
    """What the first batch asks of the card, and what another of the same size does."""
    subject = case_subject(name)
    model = loaded(subject, "scripted", folder)
    with computing_on_card() as card:
        there = carried(model)
        runner = get_backend("windowed").prepare(there, settings_for(there))
        spoil(runner)
        codes, positions = subject.sequences(), np.arange(subject.length)
        first, _ = counts_of(runner, codes, positions, card)
        second, _ = counts_of(runner, codes.flip(0), positions, card)
    return first, second


# --- the card can refuse ------------------------------------------------------------------------


def spoiler(what):
    """A runner with a call of `what` on every block."""

    def spoil(runner) -> None:
        blocks = runner.blocks

        def spoiled(codes, positions) -> Iterator[Block]:
            for block in blocks(codes, positions):
                what(block.delta)
                yield block

        runner.blocks = spoiled

    return spoil


def test_a_mixed_device_is_caught(folder):
    mixing = spoiler(lambda delta: delta + torch.ones(delta.shape))
    with pytest.raises(RuntimeError, match=r"two devices: aten\.add.*on cuda:0"):
        two_batches("conv-stride-3", folder, mixing)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (lambda delta: float(delta.sum()), "_local_scalar_dense"),
        (lambda delta: delta.nonzero(), "nonzero"),
        (lambda delta: delta[delta > 0], "mask"),
        (lambda delta: delta.cpu(), "download"),
        (lambda delta: delta[torch.tensor([0])], "index of the CPU"),
        (lambda delta: torch.cuda.synchronize(), "synchronize"),
    ],
    ids=["item", "nonzero", "mask", "download", "index", "synchronize"],
)
def test_a_wait_in_a_chunk_is_caught(what, reason, folder):
    _, second = two_batches("conv-stride-3", folder, spoiler(what))
    assert any(key.startswith(reason) for key in second.waits)


def test_an_upload_per_batch_is_caught(folder):
    def upload(delta):
        return torch.as_tensor(np.arange(100, dtype=np.int64), device=delta.device)

    _, plain = two_batches("conv-stride-3", folder)
    _, second = two_batches("conv-stride-3", folder, spoiler(upload))
    chunks = second.uploads - plain.uploads
    assert chunks >= 1
    assert second.waits.total() == chunks, "what is not pinned is waited for"
    assert second.uploaded == plain.uploaded + 800 * chunks


def test_a_fused_kernel_is_one():
    x, taps = torch.randn(5, 4, 3, 2, 16), torch.randn(3, 16, 16)
    program = (("taps", (), (0, 0, 0, 1, 2, 2)), ("relu", (0,), ()))
    tables = torch.arange(20, dtype=torch.int32)[None]
    options: dict[str, Any] = {
        "program": program,
        "tables": tables,
        "constants": [taps],
        "multiplied": 44,
    }
    expected, out = torch.empty_like(x), torch.empty_like(x)
    between.compute(expected, x, **options)
    with computing_on_card() as card:
        compute = fused.compute_on(CUDA)
        there = card.put([out, x])
        compute(*there, **card.put(options))
        counted = card.counts.plain()
        assert torch.equal(there[0].cpu(), expected)
        with pytest.raises(RuntimeError, match="two devices"):
            compute(there[0], x, **card.put(options))
    assert (counted["kernels"], counted["multiply_adds"]) == (1, 44 * 6 * 16 * 16)
    tensors = [out, x, taps, tables]
    assert counted["bytes"] == sum(y.numel() * y.element_size() for y in tensors)


def test_downloads_that_do_not_block_are_no_waits():
    with Card() as card:
        x = torch.ones(3).to(CUDA)
        into = torch.empty(3).pin_memory()
        into.copy_(x, non_blocking=True)
        assert (card.counts.downloads, card.counts.waits.total()) == (1, 0)
        torch.cuda.current_stream().synchronize()
        assert (into.tolist(), card.counts.waits.total()) == ([1.0, 1.0, 1.0], 1)


def test_scores_are_waited_for_once():
    """Of two arrays in four parts: copies beside the computation, and one wait at their end."""
    draw = torch.Generator().manual_seed(0)
    codes = torch.randint(4, (4, 6), generator=draw).to(torch.uint8)
    block = Block(torch.arange(4 * 6 * 4), torch.randn(96, 3, generator=draw))
    found = []
    for device in (torch.device("cpu"), CUDA):
        with mock.patch.object(scores, "STEP_BYTES", 1), computing_on_card() as card:
            made = scores.Accumulator(["delta", "l2"], codes.to(device), 3, 4)
            made.add(Block(block.index.to(device), block.delta.to(device)))
            reference, counts = torch.zeros(4, 3, device=device), card.fresh()
            found.append(made.finish(reference))
            seen = counts.downloads, counts.waits.total()
            assert seen == ((0, 0) if device.type == "cpu" else (8, 1))
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values)


@pytest.mark.parametrize("save", [["delta", "l2"], ["l2"]], ids="+".join)
@pytest.mark.parametrize(
    ("case", "parts"),
    [("conv-stride-3", 1), ("conv-stride-3", 2), ("attention-one-head", 1), ("attention-sharp", 1)],
)
def test_a_batch_is_waited_for_once(case, parts, save, folder):
    """From letters to arrays, with the net beneath: each part goes up once and comes down once."""
    subject = case_subject(case)
    model = loaded(subject, "scripted", folder)
    wide = np.pad(subject.sequences().numpy(), ((0, 0), (1, 1)))
    complement = np.arange(256, dtype=np.uint8)[[3, 2, 1, 0, *range(4, 256)]]
    views = Views(subject.length, 1, 4, complement)
    streams = [(False, 0)] if save == ["l2"] else [(False, 0), (True, 1)]

    def made(model: Model) -> Scorer:
        settings = settings_for(model)
        net = Net("it", get_backend("windowed").prepare(model, settings), model, settings)
        return Scorer(
            [Member(net, *stream) for stream in streams], views, np.arange(subject.length),
            model.n_targets, save, model.device, at_once=-(-len(wide) // parts),
        )  # fmt: skip

    expected = made(model).score(wide)
    with computing_on_card() as card:
        scorer = made(carried(model))
        scorer.score(wide[::-1].copy())
        counts = card.fresh()
        found = scorer.score(wide)
    if case == "attention-sharp":  # rows are made anew, which was seen in the first batch
        assert counts.waits.total() > parts
    else:
        assert (counts.uploads, counts.waits.total()) == (parts, parts)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)
