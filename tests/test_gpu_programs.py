"""The checks for a machine with a GPU: what they say without one, and that they can fail."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch

from tests.gpu import __main__ as checks
from tests.gpu import card, conformance, kernels, memory
from tests.programs import gpu_bench
from yuzu_cli.backends.base import Block
from yuzu_cli.backends.windowed import WindowedRunner
from yuzu_cli.kernels import between, fused


@pytest.mark.parametrize("main", [checks.main, gpu_bench.main])
def test_without_a_card_they_say_so_and_end_with_a_status_of_its_own(main, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == card.NO_CARD == 77
    assert "no GPU is visible to torch" in capsys.readouterr().out


def test_a_rehearsal_of_the_checks(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(memory, "MODELS", (("basset", 120, 2),))
    monkeypatch.setattr(kernels, "MODELS", (("basset", 120, 1, 4),))
    monkeypatch.setattr(conformance, "check_all", in_this_process)
    path = tmp_path / "out" / "found.json"
    options = ["--device", "cpu", "--width", "0.05", "-o", str(path), "--only", "conv-stride-3"]
    parts = ("kernels", "conformance", "memory")
    assert checks.main([*options, *(a for part in parts for a in ("--part", part))]) == 0
    found = json.loads(path.read_text())
    assert found["parts"]["conformance"]["counts"] == {"ok": 5}
    assert found["parts"]["kernels"]["counts"] == {"ok": 5}
    assert found["parts"]["memory"]["counts"] == {"ok": 1}
    assert "conformance: 5 held, 0 did not" in capsys.readouterr().out


def in_this_process(device: str, processes: int, only: str) -> Iterator[list[conformance.Result]]:
    yield conformance.check(only, device)


def test_a_wrong_backend_is_told(monkeypatch, capsys):
    blocks = WindowedRunner.blocks

    def spoiled(self, codes, positions):
        for block in blocks(self, codes, positions):
            yield Block(block.index, block.delta * 1.001, block.targets)

    monkeypatch.setattr(WindowedRunner, "blocks", spoiled)
    monkeypatch.setattr(conformance, "check_all", in_this_process)
    options = ["--device", "cpu", "--only", "conv-stride-3", "--part", "conformance"]
    assert checks.main(options) == 1
    said = capsys.readouterr().out
    assert "conv-stride-3 traced windowed: AssertionError: error" in said
    assert "over the limit" in said


def test_a_wrong_kernel_is_told(monkeypatch):
    asked = []

    def spoiled(out, *reads, **options):
        between.compute(out, *reads, **options)
        asked.append(out)
        out.mul_(1.0 if len(asked) == 1 else 1.00001)

    monkeypatch.setattr(kernels, "MODELS", (("basset", 120, 1, 4),))
    monkeypatch.setattr(fused, "compute_on", lambda device: spoiled)
    found = [result["status"] for result in kernels.check("cpu", 1, 0.05)]
    assert found == ["ok", *["failed"] * 4]


def test_running_out_of_memory_is_heard():
    with memory.Heard("out of memory") as heard:
        logging.getLogger("yuzu_cli.backends.passes").warning("out of memory; at most %d", 3)
        logging.getLogger("yuzu_cli.engine").warning("something else")
    logging.getLogger("yuzu_cli.backends.passes").warning("out of memory; at most %d", 1)
    assert heard.lines == ["out of memory; at most 3"]


def test_broken_promises_are_told(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(memory, "_peak", lambda device: memory.PROMISED + 1)
    found = memory.promise("basset", 120, 1, tmp_path, "cpu", 0.05)
    assert found["status"] == "failed"


def test_a_rehearsal_of_the_benchmark(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_bench, "PASSES", (2, 4))
    monkeypatch.setattr(gpu_bench, "SEQUENCES", (1, 2, 3))
    monkeypatch.setattr(gpu_bench, "MODELS", {"basset": 120})
    monkeypatch.setattr(kernels, "MODELS", (("basset", 120, 1, 4),))
    options = ["--device", "cpu", "--width", "0.05", "--seconds", "0", "--compiled", "none"]
    path = tmp_path / "bench.json"
    assert gpu_bench.main([*options, "--models", "basset", "-o", str(path)]) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert row["naive"]["float32"]["best"] > 0
    assert [w["sequences"] for w in row["windowed"]] == [1, 2, 3, 3]
    assert row["errors"]["windowed_float32"] < 1e-4
    assert len(json.loads(path.read_text())["kernels"]) == 5
    assert "| basset 120 |" in capsys.readouterr().out


BARE = """
import sys
for name in {names}:
    sys.modules[name] = None  # as if it were not installed
from tests.gpu import command, conformance
from tests.gpu.__main__ import main
from tests.programs import gpu_bench
assert command.missing() == list(command.NEEDED)
assert gpu_bench.main
assert {{r["status"] for r in conformance.check("conv-stride-3", "cpu")}} == {{"ok"}}
sys.exit(main(["--device", "cpu", "--part", "command"]))
"""


def test_they_need_nothing_but_torch_numpy_and_h5py():
    names = sorted(others("torch", "numpy", "h5py") - {"yuzu_cli"})
    assert {"click", "pydantic", "yaml", "hypothesis", "pytest"} <= set(names)
    argv = [sys.executable, "-W", "ignore", "-c", BARE.format(names=names)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no pydantic, click, yaml, tqdm" in done.stdout


def others(*kept: str) -> set[str]:
    """What else can be imported here, but for what these packages need themselves."""
    plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()  # noqa: E731
    wanted: set[str] = set()
    left = list(kept)
    while left:
        name = plain(left.pop())
        if name in wanted:
            continue
        wanted.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):  # for another platform
            needs = [line for line in metadata.requires(name) or [] if "extra ==" not in line]
            left += [re.split(r"[^\w.-]", line)[0] for line in needs]
    found = metadata.packages_distributions()
    return {top for top, from_ in found.items() if not wanted & set(map(plain, from_))}
