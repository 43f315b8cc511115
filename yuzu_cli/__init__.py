"""Exact in-silico saturation mutagenesis of sequence models, fast, from one command line."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yuzu_cli.api import AttributionGroups, Attributions, attribute, open_result

__all__ = ["AttributionGroups", "Attributions", "__version__", "attribute", "open_result"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The door for notebooks, loaded when it is used: `import yuzu_cli` itself loads nothing."""
    if name in __all__:
        return getattr(import_module("yuzu_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
