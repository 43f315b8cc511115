"""Python calls whose bindings want a real card before any operator is called: done by operators.

A build of torch for CPUs has no guard for CUDA devices. Indexing, `contiguous`, `copy_` and a few
more ask for one in their Python bindings; the operators behind them do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from tests.support.pretended_card import CUDA, CardTensor

_aten = torch.ops.aten
Tensor = torch.Tensor


class Spelled(TorchFunctionMode):
    """Puts the operators in the place of these calls."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kwargs.pop("pin_memory", None)
        if func in _MAKING:
            return _make(func, *args, **kwargs)
        if func in _PINNING:
            return _PINNING[func](*args)
        instead = _OF_A_TENSOR.get(func)
        if instead is not None and any(isinstance(x, CardTensor) for x in args[:2]):
            return instead(*args, **kwargs)
        return func(*args, **kwargs)


def _make(func: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """torch.tensor and the like: made on the CPU, then uploaded."""
    if func is Tensor.new_tensor:
        kwargs = {"dtype": args[0].dtype, "device": args[0].device, **kwargs}
        func, args = torch.tensor, args[1:]
    device = kwargs.pop("device", None)
    if isinstance(args[0], CardTensor):
        return args[0].to(**{"device": device or CUDA, **kwargs})
    if device is None or torch.device(device).type != "cuda":
        return func(*args, **kwargs)
    return _aten._to_copy.default(func(*args, **kwargs), device=CUDA)


def _item(x: Tensor) -> Any:
    return _aten._local_scalar_dense.default(x)


def _contiguous(x: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    same = x.is_contiguous(memory_format=memory_format)
    return x if same else _aten.clone.default(x, memory_format=memory_format)


def _copy(into: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    _aten.copy_.default(into, source, non_blocking)
    return into


def _nonzero(x: Tensor, *, as_tuple: bool = False) -> Any:
    found = _aten.nonzero.default(x)
    return found.unbind(1) if as_tuple else found


def _getitem(x: Tensor, key: Any) -> Tensor:
    view, picks = _split(x, key)
    return _aten.index.Tensor(view, picks) if picks else view


def _setitem(x: Tensor, key: Any, value: Any) -> None:
    view, picks = _split(x, key)
    if not isinstance(value, Tensor):
        value = torch.full((), value, dtype=x.dtype, device=CUDA)
    if picks:
        _aten.index_put_.default(view, picks, value)
    else:
        _aten.copy_.default(view, value)


def _split(x: Tensor, key: Any) -> tuple[Tensor, list[Tensor | None]]:
    """The views that an index asks for, and its lists by axis of what they leave."""
    keys = list(key) if isinstance(key, tuple) else [key]
    keys = [torch.as_tensor(k) if isinstance(k, (list, np.ndarray)) else k for k in keys]
    rest = x.dim() - sum(_axes_of(k) for k in keys)
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * rest
    axis, picks = 0, list[Tensor | None]()
    for k in keys:
        if isinstance(k, Tensor) and k.dim() > 0:
            picks.append(k)
            axis += _axes_of(k)
        elif k is None or isinstance(k, slice):
            if k is None:
                x = x.unsqueeze(axis)
            elif k != slice(None):
                x = _aten.slice.Tensor(x, axis, k.start, k.stop, 1 if k.step is None else k.step)
            picks.append(None)
            axis += 1
        else:
            x = x.select(axis, int(k))
    return x, picks if any(p is not None for p in picks) else []


def _axes_of(key: Any) -> int:
    """How many axes of the tensor a part of an index takes."""
    if key is None or key is Ellipsis:
        return 0
    if isinstance(key, Tensor) and key.dtype in (torch.bool, torch.uint8):
        return key.dim()
    return 1


_MAKING = {torch.tensor, torch.as_tensor, Tensor.new_tensor}
# Pinned memory is memory of the CPU here.
_PINNING: dict[Any, Callable[..., Any]] = {
    Tensor.pin_memory: lambda x, *rest: x,
    Tensor.is_pinned: lambda x, *rest: not isinstance(x, CardTensor),
}
_OF_A_TENSOR: dict[Any, Callable[..., Any]] = {
    Tensor.__getitem__: _getitem,
    Tensor.__setitem__: _setitem,
    Tensor.contiguous: _contiguous,
    Tensor.copy_: _copy,
    Tensor.nonzero: _nonzero,
    torch.nonzero: _nonzero,
    Tensor.__invert__: _aten.bitwise_not.default,
    Tensor.item: _item,
    Tensor.__float__: lambda x: float(_item(x)),
    Tensor.__int__: lambda x: int(_item(x)),
    Tensor.__index__: lambda x: int(_item(x)),
    Tensor.__bool__: lambda x: bool(_item(x)),
    # A graph for autograd wants a real card too: nothing here requires a gradient.
    Tensor.requires_grad_: lambda x, *rest: x,
    Tensor.tolist: lambda x: x.cpu().tolist(),
}
