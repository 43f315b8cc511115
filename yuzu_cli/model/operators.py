"""Which operators a model file may call: those that compute on tensors, and touch nothing else.

May not: call them.
"""

from __future__ import annotations

import re

import torch

_ATEN = re.compile(r"torch\.ops\.(aten|prims)\.(\w+)\.(\w+)")
_NESTED = re.compile(
    r"cond|while_loop|scan|map_impl|associative_scan|wrap_with_set_grad_enabled|"
    r"wrap_with_autocast"
)
_ON_NUMBERS = re.compile(
    r"getitem|add|sub|mul|floordiv|mod|pow|truediv|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|lshift|"
    r"rshift|not_|abs"
)
_ON_SIZES = re.compile(r"torch\.sym_(int|float|not|max|min|ite|sum|sqrt)|torch\._sym_\w+")
_ON_FLOATS = re.compile(r"math\.[a-z]\w*")
_TEXTS = re.compile(
    r"UPLO|approximate|assert_msg|driver|equation|indexing|interpolation|mode|norm|ord|p|"
    r"pad_mode|padding|padding_side|reduce|rounding_mode|side|api_name"
)


def is_known_operator(target: str) -> bool:
    """Whether a call in an exported program is arithmetic on tensors, sizes or numbers.

    Of ATen each operator that exists with that name: none runs anything, and the only ones that
    touch files, `from_file` and `save`, need a text that `takes_text` does not let through.
    """
    if match := _ATEN.fullmatch(target):
        space, name, overload = match.groups()
        packet = getattr(getattr(torch.ops, space), name, None)
        return isinstance(getattr(packet, overload, None), type(torch.ops.aten.add.Tensor))
    head, _, name = target.rpartition(".")
    if head == "torch.ops.higher_order":
        return bool(_NESTED.fullmatch(name))
    if head == "_operator":
        return bool(_ON_NUMBERS.fullmatch(name))
    return bool(_ON_SIZES.fullmatch(target) or _ON_FLOATS.fullmatch(target))


def takes_text(argument: str) -> bool:
    """Whether an operator's argument of this name is a text that only chooses or is shown."""
    return bool(_TEXTS.fullmatch(argument))
