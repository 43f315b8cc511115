"""A loaded model as a graph of ATen calls: the only file that touches private names of torch.

The model is run twice while its calls are recorded, with 2 and with 3 sequences. The two traces
hold the same calls; integers that differ between them are exactly those that depend on the batch,
and are replaced by expressions of it. A model that decides something from the data cannot be traced
and is refused here.
"""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import torch
from torch.fx import Graph, GraphModule, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from yuzu_cli.graph.batches import BATCHES, SEEN, free_batch
from yuzu_cli.graph.fused import NEVER_WRITTEN, TAKEN_APART
from yuzu_cli.graph.nested import NESTED
from yuzu_cli.graph.ops import OpOverload
from yuzu_cli.graph.program import CaptureError
from yuzu_cli.heap import Heap

MOST_CALLS = 4000
"""A graph of more calls (a recurrent layer unrolled) would take long to make and gain nothing."""

_UNWRITTEN = 0xA5
"""What every byte of fresh memory holds until something is written there."""
_COMPOSITE = "CompositeImplicitAutograd"
"""Operators that torch itself takes apart."""
Apart: TypeAlias = Mapping[Any, Callable[..., Any]]

_aten = torch.ops.aten


class Watching(TorchDispatchMode):
    """A mode that sees the calls of a model, those inside loops and branches too."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch says nothing of its types

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first operation under it loads the compiler, to keep it out


class _Recorder(Watching):
    """Records the calls of one pass over x as a graph, while they are computed.

    torch's own tracer loads the whole of torch's compiler at its first call, which takes longer
    than a small run. Tensors that no recorded call made are constants. Traced TorchScript reckons
    sizes in tensors of no axes: calls on nothing but such numbers are computed at once and leave no
    trace, as they depend on shapes only. What depends on the batch size among them is found by
    comparing two traces.
    """

    def __init__(self, x: torch.Tensor, apart: Apart) -> None:
        super().__init__()
        self.apart = apart
        self.heap = Heap()  # else what is freed stays, many times what lives at any time
        self.calls = 0
        self.refusal = ""  # kept here, as the text of what is raised is lost inside TorchScript
        self.graph, self.constants = Graph(), dict[str, torch.Tensor]()
        self.nodes = WeakTensorKeyDictionary()
        self.nodes[x] = self.graph.placeholder("x")
        self.blank = WeakTensorKeyDictionary()  # memory of `empty` -> its call

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self.calls += 1
        if self.calls > MOST_CALLS:
            many = f"more than {MOST_CALLS} calls in one pass, as of an unrolled loop"
            self.refuse(f"{many}; nn.LSTM, nn.GRU and nn.RNN are one call each")
        if not isinstance(func, OpOverload):
            nested = NESTED.get(func.name())
            if nested is None:
                self.refuse(f"it calls {func.name()}, which is not known; a plain loop would be")
            return nested(self, self.decided, *args, **kwargs)
        apart = self.apart.get(func)
        if apart is None and torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), _COMPOSITE
        ):
            apart = functools.partial(func._op_dk, getattr(torch._C.DispatchKey, _COMPOSITE))
        # What has a kernel of its own is a call: torch's spellings of some in Python, there or not
        # by what was imported before, give other numbers (resizing to the size that is).
        own = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CPU")
        if apart or (not own and func._can_decompose()):
            with self:
                found = (apart or func.decompose)(*args, **kwargs)
            if found is not NotImplemented:
                return found
        if not func._schema.returns and not func._schema.is_mutable:
            return func(*args, **kwargs)  # an assertion, as exported programs hold by each cast
        if func is _aten.empty.memory_format:
            made = func(*args, **kwargs)
            _bytes(made).fill_(_UNWRITTEN)
            self.blank[made] = args, kwargs
            return made
        numbers = [a for a in args if isinstance(a, torch.Tensor)]
        slots = [
            i
            for i, (arg, slot) in enumerate(zip(args, func._schema.arguments, strict=False))
            if isinstance(slot.type, torch.TensorType) and isinstance(arg, (bool, int, float))
        ]
        plain = not any(t.dim() > 0 or t in self.nodes for t in numbers) and (slots or numbers)
        if plain and func is _aten._local_scalar_dense.default:
            return args[0] if slots else args[0].item()
        if plain:
            given = [torch.tensor(a) if i in slots else a for i, a in enumerate(args)]
            return func(*given, **kwargs)
        if _depends_on_data(func, args):
            self.refuse(f"the model decides from the data ({func})")
        return self._record(func, args, kwargs)

    def refuse(self, reason: str) -> NoReturn:
        """End the trace."""
        self.refusal = reason
        raise RuntimeError(reason)

    def decided(self, value: Any, refusal: str) -> bool:
        """A condition on which the sequences have no bearing."""
        seen: set[Node] = set()
        known = self.nodes.get(value) if isinstance(value, torch.Tensor) else None
        queue = [] if known is None else [known]
        while queue:
            node = queue.pop()
            if node.op == "placeholder":
                self.refuse(refusal)
            queue += [n for n in node.all_input_nodes if n not in seen]
            seen.update(queue)
        return bool(value)

    def node(self, value: Any) -> Any:
        """The node of a tensor; other values as they are.

        `empty` is a call only when an operator is what fills it. TorchScript's torch.tensor([...])
        writes into the memory itself: that is a constant.
        """
        if not isinstance(value, torch.Tensor):
            return value
        blank = value not in self.nodes and value in self.blank
        if blank and bool((_bytes(value) == _UNWRITTEN).all()):
            self.nodes[value] = self._call(_aten.empty.memory_format, self.blank[value], value)
        if value not in self.nodes:
            name = f"_constant{len(self.constants)}"
            self.constants[name] = value.detach()
            self.nodes[value] = self.graph.get_attr(name)
        return self.nodes[value]

    def _record(self, func: Any, args: Any, kwargs: Any) -> Any:
        given = tree_map(self.node, args), tree_map(self.node, kwargs)
        result = func(*args, **kwargs)
        self.heap.trim()
        node = self._call(func, given, result)
        if isinstance(result, torch.Tensor):
            self.nodes[result] = node
        elif isinstance(result, (tuple, list)):
            for i, value in enumerate(result):
                if isinstance(value, torch.Tensor):
                    piece = self.graph.call_function(operator.getitem, (node, i))
                    piece.meta[SEEN] = _without_data(value)
                    self.nodes[value] = piece
        return result

    def _call(self, func: Any, given: tuple[Any, Any], result: Any) -> Node:
        name = func.overloadpacket.__name__
        node = self.graph.create_node("call_function", func, *given, name=name)
        node.meta[SEEN] = tree_map(_without_data, result)
        return node

    def module(self, result: torch.Tensor) -> GraphModule:
        """What was recorded, returning `result`."""
        self.graph.output(self.node(result))
        return GraphModule(self.constants, self.graph)


def _depends_on_data(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether a call hands out a number of Python's, or a tensor whose shape only the data tell."""
    if func is _aten.index.Tensor:
        return any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
    return bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of a tensor, as it lies."""
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())


def _without_data(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def probe(n: int, letters: int, length: int, like: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Random one-hot sequences (n, A, L)."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, letters, (n, length), generator=generator)
    # Contiguous, as what a run gives: the trace must hold the copies that a kernel asks for.
    return torch.nn.functional.one_hot(codes, letters).movedim(-1, -2).to(like).contiguous()


def _record(
    call: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, apart: Apart = TAKEN_APART
) -> GraphModule:
    """The calls of one pass over x."""
    recorder = _Recorder(x, apart)
    try:
        # Below autograd, where torch has not yet taken recurrent layers apart; and TorchScript's
        # next run would differ from one that it optimises.
        below = torch._C._AutoDispatchBelowAutograd()
        with below, torch.jit.optimized_execution(False), recorder:
            result = call(x)
    except Exception as error:  # torch raises what it likes here; the plain way remains
        raise CaptureError(recorder.refusal or _reason(error)) from error
    return recorder.module(result)


def _trace(model: torch.nn.Module, x: torch.Tensor) -> GraphModule:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Twice: kernels that copy into views do so below the first functionalisation.
        graph = _record(torch.func.functionalize(_record(model, x)), x, NEVER_WRITTEN)
    graph.graph.eliminate_dead_code()
    return graph


def _reason(error: Exception) -> str:
    """The last line of an error's text that says something; TorchScript prints code above it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" ~^<-HER")]
    if not lines or lines[-1].endswith("Error:"):  # the text was lost, the kind was not
        return f"{type(error).__name__} without a text, at {lines[0] if lines else 'no line'}"[:200]
    return lines[-1][:200]


def trace(model: torch.nn.Module, like: torch.Tensor) -> GraphModule:
    """A model (N, A, L) -> (N, T) as a graph of ATen calls, for any N.

    `like` is a tensor (1, A, L) of the device and type wanted.

    Raises
    ------
    CaptureError
        The model decides from the data, or depends on the batch in an unforeseen way.
    """
    letters, length = like.shape[1:]
    return free_batch(*(_trace(model, probe(n, letters, length, like)) for n in BATCHES))
