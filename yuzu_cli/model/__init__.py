"""A user's model as one function: one-hot sequences (N, A, L) in, targets (N, T) out."""

from yuzu_cli.model.files import sha256_of
from yuzu_cli.model.layouts import LAYOUTS
from yuzu_cli.model.load import load_model
from yuzu_cli.model.wrap import Model

__all__ = ["LAYOUTS", "Model", "load_model", "sha256_of"]
