"""Reach is sound: what an edit changed lies inside what the rules allow, and a wrong rule is
caught.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from tests.support.cases import CASES
from yuzu_cli.graph.build import capture
from yuzu_cli.graph.program import Program, run_program
from yuzu_cli.operators.convolution import Convolution
from yuzu_cli.operators.reach import EVERYWHERE, UNTOUCHED, Reach, join
from yuzu_cli.operators.record import OPERATORS, operator
from yuzu_cli.operators.sliding import Sliding
from yuzu_cli.plan.analyse import analyse, reaches_of

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

POSITIONS = 9


@functools.cache
def program_of(name: str) -> Program:
    case = next(c for c in CASES if c.name == name)
    module = case.build().eval().requires_grad_(False)
    device = torch.device("cpu")
    return capture(
        module, letters=case.letters, length=case.length, device=device, dtype=torch.float32
    )


def plain_cases() -> list[str]:
    """Cases whose module itself takes (N, A, L) and returns one tensor."""
    return [
        c.name
        for c in CASES
        if c.captured
        and c.layout == "NCL"
        and not c.extra
        and c.output == 0
        and c.scripted
        and not c.name.startswith("outputs-")
    ]


def violations(program: Program, reaches, positions) -> list[str]:
    """Nodes of which an edit changed something outside its reach."""
    torch.manual_seed(5)
    codes = torch.randint(program.letters, (program.length,))
    x = torch.nn.functional.one_hot(codes, program.letters).t()[None].float()
    names = {n.name for n in program.calls() if n.name in program.specs}
    reference = run_program(program, x, names)
    found = []
    for p in positions:
        mutant = x.clone()
        mutant[0, :, p] = mutant[0, :, p].roll(1)
        changed = run_program(program, mutant, names)
        for name in names:
            reach, spec = reaches[name], program.specs[name]
            if reach is EVERYWHERE or spec.batch_axis != 0:
                continue
            moved = changed[name] != reference[name]
            if reach is UNTOUCHED:
                ok = not bool(moved.any())
            else:
                assert isinstance(reach, Reach)
                shape = (1, *reach.flat) if reach.flat else spec.shape
                at = moved.reshape(shape).movedim(reach.axis, 0).flatten(1).any(1).nonzero()
                ok = all(int(reach.start[p]) <= int(i) < int(reach.stop[p]) for i in at)
            if not ok:
                found.append(name)
    return found


@pytest.mark.parametrize("name", plain_cases())
def test_what_changed_lies_inside(name):
    program = program_of(name)
    positions = np.unique(np.linspace(0, program.length - 1, POSITIONS).astype(int))
    with torch.no_grad():
        assert violations(program, reaches_of(program), positions) == []


def test_a_broken_rule_is_caught(monkeypatch):
    right = Convolution.reach

    def narrow(self):
        reach = right(self)
        assert isinstance(reach, Reach)
        return reach.moved(reach.start + 1, reach.stop - 1)

    program = program_of("dilated-residual-stack")
    monkeypatch.setattr(Convolution, "reach", narrow)
    with torch.no_grad():
        assert violations(program, reaches_of(program), [program.length // 2])


def test_an_operator_has_one_class_only():
    target = torch.ops.aten.flip.default
    with pytest.raises(ValueError, match="has a class already"):
        operator(target)(OPERATORS[target])


def test_join_takes_the_hull_and_leaves_out_what_is_not_reached():
    size = 10
    near = Reach(2, size, np.array([2, 3]), np.array([4, 5]))
    far = Reach(2, size, np.array([6, 40]), np.array([7, 41]))
    hull = join([near, far])
    assert isinstance(hull, Reach)
    assert hull.start.tolist() == [2, 3]
    assert hull.stop.tolist() == [7, 5]
    other_axis = Reach(1, size, np.array([0, 0]), np.array([1, 1]))
    assert join([near, other_axis]) is EVERYWHERE


@pytest.mark.parametrize(
    ("kernel", "stride", "before", "dilation"),
    [(1, 1, 0, 1), (5, 1, 2, 1), (4, 3, 1, 2), (3, 2, 0, 4), (2, 5, 0, 1)],
)
def test_window_rule_is_the_definition(kernel, stride, before, dilation):
    length = 23
    letters = np.arange(length)
    out = (length + 2 * before - dilation * (kernel - 1) - 1) // stride + 1
    along = Sliding(kernel, stride, before, dilation)
    reach = along.forward(Reach(2, length, letters, letters + 1), out)
    start, stop = reach.clip()
    for p in range(length):
        reads = [
            o
            for o in range(out)
            if p in {o * stride - before + dilation * k for k in range(kernel)}
        ]
        if reads:
            assert start[p] <= min(reads)
            assert stop[p] == max(reads) + 1 or dilation > 1


def test_need_leaves_out_what_a_crop_drops():
    class Cropped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Conv1d(4, 3, 3, padding=1)
            self.b = torch.nn.Conv1d(3, 2, 5, padding=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x))[:, :, 10:20]

    model = Cropped().eval().requires_grad_(False)
    program = capture(model, letters=4, length=40, device=torch.device("cpu"), dtype=torch.float32)
    needs = [r.need for r in analyse(program).reaches.values() if isinstance(r, Reach)]
    assert needs == [(7, 23), (8, 22), (10, 20), (0, 10)]
