"""Windows for tests, asked for by keys of the config's section `input`."""

from __future__ import annotations

from typing import Any

from yuzu_cli.alphabet import Alphabet, parse_alphabet
from yuzu_cli.config_keys import InputConfig
from yuzu_cli.inputs import windows
from yuzu_cli.inputs.stream import WindowStream

DNA = parse_alphabet("ACGT")


def open_windows(alphabet: Alphabet = DNA, flank: int = 0, **keys: Any) -> WindowStream:
    """The stream of a FASTA, or of a BED and its genome."""
    return windows.open_windows(InputConfig(**keys), alphabet, flank)
