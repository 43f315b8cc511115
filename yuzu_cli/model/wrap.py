"""`Model`: a loaded file with its layout, extra inputs, outputs and targets decided.

`forward` is plain tensor code without decisions that depend on data, so that it can be captured as
one graph. May not: read files or probe; see `yuzu_cli.model.load`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from yuzu_cli.model.files import LoadedFile
from yuzu_cli.model.heads import Head, outputs_of
from yuzu_cli.model.layouts import LAYOUTS
from yuzu_cli.model.lift import each, lifted
from yuzu_cli.model.weights import cast


@dataclass(frozen=True, slots=True, eq=False)
class Extra:
    """A further input, the same for every mutant.

    Attributes
    ----------
    slot : int
        Its position among all inputs of the model.
    value : Tensor or a Python number
    expand : bool
        `value` has a batch axis of size 1, to be expanded to the batch; else it is passed as it is.
    """

    slot: int
    value: torch.Tensor | float | int | bool
    expand: bool

    def for_batch(self, rows: int) -> torch.Tensor | float | int | bool:
        """What to pass for a batch of `rows` sequences."""
        if self.expand and isinstance(self.value, torch.Tensor):
            return self.value.expand(rows, *self.value.shape[1:])
        return self.value

    def in_double(self) -> Extra:
        """The same in float64, where it is an array of fractions."""
        if isinstance(self.value, torch.Tensor) and self.value.is_floating_point():
            return replace(self, value=self.value.double())
        return self


class Model(torch.nn.Module):
    """One-hot sequences (N, A, L) in, targets (N, T) out, float32.

    Attributes
    ----------
    path, sha256 : str
        The file, and the hash of its bytes.
    kind : str
        "torchscript" or "exported".
    layout : str
        The axes the model wants, one of `LAYOUTS`.
    length, alphabet_size : int
        L and A.
    device, dtype
        Where it computes, and in which type; x must have both.
    target_names : list of str
        One per target, T in all.
    outputs : list of str
        What the file returns, for messages: `0: profile (2, 1000)`.
    lifted : bool
        The file takes one sequence, and is run for many by `yuzu_cli.model.lift`.
    batch_range : tuple of (int, int or None)
        Batches the file itself can take. Others are run in pieces, or filled up by repeated rows.
    """

    def __init__(self, file: LoadedFile, layout: str, slot: int, extras: Sequence[Extra]) -> None:
        super().__init__()
        self.module = file.module
        self.kind = file.kind
        self.layout = layout
        self.extras = tuple(extras)
        self.slot = slot
        self.batch_range: tuple[int, int | None] = file.batch[slot]
        self.works_in_place = False
        self.lifted = False
        self.chosen: tuple[int, ...] = (0,)
        self.heads: tuple[Head, ...] = ()
        self.target_index: torch.Tensor | None = None
        self.target_names: list[str] = []
        self.outputs: list[str] = []
        self.path = self.sha256 = ""
        self.length = self.alphabet_size = 0
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def in_double(self) -> Model:
        """The same model computing in float64; a file that fixes float32 inside fails when called.

        Its weights are copied, so this one stays as it is.
        """
        twin = copy.copy(self)
        twin.__dict__ = {k: v for k, v in self.__dict__.items() if k != "_understood"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of itself where it copies an exported one
            module = cast(copy.deepcopy(self.module), torch.float64)
        twin._modules = {**self._modules, "module": module}
        twin.extras = tuple(extra.in_double() for extra in self.extras)
        twin.dtype = torch.float64
        return twin

    @property
    def n_targets(self) -> int:
        """T."""
        return len(self.target_names)

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size the file can take, when there is only one."""
        low, high = self.batch_range
        return low if low == high else None

    def call(self, x: torch.Tensor) -> object:
        """What the file's own forward returns for x (N, A, L), whatever that is."""
        arguments: dict[int, object] = {e.slot: e.for_batch(x.shape[0]) for e in self.extras}
        arguments[self.slot] = LAYOUTS[self.layout](x.clone() if self.works_in_place else x)
        return self.module(*(arguments[i] for i in sorted(arguments)))

    def raw(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The chosen outputs, before reduce and transform, for any number of rows."""
        low, high = self.batch_range
        rows = x.shape[0]
        if low <= rows and (high is None or rows <= high):
            return self._chosen(x)
        step = low if high is None else high
        pieces = []
        for start in range(0, rows, step):
            piece = x[start : start + step]
            missing = low - piece.shape[0]
            if missing > 0:
                piece = torch.cat([piece, piece[-1:].expand(missing, *piece.shape[1:])])
            pieces.append(self._chosen(piece))
        return [torch.cat(parts)[:rows] for parts in zip(*pieces, strict=True)]

    def lift(self) -> None:
        """Run a file that takes one sequence for any number of them at once."""
        self.module, self.batch_range, self.lifted = lifted(self.module), (1, None), True

    def _chosen(self, x: torch.Tensor) -> list[torch.Tensor]:
        return each(self._outputs, x) if self.lifted else self._outputs(x)

    def _outputs(self, x: torch.Tensor) -> list[torch.Tensor]:
        tensors = outputs_of(self.call(x), self.path)
        return [tensors[i][1] for i in self.chosen]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Targets of sequences.

        Parameters
        ----------
        x : Tensor, (N, A, L)
            One-hot, in the model's dtype, on its device.

        Returns
        -------
        Tensor, float32, (N, T)
        """
        values = self.raw(x)
        table = [head.apply(value) for head, value in zip(self.heads, values, strict=True)]
        targets = table[0] if len(table) == 1 else torch.cat(table, 1)
        if self.target_index is not None:
            targets = targets.index_select(1, self.target_index)
        return targets
