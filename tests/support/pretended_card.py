"""A pretended GPU: tensors that say they are on cuda:0 while their values are computed on the CPU.

What runs on it gives real numbers and is held to a GPU's rules: a tensor of the CPU in a call is
refused. Counted are the kernels that would be started, the bytes they would move, multiply-adds,
uploads, downloads, bytes alive, and every place where the host would wait for the device; a simple
model of a card turns the counts into a time. With ``values=False`` nothing is computed: shapes
alone are enough to count, and a flag that is asked for (is all of this finite?) is true.

    with Card() as card:
        y = f(x.to("cuda:0"))
    print(card.counts.summary())

It cannot tell how fast a kernel is, what an allocator does, or what races between streams do.
TorchScript and autograd want real devices: a loaded file computes on the CPU in between, as one
kernel, and gradients are not to be had.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.card_costs import ALWAYS_WAIT, VIEWS, Counts, place

CUDA = torch.device("cuda", 0)
_aten = torch.ops.aten
_MOVES = ("_to_copy", "copy_")


class CardTensor(torch.Tensor):
    """A tensor of the pretended card; its values are in `held`, on the CPU (or nowhere)."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> CardTensor:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CUDA,
        )
        tensor.held = inner
        return tensor

    # torch types neither of these two as it calls it.
    def __repr__(self) -> str:  # type: ignore[override]
        return f"CardTensor({self.held!r})"

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.held.untyped_storage()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return Card.current().call(func, args, kwargs or {})


class Card:
    """While within it, torch believes in one card, and what is made there is counted."""

    _stack: list[Card] = []  # noqa: RUF012 - of the process, as a card is

    def __init__(self, values: bool = True) -> None:
        self.values = values
        self.counts = Counts()
        self.live = self.peak = 0
        self._holders: Counter[int] = Counter()
        self._contexts: list[Any] = []

    @staticmethod
    def current() -> Card:
        """The innermost card.

        Raises
        ------
        RuntimeError
            There is none: a tensor of a card outlived it.
        """
        if not Card._stack:
            raise RuntimeError("a tensor of a pretended card is used outside of it")
        return Card._stack[-1]

    def __enter__(self) -> Card:
        from tests.support.card_cuda import Believing
        from tests.support.card_spelling import Spelled

        self._contexts = [Believing(), _Dispatched(), Spelled()]
        Card._stack.append(self)
        for context in self._contexts:
            context.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        for context in reversed(self._contexts):
            context.__exit__(*exc)
        Card._stack.pop()

    def fresh(self) -> Counts:
        """Forget what was counted: the new counts, which go on counting."""
        self.counts = Counts()
        self.peak = self.live
        return self.counts

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The CPU as if there were no card: calls are not seen."""
        Card._stack.pop()
        for context in reversed(self._contexts):
            context.__exit__(None, None, None)
        try:
            yield
        finally:
            Card._stack.append(self)
            for context in self._contexts:
                context.__enter__()

    # --- tensors ----------------------------------------------------------------------------------

    def put(self, value: Any) -> Any:
        """CPU tensors, also inside lists and dicts, as the card's; not counted as uploads."""
        return pytree.tree_map(self._put, value)

    def _put(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or isinstance(value, CardTensor):
            return value
        if not self.values and value.device.type != "meta":
            value = torch.empty_strided(
                value.shape, value.stride(), dtype=value.dtype, device="meta"
            )
        made = CardTensor(value.detach())
        storage = value.untyped_storage()
        key = storage._cdata
        if not self._holders[key]:
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
        self._holders[key] += 1
        weakref.finalize(made, self._drop, key, storage.nbytes())
        return made

    def _drop(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self.live -= size

    # --- calls ------------------------------------------------------------------------------------

    def call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One operator, on the values beneath, held to the rules and counted."""
        name = func.name().split("::")[1].split(".")[0]
        flat, tree = pytree.tree_flatten((args, kwargs))
        ours = any(isinstance(x, CardTensor) for x in flat)
        device = kwargs.get("device")
        goes_up = device is not None and torch.device(device).type == "cuda"
        if not ours and not goes_up:
            kwargs.pop("pin_memory", None)
            return func(*args, **kwargs)
        if name not in _MOVES:
            self._refuse_mixing(func, name, flat)
        inner = [self._beneath(x, name) for x in flat]
        plain_args, plain_kwargs = pytree.tree_unflatten(inner, tree)
        plain_kwargs.pop("non_blocking", None)
        plain_kwargs.pop("pin_memory", None)
        if name in _MOVES and (result := self._moved(name, ours, args, kwargs, plain_args)):
            return result[0]
        masked = name.startswith(("index", "_index")) and any(map(_is_mask, flat[1:]))
        if name in ALWAYS_WAIT or masked:
            self.counts.wait("mask" if masked else name)
            if not self.values and name == "_local_scalar_dense" and inner[0].dtype == torch.bool:
                return True
            if not self.values:
                raise RuntimeError(f"{name} asks for a value, and there are none; {place()}")
        out = func(*plain_args, **plain_kwargs)
        if func._schema.returns and name not in VIEWS:
            self.counts.kernel(name, inner, plain_args, out)
        if func._schema.is_mutable:
            return _handed_back(func, args, kwargs, self.put(out))
        return self.put(out)

    def _beneath(self, x: Any, name: str) -> Any:
        if isinstance(x, CardTensor):
            return x.held
        if isinstance(x, torch.device) and x.type == "cuda":
            return torch.device("cpu" if self.values else "meta")
        if isinstance(x, torch.Tensor) and not self.values and name not in _MOVES:
            return x.to("meta")
        return x

    def _refuse_mixing(self, func: Any, name: str, flat: list[Any]) -> None:
        """Tensors of two devices; numbers in tensors of no axes may come from the CPU."""
        if not any(isinstance(x, CardTensor) for x in flat):
            return
        for x in flat:
            if isinstance(x, torch.Tensor) and not isinstance(x, CardTensor) and x.dim() > 0:
                if name.startswith(("index", "_index")) and not x.is_floating_point():
                    self.counts.upload(x, "index of the CPU", waits=False)
                    self.counts.wait("index of the CPU")
                    continue
                shape = tuple(x.shape)
                raise RuntimeError(
                    f"two devices: {func} on {CUDA} gets a tensor of the CPU, {shape}"
                )

    def _moved(
        self, name: str, ours: bool, args: Any, kwargs: dict[str, Any], plain: Any
    ) -> tuple[Any] | None:
        """Copies between the CPU and the card; None for those that stay on the card."""
        if name == "_to_copy":
            options = {k: v for k, v in kwargs.items() if k in ("dtype", "memory_format")}
            device = kwargs.get("device")
            down = ours and device is not None and torch.device(device).type == "cpu"
            waits = not kwargs.get("non_blocking", False)
            if not ours:
                self.counts.upload(args[0], "upload", waits)
                return (self.put(_aten._to_copy.default(args[0], **options).clone()),)
            if down:
                self.counts.download(args[0].held, waits)
                source = plain[0] if self.values else torch.zeros_like(plain[0], device="cpu")
                return (_aten._to_copy.default(source, **options).clone(),)
            return None
        into, source = args[0], args[1]
        if isinstance(into, CardTensor) == isinstance(source, CardTensor):
            return None
        if isinstance(into, CardTensor):
            self.counts.upload(source, "upload", waits=args[2:] != (True,))
        else:
            self.counts.download(source.held, waits=args[2:] != (True,))
        if self.values:
            plain[0].copy_(plain[1])
        elif not isinstance(into, CardTensor):
            into.zero_()
        return (into,)


def _is_mask(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype == torch.bool and x.dim() > 0


def _handed_back(func: Any, args: Any, kwargs: dict[str, Any], out: Any) -> Any:
    """What a call that writes into its arguments returns: these, not copies of their wrappers."""
    written = [
        kwargs.get(a.name, args[i] if i < len(args) else None)
        for i, a in enumerate(func._schema.arguments)
        if a.is_write
    ]
    if len(func._schema.returns) == 1 and len(written) == 1:
        return written[0]
    return tuple(written) if len(func._schema.returns) == len(written) else out


class _Dispatched(TorchDispatchMode):
    """Sees calls without a tensor of the card among their arguments."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return Card.current().call(func, args, kwargs or {})
