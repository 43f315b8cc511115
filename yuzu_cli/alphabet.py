"""Letters and their codes: the one place that says which number a letter is.

A code is the letter's place in the alphabet, `UNKNOWN` (255) for anything else. Everything
downstream works on codes; this module may import numpy and nothing heavier.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from yuzu_cli.errors import UsageError

UNKNOWN = 255

_PAIRS = {"A": "T", "C": "G", "G": "C", "T": "A", "U": "A", "N": "N"}
_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ*-")


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The letters of a model, in the order of its channels.

    Attributes
    ----------
    letters : str
        Distinct upper-case letters, in model order.
    complement : ndarray, uint8, (256,), or None
        Code of the complementary letter for every code (unknown stays unknown); None unless the
        letters are A, C, G and T or U (and, if the model has a channel for it, N).
    """

    letters: str
    complement: np.ndarray | None = field(init=False, repr=False, compare=False)
    _codes: np.ndarray = field(init=False, repr=False, compare=False)
    _letters: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        nucleic = _is_nucleic(self.letters)
        object.__setattr__(self, "complement", self._complement_table() if nucleic else None)
        object.__setattr__(self, "_codes", self._code_table(nucleic))
        object.__setattr__(self, "_letters", self._letter_table(nucleic))

    @property
    def size(self) -> int:
        """Number of letters, A."""
        return len(self.letters)

    def encode(self, text: str | bytes) -> np.ndarray:
        """Codes of a sequence, uint8 (L,).

        Lower case counts as upper case. With a nucleic alphabet U is read as T, or T as U,
        whichever the alphabet has; with any other, U and T are letters like the rest. Every other
        character is `UNKNOWN`.
        """
        raw = text.encode("ascii", "replace") if isinstance(text, str) else text
        return self._codes[np.frombuffer(raw, dtype=np.uint8)]

    def decode(self, codes: np.ndarray) -> str:
        """Letters of uint8 codes (L,); unknown ones as N, or X when the alphabet is not nucleic."""
        return self._letters[np.asarray(codes, dtype=np.uint8)].tobytes().decode("ascii")

    def reverse_complement(self, codes: np.ndarray) -> np.ndarray:
        """Codes (..., L) of the other strand, 5'→3'.

        Raises
        ------
        UsageError
            When the alphabet has no complement.
        """
        if self.complement is None:
            raise UsageError(
                "model.alphabet",
                f"letters {self.letters} have no complement",
                "the reverse strand needs an alphabet of A, C, G and T or U",
            )
        return self.complement[codes[..., ::-1]]

    def _complement_table(self) -> np.ndarray:
        table = np.full(256, UNKNOWN, dtype=np.uint8)
        for code, letter in enumerate(self.letters):
            other = _PAIRS[letter]
            other = "U" if other == "T" and "U" in self.letters else other
            table[code] = self.letters.index(other)
        table.flags.writeable = False
        return table

    def _code_table(self, nucleic: bool) -> np.ndarray:
        table = np.full(256, UNKNOWN, dtype=np.uint8)
        for code, letter in enumerate(self.letters):
            spellings = {"T": "TU", "U": "UT"}.get(letter, letter) if nucleic else letter
            for spelling in spellings:
                table[ord(spelling)] = table[ord(spelling.lower())] = code
        table.flags.writeable = False
        return table

    def _letter_table(self, nucleic: bool) -> np.ndarray:
        table = np.full(256, ord("N" if nucleic else "X"), dtype=np.uint8)
        table[: self.size] = np.frombuffer(self.letters.encode("ascii"), dtype=np.uint8)
        table.flags.writeable = False
        return table


def _is_nucleic(letters: str) -> bool:
    return set(letters) - {"N"} in ({"A", "C", "G", "T"}, {"A", "C", "G", "U"})


def parse_alphabet(text: str) -> Alphabet:
    """The alphabet a user wrote: ``ACGT``, ``ACGU``, 20 amino acids, or any distinct letters.

    Lower case counts as upper case; `-` and `*` may be letters too.

    Raises
    ------
    UsageError
        For fewer than two letters, a letter given twice, or a character that is no letter.
    """
    letters = text.strip().upper()
    where = "model.alphabet"
    hint = "write the letters in the order of the model's channels, e.g. ACGT"
    if len(letters) < 2:
        raise UsageError(where, f"{text!r} has fewer than two letters", hint)
    for letter in letters:
        if letter not in _ALLOWED:
            raise UsageError(where, f"{letter!r} in {text!r} is not a letter", hint)
        if letters.count(letter) > 1:
            raise UsageError(where, f"letter {letter} is twice in {text!r}", hint)
    return Alphabet(letters)


def one_hot(codes: np.ndarray, size: int, unknown: float = 0.0) -> np.ndarray:
    """One-hot channels of codes, on the host: for tests and small things.

    Parameters
    ----------
    codes : ndarray, uint8, (..., L)
    size : int
        Letters of the alphabet, A.
    unknown : float
        Value of all channels of an unknown letter: 0, or 1/A for a uniform column.

    Returns
    -------
    ndarray, float32, (..., A, L)
    """
    table = np.full((256, size), unknown, dtype=np.float32)
    table[:size] = np.eye(size, dtype=np.float32)
    return np.ascontiguousarray(np.moveaxis(table[codes], -1, -2))
