"""`--help` and `--version`: at once, with an example, and nothing heavy imported for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import yuzu_cli
from tests.support.cli import invoke
from yuzu_cli.cli import COMMANDS, group
from yuzu_cli.cli._options import OPTIONS

HEAVY = ("torch", "h5py", "numpy", "pydantic", "yaml", "matplotlib", "pandas", "pybedtools", "tqdm")
LINES = [["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)]


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_nothing_heavy_is_imported(line: list[str]) -> None:
    code = (
        "import sys\n"
        "from yuzu_cli.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        f"finally:\n    print(*[n for n in {HEAVY} if n in sys.modules], file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr.strip()) == (0, "")
    assert answer.stdout


EARLY = {
    "no model": (["-m", "no.pt", "-f", "s.fa"], "error: no.pt: no such file; give a TorchScript"),
    "folder for a model": (["-m", ".", "-f", "s.fa"], "error: .: is not a file"),
    "no sequences": (["-m", "m.pt", "-f", "no.fa"], "error: no.fa: no such file"),
    "no genome": (
        ["-m", "m.pt", "-b", "s.fa", "-g", "no.fa", "-l", "9"],
        "error: no.fa: no such file",
    ),
    "no names": (
        ["-m", "m.pt", "-f", "s.fa", "--set", "model.target_names=no.txt"],
        "error: model.target_names: no.txt: No such file",
    ),
    "no array": (
        ["-m", "m.pt", "-f", "s.fa", "--set", "model.extra_inputs={x: no.npy}"],
        "error: model.extra_inputs: no.npy: No such file",
    ),
    "no folder": (["-m", "m.pt", "-f", "s.fa", "-o", "no/out.h5"], "there is no such folder"),
    "output there": (["-m", "m.pt", "-f", "s.fa", "-o", "s.fa"], "is an input of this run"),
}


@pytest.mark.parametrize(("argv", "text"), EARLY.values(), ids=EARLY)
def test_what_needs_no_torch_is_said_before_it_is_loaded(
    tmp_path: Path, argv: list[str], text: str
) -> None:
    (tmp_path / "m.pt").write_text("a model")
    (tmp_path / "s.fa").write_text(">a\nACGT\n")
    code = (
        "import sys\n"
        "from yuzu_cli.cli import main\n"
        "try:\n    main(['run', *sys.argv[1:]])\n"
        "finally:\n    assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, *argv]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert text in answer.stderr
    assert "Traceback" not in answer.stderr, answer.stderr


def test_help_takes_less_than_half_a_second() -> None:
    """CPU time, for the clock on the wall also counts whatever else the machine does."""
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "yuzu_cli", "run", "--help"], capture_output=True)
        after = os.times()
        user = after.children_user - before.children_user
        times.append(user + after.children_system - before.children_system)
    assert min(times) < 0.5, times


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = invoke([name, "--help"], capsys)
    assert (code, err) == (0, "")
    assert f"    yuzu {name} " in out.split("Example")[1]


def test_group_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = invoke(["--help"], capsys)
    assert code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--version"], capsys) == (0, f"yuzu {yuzu_cli.__version__}\n", "")


def test_no_command_shows_help_and_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = invoke([], capsys)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: yuzu ")


def test_closed_pipe_is_no_fault() -> None:
    command = f"{sys.executable} -m yuzu_cli run --help | true; exit ${{PIPESTATUS[0]}}"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_full_disk_of_standard_output_is_said() -> None:
    with open("/dev/full", "w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "yuzu_cli", "--help"], stdout=full, stderr=subprocess.PIPE
        )
    assert answer.returncode == 1
    assert answer.stderr == b"error: system: No space left on device\n"


def test_every_command_has_a_callback_of_its_own() -> None:
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        assert command.name == name


#: What the contract with users names; no option may vanish.
RUN = """-m --model -c --config -f --fasta -b --bed -g --genome -o --output -l --length --backend
--device --precision --batch-size --targets --reduce --scores --mutate --mutate-center --plan
--reverse-complement --shifts --shard --verify --resume --no-resume --force --dry-run --progress
--no-progress -v -q --debug"""


def test_run_has_every_option() -> None:
    run = group.get_command(click.Context(group), "run")
    assert run is not None
    names = {name for option in run.params for name in (*option.opts, *option.secondary_opts)}
    assert set(RUN.split()) <= names


def test_every_option_sets_a_key_that_there_is() -> None:
    from yuzu_cli.config import KEYS

    samples = {"mutate": "1:3", "reduce": "index:3", "mutate_center": 3, "model": ("a",)}
    known = {f"{section}.{key}" for section, keys in KEYS.items() for key in keys}
    for param, option in OPTIONS.items():
        assert set(option.keys(samples.get(param, "1"))) <= known
