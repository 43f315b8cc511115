"""Sequences that a notebook holds: text, codes or one-hot arrays, as letters.

May not: import torch; a tensor is known by what it can do.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from yuzu_cli.alphabet import UNKNOWN, Alphabet
from yuzu_cli.errors import InputError, UsageError

HINT = "give text, codes (N, L) or one-hot (N, A, L), or a list of any of them"


def named_sequences(given: Any, alphabet: Alphabet) -> dict[str, str]:
    """Name to letters, in order.

    Parameters
    ----------
    given : sequence or mapping of name to sequence, or array or tensor
        A sequence is text, codes (L,) or one-hot (A, L); arrays of several are (N, L) whole numbers
        or (N, A, L).
    alphabet : Alphabet

    Raises
    ------
    UsageError
        Something is none of these; the message names it and says what it is.
    InputError
        There are none.
    """
    given = _array(given)
    if isinstance(given, np.ndarray):
        given = _rows(given, alphabet)
    if not isinstance(given, Iterable):
        raise UsageError("sequences", f"{reprlib.repr(given)} holds none", HINT)
    if isinstance(given, Mapping):
        items = [(str(name), item) for name, item in given.items()]
    else:
        items = [(f"sequence_{i}", item) for i, item in enumerate(given)]
    if not items:
        raise InputError("sequences", "there are none", "give at least one")
    return {name: _letters(f"sequences[{name}]", _array(item), alphabet) for name, item in items}


def _array(value: Any) -> Any:
    """A tensor as an array, on the host; other things as they are."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _rows(given: np.ndarray, alphabet: Alphabet) -> list[Any]:
    """The sequences of one array."""
    if given.ndim == 2 and given.dtype.kind in "fb":
        return [given]  # one-hot
    one_each = given.ndim == 2 and (given >= 0).all() and (given.sum(0) == 1).all()
    if one_each and len(given) == alphabet.size and given.shape[1] > 1:
        what = f"an array of shape {given.shape} may be one-hot, or codes of {len(given)}"
        raise UsageError("sequences", what, "give [array] for one-hot, list(array) for codes")
    if given.ndim in (2, 3):
        return list(given)
    if given.ndim == 1 and given.dtype.kind in "US":
        return [str(text) for text in given.astype("U")]
    if given.ndim == 1 and given.dtype.kind in "iu":
        return [given]
    raise UsageError("sequences", f"an array of shape {given.shape}", HINT)


def _letters(where: str, item: Any, alphabet: Alphabet) -> str:
    """The letters of one sequence on one line, so that they cannot make a record of their own."""
    if isinstance(item, np.ndarray):
        return alphabet.decode(_codes(where, item, alphabet.size))
    if not isinstance(item, str) or not item.strip():
        raise UsageError(where, f"{reprlib.repr(item)} is not text with letters", HINT)
    letters = "".join(item.split())
    if wrong := re.search(r"[^A-Za-z*.-]", letters):
        hint = "give the letters alone, or the path of a FASTA"
        raise UsageError(where, f"{wrong[0]!r} is not a letter", hint)
    return letters


def _codes(where: str, array: np.ndarray, size: int) -> np.ndarray:
    """Codes uint8 (L,) of codes or of a one-hot array; 255 where no letter is meant."""
    if not array.size:
        raise UsageError(where, f"an array of shape {array.shape} holds no letters", HINT)
    if array.ndim == 1 and array.dtype.kind in "iu":
        known = (array >= 0) & (array < size)
        if not (known | (array == UNKNOWN) | (array == -1)).all():
            what = f"code {array[~known].max()} is no letter"
            raise UsageError(where, what, f"codes are 0 to {size - 1}; 255 or -1 is unknown")
        return np.where(known, array, UNKNOWN).astype(np.uint8)
    if array.ndim != 2 or array.dtype.kind not in "iufb":
        what = f"an array of shape {array.shape} and type {array.dtype}"
        raise UsageError(where, what, HINT)
    if array.shape[0] != size:
        hint = "letters come before positions" if array.shape[1] == size else HINT
        what = f"one-hot of shape {array.shape}, and the model has {size} letters"
        raise UsageError(where, what, hint)
    table = array.astype(np.float64)
    uniform = np.isclose(table, table[:1]).all(0)  # all zero, or 1/A each
    if not (((table == 0) | (table == 1)).all(0) & (table.sum(0) == 1) | uniform).all():
        raise UsageError(where, "is not one-hot", "each position has one 1, or is unknown: all 0")
    return np.where(uniform, UNKNOWN, table.argmax(0)).astype(np.uint8)
