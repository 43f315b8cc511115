"""Letters, codes, complements and one-hot columns."""

from __future__ import annotations

import numpy as np
import pytest

from yuzu_cli.alphabet import UNKNOWN, one_hot, parse_alphabet
from yuzu_cli.errors import UsageError

AMINO = "ACDEFGHIKLMNPQRSTVWY"


@pytest.mark.parametrize(
    ("letters", "text", "codes"),
    [
        pytest.param("ACGT", "ACGT", [0, 1, 2, 3], id="order"),
        pytest.param("TGCA", "ACGT", [3, 2, 1, 0], id="model-order"),
        pytest.param("acgt", "acgt", [0, 1, 2, 3], id="lower-case"),
        pytest.param("ACGT", "NRY-*.", [255] * 6, id="iupac-and-gaps"),
        pytest.param("ACGT", "UuTt", [3, 3, 3, 3], id="u-as-t"),
        pytest.param("ACGU", "UuTt", [3, 3, 3, 3], id="t-as-u"),
        pytest.param("ACGTN", "ANnR", [0, 4, 4, 255], id="n-is-a-letter"),
        pytest.param(AMINO, "UTXB", [255, 16, 255, 255], id="protein-u-is-no-t"),
        pytest.param("ACGT", "AéC", [0, 255, 1], id="not-ascii"),
        pytest.param("ACGT", b"GA", [2, 0], id="bytes"),
        pytest.param("ACGT", "", [], id="empty"),
    ],
)
def test_encode(letters: str, text: str | bytes, codes: list[int]) -> None:
    got = parse_alphabet(letters).encode(text)
    assert got.dtype == np.uint8
    assert got.flags.writeable
    assert got.tolist() == codes


@pytest.mark.parametrize(
    ("letters", "text", "expected"),
    [
        pytest.param("ACGT", "AACGTN", "NACGTT", id="dna"),
        pytest.param("TGAC", "AACGTN", "NACGTT", id="other-order"),
        pytest.param("ACGU", "AACGUN", "NACGUU", id="rna"),
        pytest.param("ACGTN", "AACGTN", "NACGTT", id="n-is-a-letter"),
    ],
)
def test_reverse_complement(letters: str, text: str, expected: str) -> None:
    alphabet = parse_alphabet(letters)
    codes = np.stack([alphabet.encode(text)] * 2)
    for row in alphabet.reverse_complement(codes):
        assert alphabet.decode(row) == expected
    assert alphabet.complement is not None
    assert alphabet.complement[UNKNOWN] == UNKNOWN


@pytest.mark.parametrize("letters", [AMINO, "ACG", "AT", "ACGTU"])
def test_no_complement(letters: str) -> None:
    alphabet = parse_alphabet(letters)
    assert alphabet.complement is None
    with pytest.raises(UsageError, match="have no complement"):
        alphabet.reverse_complement(alphabet.encode("A"))
    assert alphabet.decode(np.array([0, UNKNOWN])) == "AX"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("A", "fewer than two letters", id="one"),
        pytest.param("", "fewer than two letters", id="none"),
        pytest.param("ACGA", "letter A is twice", id="twice"),
        pytest.param("ACGTa", "letter A is twice", id="twice-by-case"),
        pytest.param("AC GT", "' ' in 'AC GT' is not a letter", id="space"),
        pytest.param("ACG7", "'7' in 'ACG7' is not a letter", id="digit"),
    ],
)
def test_bad_alphabets(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=r"^model\.alphabet: ") as caught:
        parse_alphabet(text)
    assert message in str(caught.value)


def test_alphabets_compare_by_letters() -> None:
    assert parse_alphabet("acgt") == parse_alphabet("ACGT") != parse_alphabet("ACGU")
    assert parse_alphabet("ACGT").size == 4


@pytest.mark.parametrize("unknown", [0.0, 0.25])
def test_one_hot(unknown: float) -> None:
    codes = np.array([[0, 3, UNKNOWN], [1, 1, 2]], dtype=np.uint8)
    got = one_hot(codes, 4, unknown)
    assert got.dtype == np.float32
    assert got.shape == (2, 4, 3)
    expected = np.zeros((2, 4, 3), dtype=np.float32)
    expected[0, 0, 0] = expected[0, 3, 1] = 1
    expected[0, :, 2] = unknown
    expected[1, 1, 0] = expected[1, 1, 1] = expected[1, 2, 2] = 1
    np.testing.assert_array_equal(got, expected)
