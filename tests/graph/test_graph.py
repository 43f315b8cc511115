"""Capture of models as one graph: batch freed, batch norm folded, patterns canonical, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from yuzu_cli.graph import ops
from yuzu_cli.graph.build import capture
from yuzu_cli.graph.program import CaptureError, Program, run_program

aten = torch.ops.aten


def program_of(module: nn.Module, length: int = 30, trace: bool = False) -> Program:
    module = module.eval().requires_grad_(False)
    x = torch.zeros(2, 4, length)
    model = torch.jit.trace(module, x) if trace else torch.jit.script(module)
    return capture(model, letters=4, length=length, device=torch.device("cpu"), dtype=torch.float32)


def targets(program: Program) -> list[object]:
    return [n.target for n in program.calls() if n.name in program.specs]


def conv_norm_relu_pool() -> nn.Module:
    norm = nn.BatchNorm1d(6)
    with torch.no_grad():
        norm.get_buffer("running_mean").normal_()
        norm.get_buffer("running_var").uniform_(0.5, 2)
        norm.weight.normal_()
    return nn.Sequential(nn.Conv1d(4, 6, 5, padding=2), norm, nn.ReLU(), nn.MaxPool1d(3))


@pytest.mark.parametrize("trace", [False, True], ids=["scripted", "traced"])
def test_batch_norm_is_folded_and_the_maximum_taken_first(trace):
    program = program_of(conv_norm_relu_pool(), trace=trace)
    found = [t for t in targets(program) if t not in (aten.unsqueeze.default, aten.squeeze.dim)]
    assert found == [aten.convolution.default, ops.max_pool, aten.relu.default]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_maximum_goes_before_a_scale_of_either_sign(sign):
    torch.manual_seed(3)
    norm = nn.BatchNorm1d(6)
    with torch.no_grad():
        norm.weight.copy_(sign * torch.tensor([1.0, -2.0, 0.5, -0.1, 3.0, -1.0]))
        norm.bias.normal_()
    module = nn.Sequential(nn.Conv1d(4, 6, 5), nn.ReLU(), norm, nn.MaxPool1d(3)).eval()
    program = program_of(module)
    order = targets(program)
    assert order.index(ops.max_pool) < order.index(ops.affine)
    x = torch.randn(5, 4, 30)
    torch.testing.assert_close(program.module(x), module(x))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batch_is_free(batch):
    module = nn.Sequential(nn.Conv1d(4, 6, 5), nn.Flatten(), nn.Linear(6 * 26, 3)).eval()
    program = program_of(module)
    x = torch.randn(batch, 4, 30)
    torch.testing.assert_close(program.module(x), module(x))
    assert program.specs[program.output.name].shape == (1, 3)
    assert program.specs[program.output.name].batch_axis == 0


def test_linear_has_one_spelling():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(5 * 30, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(torch.relu(self.a(x.transpose(1, 2))).flatten(1))

    for trace in (False, True):
        found = targets(program_of(Both(), trace=trace))
        assert found.count(ops.linear) == 2
        assert not {aten.mm.default, aten.addmm.default, aten.bmm.default} & set(found)


def test_kept_values_are_those_asked_for():
    program = program_of(conv_norm_relu_pool())
    names = {n.name for n in program.calls()} & set(program.specs)
    x = torch.randn(2, 4, 30)
    kept = run_program(program, x, names)
    assert set(kept) == names
    torch.testing.assert_close(kept[program.output.name], program.module(x))


def test_a_model_that_decides_from_the_data_is_refused():
    class Decides(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if bool(x.sum() > 3):
                return x.sum(2)
            return -x.sum(2)

    with pytest.raises(CaptureError):
        program_of(Decides())


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRUCell(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(x.shape[0], 3)
        for at in range(x.shape[2]):
            state = self.layer(x[:, :, at], state)
        return state


def test_a_refusal_has_a_text_where_torchscript_loses_it(monkeypatch):
    monkeypatch.setattr("yuzu_cli.graph.capture.MOST_CALLS", 100)
    with pytest.raises(CaptureError, match="more than 100 calls in one pass"):
        program_of(Recurrent())


@pytest.mark.parametrize("text", ["", "\n", "Traceback ...\nRuntimeError: \n"])
def test_a_refusal_is_never_empty(text):
    class Raises(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(text)

    with pytest.raises(CaptureError, match=r"^RuntimeError without a text, at "):
        capture(Raises(), letters=4, length=30, device=torch.device("cpu"), dtype=torch.float32)


def test_a_graph_that_gives_other_numbers_is_refused(monkeypatch):
    """The check behind every rewrite can fail: a rewrite that is wrong is caught."""
    from yuzu_cli.graph import build as normalise

    def wrong(r, node):
        if node.target is not aten.relu.default:
            return False
        return r.replace(node, r.insert(node, aten.sigmoid.default, (node.args[0],)))

    monkeypatch.setattr(normalise, "_PASSES", (wrong,))
    with pytest.raises(CaptureError, match="differs from the model"):
        program_of(conv_norm_relu_pool())


class Circle(nn.Module):
    """The last few positions of a convolution, and as many more from their beginning."""

    def __init__(self, kept: int, more: int) -> None:
        super().__init__()
        self.body = nn.Conv1d(4, 6, 5)
        self.pad = [kept - 26, more]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(torch.relu(self.body(x)), self.pad, mode="circular")


def test_circular_padding_beyond_what_is_left_reads_what_nothing_has_written():
    """Of a circle of two torch has no three positions: it reads the memory that it writes into."""
    module = Circle(3, 3).eval()
    x = torch.randn(5, 4, 30)
    torch.testing.assert_close(program_of(module, trace=True).module(x), module(x))
    with pytest.raises(CaptureError, match="memory that nothing has written, as circular padding"):
        program_of(Circle(2, 3), trace=True)


def test_the_model_is_left_as_it_was():
    module = conv_norm_relu_pool().eval()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    program_of(module)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not module.training


class Listed(nn.Module):
    """Constants written as lists, of each type, and memory that operators fill."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(4, 6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        order, scale = torch.tensor([3, 2, 1, 0]), torch.tensor([0.5, 1.0], dtype=torch.float64)
        kept, step = torch.tensor([[True], [False], [True]] * 2), torch.ones(6) * 2
        step[0] = 5.0
        y = self.layer(x) * kept + self.layer(x[:, order]) * scale.to(x.dtype)[1] * torch.tensor(2)
        filled = torch.empty(y.shape[0], 6)
        filled[:, :3] = y.mean(2)[:, :3]
        filled[:, 3:] = 2 * y.mean(2)[:, 3:]
        return filled * step * torch.tensor([0.5, 1.0, 2.0, 0.25, 1.0, 1.0])


def test_tensors_of_lists_are_constants():
    module = Listed()
    program = program_of(module)
    x = torch.randn(5, 4, 30)
    torch.testing.assert_close(program.module(x), module(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("how", ["scripted", "traced", "exported"])
def test_a_recurrent_layer_is_one_operator_for_each_direction(kind, how):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = kind(4, 3, num_layers=2, bidirectional=True, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.transpose(1, 2))[0].mean(1)

    module, x = Model().eval().requires_grad_(False), torch.randn(5, 4, 30)
    if how == "exported":
        rows = ({0: torch.export.Dim("rows", min=2, max=64)},)
        device, dtype = torch.device("cpu"), torch.float32
        model = torch.export.export(module, (x,), dynamic_shapes=rows).module()
        program = capture(model, letters=4, length=30, device=device, dtype=dtype)
    else:
        program = program_of(module, trace=how == "traced")
    assert targets(program).count(ops.recurrent) == 4
    torch.testing.assert_close(program.module(x), module(x))
