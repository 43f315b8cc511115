"""The ways a model may want its sequences: order of the axes, and dummy axes.

May not: load or judge a model.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "NCL": lambda x: x,
    "NLC": lambda x: x.transpose(1, 2).contiguous(),
    "NCL1": lambda x: x.unsqueeze(3),
    "NC1L": lambda x: x.unsqueeze(2),
    "N1LC": lambda x: x.transpose(1, 2).contiguous().unsqueeze(1),
    "N1CL": lambda x: x.unsqueeze(1),
}
"""Name -> function of x (N, A, L). `auto` takes the first that runs, in this order."""

CHANNELS_LAST = ("NLC", "N1LC")
