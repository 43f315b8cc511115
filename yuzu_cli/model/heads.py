"""From what a model returns to the (N, T) table of targets: output, reduce, transform, names.

Only plain tensor operations, so that a model with its heads can be captured as one graph.
May not: run the model or touch files.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from yuzu_cli.errors import ModelError, UsageError


@dataclass(frozen=True, slots=True)
class Head:
    """How one output of the model becomes columns of the table of targets.

    Attributes
    ----------
    key : str, int or None
        Name or number of the output; None when the model returns one tensor.
    shape : tuple of int
        Its axes after the batch axis.
    position : int or None
        Which of those axes is position; None when the output has none.
    reduce, transform : str
        As in the config.
    index : int
        Position that `reduce: index` takes.
    """

    key: str | int | None
    shape: tuple[int, ...]
    position: int | None
    reduce: str = "none"
    transform: str = "none"
    index: int = 0

    @property
    def kept(self) -> tuple[int, ...]:
        """Axes left after the reduction, the batch axis aside."""
        if self.reduce == "none" or self.position is None:
            return self.shape
        if self.reduce == "profile":
            return ()
        return self.shape[: self.position] + self.shape[self.position + 1 :]

    def names(self) -> list[str]:
        """Target names: `3`, `0,517`; of several outputs `counts` or `profile[0,517]`."""
        inside = [",".join(map(str, i)) for i in itertools.product(*map(range, self.kept))]
        if self.key is None:
            return [text or "0" for text in inside]
        if inside == ["0"] and isinstance(self.key, str):
            return [self.key]  # a number alone would pass for a place among the targets
        return [f"{self.key}[{text}]" if text else str(self.key) for text in inside]

    def apply(self, value: torch.Tensor) -> torch.Tensor:
        """(N, *shape) -> (N, number of names)."""
        if value.dtype not in (torch.float32, torch.float64):
            value = value.to(torch.float32)
        value = self._transform(self._reduce(value))
        return value.reshape(value.shape[0], -1)

    def _reduce(self, value: torch.Tensor) -> torch.Tensor:
        if self.reduce == "none" or self.position is None:
            return value
        if self.reduce == "profile":
            return profile_score(value)
        axis = self.position + 1
        if self.reduce == "sum":
            return value.sum(axis)
        if self.reduce == "mean":
            return value.mean(axis)
        if self.reduce == "max":
            return value.amax(axis)
        at = self.shape[self.position] // 2 if self.reduce == "center" else self.index
        return value.select(axis, at)

    def _transform(self, value: torch.Tensor) -> torch.Tensor:
        if self.transform == "log":
            return torch.log(value)
        if self.transform == "log1p":
            return torch.log1p(value)
        if self.transform == "logit":
            return torch.log(value) - torch.log1p(-value)
        if self.transform == "softmax":
            if self.reduce == "none" and self.position is not None:
                return torch.softmax(value, self.position + 1)
            return torch.softmax(value.reshape(value.shape[0], -1), 1)
        return value


def profile_score(logits: torch.Tensor) -> torch.Tensor:
    """A profile (N, ...) as one number (N,), as BPNet and ChromBPNet attribute it.

    Its logits less their mean, weighted by their softmax: all strands and positions of the output
    are one distribution, as in the loss of these models.
    """
    logits = logits.flatten(1)
    centred = logits - logits.mean(1, keepdim=True)
    return (torch.softmax(centred, 1) * centred).sum(1)


def listed(tensors: Sequence[tuple[str | int | None, torch.Tensor]]) -> list[str]:
    """What a model returns, as [`0: profile (2, 1000)`, `1: counts (1)`]."""
    parts = []
    for number, (key, tensor) in enumerate(tensors):
        name = f" {key}" if isinstance(key, str) else ""
        parts.append(f"{number}:{name} ({', '.join(map(str, tensor.shape[1:]))})")
    return parts


def named(names: str | Sequence[str], numbered: list[str]) -> list[str]:
    """Names for the targets: those given, or the numbers they have without.

    Parameters
    ----------
    names : str or sequence of str
        Names, or a text file with one a line; empty for the numbers.
    numbered : list of str
        What the targets are called otherwise.

    Raises
    ------
    UsageError
        The file cannot be read, a name is given twice, or there is not one for each target.
    """
    where = "model.target_names"
    if isinstance(names, str) and names:
        try:
            lines = Path(names).read_text(encoding="utf-8-sig").rstrip().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is no UTF-8 text"
            raise UsageError(where, f"{names}: {reason}") from None
        where, names = f"{where}: {names}", [line.strip() for line in lines]
    if not names:
        return numbered
    if len(names) != len(numbered):
        what = f"{len(names)} names for {len(numbered)} targets"
        raise UsageError(where, what, "give one for each target the model has after reduce")
    odd = next((name for name in names if not name.isprintable() or not name.strip()), None)
    if odd is not None:
        raise UsageError(where, f"{odd!r} is no name", "tabs and empty lines would break tables")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        what = f"{twice[0]!r} stands there twice"
        raise UsageError(where, what, "targets are found by their names")
    return list(names)


def outputs_of(value: object, where: str) -> list[tuple[str | int | None, torch.Tensor]]:
    """The outputs of a model by key: None for a bare tensor, else position or name.

    Raises
    ------
    ModelError
        The model returns something nested, or something that is not a tensor.
    """
    if isinstance(value, torch.Tensor):
        return [(None, value)]
    pairs: list[tuple[str | int | None, object]]
    if isinstance(value, dict):
        pairs = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, (tuple, list)):
        names = getattr(value, "_fields", None) or range(len(value))
        pairs = list(zip(names, value, strict=True))
    else:
        raise ModelError(where, f"returns {type(value).__name__}", "return a tensor, tuple or dict")
    tensors: list[tuple[str | int | None, torch.Tensor]] = []
    for key, item in pairs:
        if not isinstance(item, torch.Tensor):
            what = f"output {key} is {type(item).__name__}, not a tensor"
            raise ModelError(where, what, "return tensors, not nested collections")
        tensors.append((key, item))
    if not tensors:
        raise ModelError(where, "returns nothing")
    return tensors


def choose(
    tensors: Sequence[tuple[str | int | None, torch.Tensor]], output: int | str
) -> list[int]:
    """Which outputs `model.output` asks for, as numbers in order.

    Raises
    ------
    UsageError
        There is no such output.
    """
    if output == "all":
        return list(range(len(tensors)))
    keys = [key for key, _ in tensors]
    if isinstance(output, str) and output in keys:
        return [keys.index(output)]
    number = int(output) if str(output).lstrip("-").isdigit() else None
    if number is not None and 0 <= number < len(tensors):
        return [number]
    named = ", ".join(str(k) for k in keys if isinstance(k, str))
    hint = f"it returns {len(tensors)} output{'s' * (len(tensors) > 1)}"
    raise UsageError("model.output", f"no output {output}", f"{hint}: {named}" if named else hint)
