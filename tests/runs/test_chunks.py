"""Chunks compressed here are the chunks HDF5 itself reads, and would have written."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from yuzu_cli.errors import UsageError
from yuzu_cli.runs.compression import Codec, chunk_starts, cut

ARRAYS = {
    "float32": np.random.default_rng(0).normal(size=(3, 5, 4, 9)).astype("f4"),
    "float16": np.random.default_rng(1).normal(size=(3, 5, 4, 9)).astype("f2"),
    "uint8": np.random.default_rng(2).integers(0, 255, (3, 50)).astype("u1"),
    "int64": np.arange(40),
    "letters": np.array([b"+", b"-", b"."] * 9),
    "constant": np.zeros((2, 3000), "f4"),
    "noise": np.random.default_rng(4).normal(size=90_001).astype("f4"),
    "some noise": np.random.default_rng(5).normal(size=9000).astype("f2"),
}


@pytest.mark.parametrize("compression", ["gzip", "gzip:9", "lzf", "none"])
@pytest.mark.parametrize("name", list(ARRAYS))
def test_hdf5_reads_what_was_encoded(name: str, compression: str) -> None:
    array, codec = ARRAYS[name], Codec.parse(compression)
    chunk = tuple(max(1, size - 1) for size in array.shape)
    options = codec.create_options()
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        ours = file.create_dataset("ours", array.shape, array.dtype, chunks=chunk, **options)
        theirs = file.create_dataset("theirs", data=array, chunks=chunk, **options)
        starts = chunk_starts(array.shape, chunk)
        for start, block in zip(starts, cut(array, chunk), strict=True):
            ours.id.write_direct_chunk(start, *codec.encode(block))
        assert ours[()].tobytes() == array.tobytes()
        if compression in ("none", "gzip:9"):
            for start in chunk_starts(array.shape, chunk):
                assert len(ours.id.read_direct_chunk(start)[1]) == pytest.approx(
                    len(theirs.id.read_direct_chunk(start)[1]), abs=16
                )


@pytest.mark.parametrize("zeros", [0.0, 0.25, 0.99])
def test_the_default_packs_scores_no_worse_than_hdf5_would(zeros: float) -> None:
    rng = np.random.default_rng(3)
    scores = (rng.normal(size=(1, 8, 4, 1000)) * rng.lognormal(size=(1, 8, 1, 1))).astype("f4")
    scores[:, :, :, : int(zeros * 1000)] = 0
    data, _ = Codec.parse("gzip").encode(scores)
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        theirs = file.create_dataset("x", data=scores, chunks=scores.shape, **options)
        file.flush()
        assert len(data) <= 1.02 * theirs.id.get_storage_size() + 1000


@pytest.mark.parametrize("kind", ["f4", "f2"])
def test_noise_is_kept_as_it_is(kind: str) -> None:
    values = np.random.default_rng(6).normal(size=6000).astype(kind)
    assert len(Codec.parse("gzip").encode(values)[0]) < 0.88 * values.nbytes


def test_padding_is_zero_and_at_the_end() -> None:
    (padded,) = cut(np.ones((1, 2), "f4"), (1, 4))
    assert padded.tolist() == [[1, 1, 0, 0]]


@pytest.mark.parametrize("text", ["", "gzip:0", "gzip:10", "lzf:1", "zstd", "GZIP"])
def test_unknown_compressions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"output\.compression: .* is not a compression"):
        Codec.parse(text)
