"""Texts of an exported program that torch would evaluate: arithmetic is told from other Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.case import LAYOUTS, Case
from tests.support.cases import CASES
from tests.support.engine_nets import conv, export, seeded
from tests.support.hostile import PROGRAM, Members, edited, first_node, in_a_size, read, write
from yuzu_cli.errors import ModelError
from yuzu_cli.model.expressions import is_arithmetic, is_guard
from yuzu_cli.model.files import sniff
from yuzu_cli.model.operators import is_known_operator

# --- expressions and operators ------------------------------------------------------------------

SYMBOL = "Symbol('s77', positive=True, integer=True)"
ARITHMETIC: tuple[str, ...] = (
    f"Max(Integer(1), TruncToInt(Mul(Float('1.5', precision=53), ToFloat({SYMBOL}))))",
    f"Pow({SYMBOL}, Integer(-1))",
    SYMBOL,
)
ARITHMETIC += (
    "s77",
    "2*s0 + 1",
    "s0//2",
    "Max(1, s3)",
    "Mod(s0, 8)",
    "-u0",
    "s0**2",
    "True",
    "1.5",
)
GUARDS = ("2*L['x'].size()[2] == 48", "L['x'].size()[0] <= 512 and not Eq(s0, 2)", "L['y'] == None")
CODE_TEXTS = (
    "__import__('os')",
    "s0.evalf",
    "().__class__",
    "exec('x')",
    "lambda: 0",
    "[s0 for s0 in L]",
    "x",
    "'a'",
    "L['x'].__class__",
    "L['x'].size()[0].__class__",
    "L['x'].size.__self__",
    "math.fsum(s0)",
    "os.system(s0)",
    "9**s0",
    "2**999",
    "Max(*L)",
    "Max(s0, key=s1)",
    "s0 if L else s1",
    "L",
    "L['a\\'b']",
    "(s0 := 1)",
    "f'{s0}'",
    "s0\n",
    "s0 +",
    "Symbol('__import__')",
    "Symbol('s0', cls=exit)",
    "Symbol(s0)",
    "Symbol('s0', precision=10**9)",
    "Float('1', **s0)",
    "Float('x')",
    "Pow(Integer(9), Integer(999999))",
    "Function('f')(s0)",
    "Integer('1')",
    "1" * 20_000,
    "(" * 500 + "1" + ")" * 500,
)


def test_arithmetic_is_told_from_other_python() -> None:
    assert [t for t in ARITHMETIC if not is_arithmetic(t)] == []
    assert [t for t in (*ARITHMETIC, *GUARDS) if not is_guard(t)] == []
    assert [t for t in (*CODE_TEXTS, *GUARDS[:1]) if is_arithmetic(t)] == []
    assert [t for t in CODE_TEXTS if is_guard(t)] == []


KNOWN: tuple[str, ...] = ("torch.ops.aten.conv1d.default", "torch.ops.higher_order.cond")
KNOWN += ("_operator.getitem", "torch.sym_max", "math.ceil", "torch.ops.aten.__and__.Tensor")
UNKNOWN: tuple[str, ...] = ("torch.load", "torch.os.system", "torch.hub.load", "math.")
UNKNOWN += ("torch.ops.load_library", "torch.ops.aten.__class__.mro", "torch.ops.aten.conv1d")
UNKNOWN += ("torch.ops.higher_order.triton_kernel_wrapper_mutation", "torch.ops.export.x.default")
UNKNOWN += ("_operator.methodcaller", "#namespace:op", "exec", "")
UNKNOWN += ("torch.ops.aten.no_such_operator.default",)


def test_operators_that_compute_are_told_from_others() -> None:
    assert [t for t in KNOWN if not is_known_operator(t)] == []
    assert [t for t in UNKNOWN if is_known_operator(t)] == []


@pytest.mark.parametrize("key", ["as_string", "as_int", "as_bool", "as_device", "as_ints"])
def test_an_operator_that_touches_files_gets_no_path(good: Path, tmp_path: Path, key: str) -> None:
    """Under whatever type it is given: torch itself does not look whether a number is one."""
    members = read(good)

    def change(program: Any) -> None:
        node = first_node(program)
        node["target"] = "torch.ops.aten.from_file.default"
        node["inputs"] = [{"name": "filename", "arg": {key: "notes.txt"}, "kind": 1}]

    edited(members, PROGRAM, change)
    with pytest.raises(ModelError, match=r"not known to be safe|where no text belongs"):
        sniff(write(tmp_path / "m.pt2", members))


def test_endless_numbers_are_numbers(tmp_path: Path) -> None:
    class Endless(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.clamp(x, max=float("inf")).masked_fill(x > 2, float("-inf")).sum(2)

    assert sniff(export(Endless(), tmp_path / "m.pt2")) == "exported"


def test_exported_programs_of_a_fixed_batch_pass_too(tmp_path: Path) -> None:
    assert sniff(export(conv(), tmp_path / "m.pt2", 4)) == "exported"


EVERY_EIGHTH = [case for case in CASES[::8] if case.name != "decides-from-data"]


@pytest.mark.parametrize("case", EVERY_EIGHTH, ids=lambda case: case.name)
def test_models_of_every_kind_pass(tmp_path: Path, case: Case) -> None:
    net = seeded(lambda: case.make(case.length)).eval()
    x = LAYOUTS[case.layout](torch.zeros(2, case.letters, case.length))
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.export.save(program, str(tmp_path / "m.pt2"))
    assert sniff(tmp_path / "m.pt2") == "exported"


def test_programs_in_the_older_layout_are_checked_too(good: Path, tmp_path: Path) -> None:
    def older(members: Members) -> Members:
        torch.save({}, tmp_path / "w.pt")
        empty = (tmp_path / "w.pt").read_bytes()
        kept = ("state_dict", "constants", "example_inputs")
        return {
            "version": b"8.8",
            "serialized_exported_program.json": members[PROGRAM],
            **{f"serialized_{name}.pt": empty for name in kept},
        }

    members = read(good)
    assert sniff(write(tmp_path / "a.pt2", older(members), top="")) == "exported"
    in_a_size(members, tmp_path / "proof")
    with pytest.raises(ModelError, match="no arithmetic"):
        sniff(write(tmp_path / "b.pt2", older(members), top=""))
