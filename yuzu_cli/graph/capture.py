"""A loaded model as a graph of ATen calls: the only file that touches private names of torch.

The model is run twice under torch's tracer, with 2 and with 3 sequences. The two traces hold the
same calls; integers that differ between them are exactly those that depend on the batch, and are
replaced by expressions of it. A model that decides something from the data cannot be traced and
is refused here.
"""

from __future__ import annotations

import operator
import warnings
from typing import Any

import torch
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from yuzu_cli.graph.program import CaptureError, batch_size

BATCHES = (2, 3)
MOST_CALLS = 4000
"""A graph of more calls (a recurrent layer unrolled) would take long to make and gain nothing."""

_UNWRITTEN = 0xA5
"""What every byte of fresh memory holds until something is written there."""

_aten = torch.ops.aten


class _PlainNumbers(TorchDispatchMode):
    """Traced TorchScript reckons sizes in tensors of no axes, which the tracer takes for data.

    Calls on nothing but such numbers are computed at once and leave no trace; they depend on shapes
    only. What depends on the batch size among them is found by comparing two traces.
    """

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self.calls = 0
        self.refusal = ""  # kept here, as the text of what is raised is lost inside TorchScript
        self.data = WeakTensorKeyDictionary()  # everything computed from x
        self.data[x] = True
        self.blank = WeakTensorKeyDictionary()  # memory of `empty` -> its call, or its traced twin

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = tree_map_only(torch.Tensor, self._written, (args, kwargs or {}))
        self.calls += 1
        if self.calls > MOST_CALLS:
            self.refusal = f"more than {MOST_CALLS} calls in one pass, as of an unrolled loop"
            raise RuntimeError(self.refusal)
        if func is _aten.empty.memory_format:
            with _disable_current_modes():
                made = func(*args, **kwargs)
                made.view(torch.uint8).fill_(_UNWRITTEN)
            self.blank[made] = lambda: func(*args, **kwargs)
            return made
        numbers = [a for a in args if isinstance(a, torch.Tensor)]
        slots = [
            i
            for i, (arg, slot) in enumerate(zip(args, func._schema.arguments, strict=False))
            if isinstance(slot.type, torch.TensorType) and isinstance(arg, (bool, int, float))
        ]
        if any(t.dim() > 0 or t in self.data for t in numbers) or not (slots or numbers):
            return self._follow(func(*args, **kwargs))
        if func is _aten._local_scalar_dense.default:
            return args[0] if slots else args[0].item()
        with _disable_current_modes():
            plain = [torch.tensor(a) if i in slots else a for i, a in enumerate(args)]
            return func(*plain, **kwargs)

    def _written(self, value: torch.Tensor) -> torch.Tensor:
        """What stands for a tensor: `empty` is traced only when an operator is what fills it.

        TorchScript's torch.tensor([...]) writes into the memory itself: that is a constant.
        """
        call = self.blank.get(value)
        if callable(call):
            with _disable_current_modes():
                untouched = bool((value.view(torch.uint8) == _UNWRITTEN).all())
            call = self.blank[value] = call() if untouched else value
        return value if call is None else call

    def _follow(self, result: Any) -> Any:
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                self.data[value] = True
        return result


def probe(n: int, letters: int, length: int, like: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Random one-hot sequences (n, A, L)."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, letters, (n, length), generator=generator)
    # Contiguous, as what a run gives: the trace must hold the copies that a kernel asks for.
    return torch.nn.functional.one_hot(codes, letters).movedim(-1, -2).to(like).contiguous()


def _trace(model: torch.nn.Module, x: torch.Tensor) -> GraphModule:
    refusal = ""

    def call(x: torch.Tensor) -> torch.Tensor:
        nonlocal refusal
        numbers = _PlainNumbers(x)
        try:
            with torch.jit.optimized_execution(False), numbers:  # else the second run differs
                return model(x)
        finally:
            refusal = numbers.refusal

    try:
        # One fake mode for the trace: the tracer would make one per call, each with a stack trace.
        context = TracingContext(FakeTensorMode(allow_fallback_kernels=True))
        with torch.no_grad(), tracing(context), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Twice: kernels that copy into views do so below the first functionalisation.
            graph = make_fx(call)(x)
            graph = make_fx(torch.func.functionalize(graph))(x)
    except Exception as error:  # torch raises what it likes here; the plain way remains
        raise CaptureError(refusal or _reason(error)) from error
    _drop_relabelled_strides(graph)
    graph.graph.eliminate_dead_code()
    if any(n.target is _aten.as_strided.default for n in graph.graph.nodes):
        raise CaptureError("the model reads memory by strides (as_strided)")
    return graph


def _reason(error: Exception) -> str:
    """The last line of an error's text that says something; TorchScript prints code above it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" ~^<-HER")]
    if not lines or lines[-1].endswith("Error:"):  # the text was lost, the kind was not
        return f"{type(error).__name__} without a text, at {lines[0] if lines else 'no line'}"[:200]
    return lines[-1][:200]


def _drop_relabelled_strides(graph: GraphModule) -> None:
    """as_strided that changes the strides of axes of one only: the same tensor.

    Global average pooling ends in one, to keep the memory format of its input.
    """
    for node in list(graph.graph.nodes):
        if node.target is not _aten.as_strided.default or len(node.args) > 3:
            continue
        source, size, stride = node.args
        known = source.meta.get("tensor_meta") or source.meta.get("val")
        if known is None or tuple(known.shape) != tuple(size):
            continue
        own = torch.empty(tuple(size), device="meta").stride()
        if all(n == 1 or a == b for n, a, b in zip(size, stride, own, strict=True)):
            node.replace_all_uses_with(source)


def _merge_batches(small: Any, large: Any, batch: Node, graph: Graph, at: Node) -> Any:
    """One argument of the two traces -> the same with batch-dependent integers as expressions."""
    if isinstance(small, (tuple, list)):
        if len(small) != len(large):
            raise CaptureError("the graph differs between batch sizes")
        merged = [_merge_batches(s, b, batch, graph, at) for s, b in zip(small, large, strict=True)]
        return type(small)(merged)
    if isinstance(small, Node) or small == large or not isinstance(small, int):
        return small
    # A multiple of the batch size, and maybe rows that the model adds; a third size is tried later.
    factor, rest = rows_of(small, large)
    if factor < 1 or rest < 0:
        raise CaptureError(f"{at.name} depends on the batch size in an unforeseen way")
    with graph.inserting_before(at):
        size = batch if factor == 1 else graph.call_function(operator.mul, (batch, factor))
        return graph.call_function(operator.add, (size, rest)) if rest else size


def _free_batch(small: GraphModule, large: GraphModule) -> GraphModule:
    """The first trace with its batch size freed by comparison with the second."""
    graph = small.graph
    first, second = list(graph.nodes), list(large.graph.nodes)
    if [(n.op, str(n.target)) for n in first if n.op != "get_attr"] != [
        (n.op, str(n.target)) for n in second if n.op != "get_attr"
    ] or len(first) != len(second):
        raise CaptureError("the graph differs between batch sizes")
    with graph.inserting_after(first[0]):
        batch = graph.call_function(batch_size, (first[0],))
    for a, b in zip(first, second, strict=True):
        if a.op == "get_attr":
            x, y = attribute(small, a), attribute(large, b)
            if x.shape != y.shape or not torch.equal(x, y):
                raise CaptureError(f"constant {a.name} depends on the batch size")
        elif a.op == "call_function":
            a.args = _merge_batches(a.args, b.args, batch, graph, a)
    graph.eliminate_dead_code()
    small.recompile()
    return small


def rows_of(small: int, large: int) -> tuple[int, int]:
    """Factor and rest of a size that was seen for the two batches."""
    factor = (large - small) // (BATCHES[1] - BATCHES[0])
    return factor, small - factor * BATCHES[0]


def attribute(module: GraphModule, node: Node) -> torch.Tensor:
    value = getattr(module, str(node.target))
    return value.detach() if isinstance(value, torch.Tensor) else value


def trace(model: torch.nn.Module, like: torch.Tensor) -> GraphModule:
    """A model (N, A, L) -> (N, T) as a graph of ATen calls, for any N.

    `like` is a tensor (1, A, L) of the device and type wanted.

    Raises
    ------
    CaptureError
        The model decides from the data, or depends on the batch in an unforeseen way.
    """
    letters, length = like.shape[1:]
    return _free_batch(*(_trace(model, probe(n, letters, length, like)) for n in BATCHES))


def shapes_only() -> FakeTensorMode:
    """A mode in which calls work out shapes and types, and compute nothing."""
    return FakeTensorMode(allow_non_fake_inputs=True)
