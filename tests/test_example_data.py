"""The shipped example: whole, small, and as good as its README says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pyfaidx import Fasta

FOLDER = Path(__file__).parent.parent / "example_data"
SHIPPED = ["genome.fa.gz", "model.pt", "peaks.bed", "sequences.fa"]
LENGTH = 500
# Prefix in peaks.bed -> (output of the model, AUROC that the piece's own peaks must reach).
PROTEINS = {"BEAF": (0, 0.85), "CTCF": (1, 0.75), "Cp190": (2, 0.85), "SuHw": (3, 0.80)}
# The site that README.md shows: where in the window of this peak JASPAR's MA0533.1 matches best,
# and the part of it that every su(Hw) site has.
SHOWCASE, SITE, CORE = "SuHw_1", (254, 275), "GCATACTTT"


@pytest.fixture(scope="module")
def piece(tmp_path_factory):
    """The record's letters, upper case. Read from a copy: pyfaidx writes its index beside it."""
    copy = tmp_path_factory.mktemp("example") / "genome.fa.gz"
    copy.write_bytes((FOLDER / "genome.fa.gz").read_bytes())
    with Fasta(str(copy), sequence_always_upper=True) as fasta:
        assert list(fasta.keys()) == ["chr2R_piece"]
        return str(fasta["chr2R_piece"][:])


@pytest.fixture(scope="module")
def peaks():
    """(start, end, name) of every line."""
    rows = [line.split("\t") for line in (FOLDER / "peaks.bed").read_text().splitlines()]
    assert {(len(row), row[0], row[5]) for row in rows} == {(6, "chr2R_piece", ".")}
    return [(int(row[1]), int(row[2]), row[3]) for row in rows]


@pytest.fixture(scope="module")
def model():
    return torch.jit.load(FOLDER / "model.pt").eval()


def one_hot(windows):
    """float32 (N, 4, L) of equally long strings of ACGT."""
    letters = np.array([list(window) for window in windows])
    hot = torch.from_numpy((letters[:, None, :] == np.array(list("ACGT"))[:, None]).astype("f4"))
    assert (hot.sum(dim=1) == 1).all()
    return hot


def predict(model, windows):
    with torch.no_grad():
        return torch.cat([model(part) for part in one_hot(windows).split(64)])


def auroc(positive, negative):
    wins = (positive[:, None] > negative).sum() + 0.5 * (positive[:, None] == negative).sum()
    return wins.item() / (len(positive) * len(negative))


def middle(start, end):
    return (start + end) // 2


def test_files_are_those_whose_sums_are_committed():
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    told = {name: digest for digest, name in (line.split() for line in lines)}
    found = {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() for name in SHIPPED}
    assert found == told


def test_everything_is_under_one_megabyte():
    indexes = {".fai", ".gzi", ".pyc"}
    files = [path for path in FOLDER.rglob("*") if path.is_file() and path.suffix not in indexes]
    assert len(files) >= 9
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert (FOLDER / "model.pt").stat().st_size < 300_000


def test_model_gives_a_row_the_same_numbers_in_any_batch(model, piece):
    windows = [piece[at : at + LENGTH] for at in range(0, 16 * LENGTH, LENGTH)]
    whole = predict(model, windows)
    assert whole.shape == (16, 4)
    assert whole.std(dim=0).min() > 0.1
    alone = torch.cat([predict(model, [window]) for window in windows])
    torch.testing.assert_close(alone, whole, rtol=1e-5, atol=1e-5)


def test_model_file_names_no_machine_path():
    text = (FOLDER / "model.pt").read_bytes()
    assert b"debug_pkl" not in text
    assert not re.search(rb"/(home|work|opt|usr|tmp)/", text)


def test_peaks_and_their_windows_lie_in_the_piece(peaks, piece):
    assert len(piece) == 400_000
    assert len(peaks) == 82
    assert len({name for _, _, name in peaks}) == 82
    assert [start for start, _, _ in peaks] == sorted(start for start, _, _ in peaks)
    for start, end, name in peaks:
        left = middle(start, end) - LENGTH // 2
        assert 0 <= start < end <= len(piece), name
        assert 0 <= left <= len(piece) - LENGTH, name


@pytest.mark.parametrize("prefix", PROTEINS)
def test_model_tells_peaks_from_shifted_windows(prefix, model, peaks, piece):
    output, wanted = PROTEINS[prefix]
    own = [(start, end) for start, end, name in peaks if name.startswith(prefix + "_")]
    centres = [middle(*peak) for peak in own]
    shifted = [
        centre + by
        for centre in centres
        for by in (-20_000, -10_000, 10_000, 20_000)
        if LENGTH <= centre + by < len(piece) - LENGTH
        and all(end <= centre + by - 250 or start >= centre + by + 250 for start, end in own)
    ]
    assert len(shifted) > 2 * len(own)
    scores = [
        predict(model, [piece[at - LENGTH // 2 : at + LENGTH // 2] for at in places])[:, output]
        for places in (centres, shifted)
    ]
    assert auroc(*scores) > wanted


def test_sequences_are_windows_of_peaks(peaks, piece):
    by_name = {name: middle(start, end) - LENGTH // 2 for start, end, name in peaks}
    records = (FOLDER / "sequences.fa").read_text().split(">")[1:]
    assert len(records) == 20
    for record in records:
        header, *lines = record.splitlines()
        name, place = header.split()
        left = by_name[name]
        assert place == f"chr2R_piece:{left}-{left + LENGTH}"
        assert "".join(lines).upper() == piece[left : left + LENGTH]


def test_saturation_mutagenesis_shows_the_motif_at_the_showcase(model, peaks, piece):
    start, end = next((start, end) for start, end, name in peaks if name == SHOWCASE)
    left = middle(start, end) - LENGTH // 2
    window = piece[left : left + LENGTH]
    at = window.index(CORE)
    mutants = [
        window[:place] + letter + window[place + 1 :]
        for place in range(LENGTH)
        for letter in "ACGT"
    ]
    delta = predict(model, mutants)[:, 3] - predict(model, [window])[:, 3]
    importance = -delta.view(LENGTH, 4).mean(dim=1)
    top = importance.topk(len(CORE)).indices
    assert ((top >= SITE[0]) & (top < SITE[1])).all()
    assert (importance[at : at + len(CORE)] > 1).all()
    assert importance.abs().median() < 0.1


def test_example_config_is_valid_and_points_at_the_files():
    from yuzu_cli.config import load_config

    config = load_config(FOLDER / "example.yaml", {})
    assert list(config.model.path) == ["example_data/model.pt"]
    assert config.input.length == LENGTH
    for path in (*config.model.path, config.input.bed, config.input.genome):
        assert path
        assert (FOLDER.parent / path).is_file()
