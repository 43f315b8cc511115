"""The output format, version 1, as one table, from which writer, reader, merge and docs go.

Only names, shapes, types and chunking. It opens no file and knows nothing of how a run goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FORMAT, FORMAT_VERSION = "yuzu", 1

#: A chunk of scores stays at or below this, so that reading one region decompresses little.
CHUNK_BYTES = 1 << 20
#: Rows smaller than this share a chunk: one chunk each would cost more in the index than in data.
SMALL_ROW_BYTES = 4 << 10
#: What several small rows fill together.
SHARED_CHUNK_BYTES = 64 << 10

#: Where work in progress lives, beside its output, and the file there that says whose it is.
UNFINISHED, MANIFEST = ".part", "manifest.json"

#: What `regions/status` can say of a row, bit by bit, and how people read it.
STATUS = {
    "has_unknown": "with unknown letters",
    "padded": "padded at a chromosome's end",
    "resized": "cropped or padded to length",
    "mended_by_naive": "mended by naive",
}
MENDED = 8

#: What `taylor.exact_top` adds to a file.
EXACT = "exact"

TEXT, SCORE = "text", "score"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset of the format.

    Attributes
    ----------
    path : str
        Where it stands in the file.
    axes : str
        Its axes in order: N region, T target, A letter, L window position, M mutated position.
    dtype : str
        A numpy type name, ``text`` (UTF-8), or ``score`` (float32 or float16, as asked).
    meaning : str
        For the docs.
    label : bool
        It only labels an axis (an HDF5 dimension scale); files of yuzu 0.1 lack it.
    part_of : str, optional
        What asks for it, where it is no score itself.
    """

    path: str
    axes: str
    dtype: str
    meaning: str
    label: bool = False
    part_of: str | None = None

    @property
    def saved_name(self) -> str | None:
        """Name in `score.save`, or `EXACT`, that asks for this; None when it is always there."""
        _, score, name = self.path.partition("scores/")
        return name if score else self.part_of

    @property
    def per_row(self) -> bool:
        """Whether the first axis is the regions."""
        return self.axes.startswith("N")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of the root group.

    `optional` ones are there only for a shard; those `added` are not in files of yuzu 0.1.
    """

    name: str
    dtype: str
    meaning: str
    optional: bool = False
    added: bool = False


def _table(text: str) -> Iterator[tuple[str, list[str]]]:
    """The mark and the cells of each line; one that is indented goes on with the line before."""
    for line in text.strip().replace("\n    ", " ").split("\n"):
        name = line.lstrip("~^+?")
        yield line[: len(line) - len(name)], name.split(" | ")


# Path, axes, type, meaning. `~` marks labels, `^` what belongs to `exact`.
_DATASETS = """
regions/chrom | N | text | chromosome, or the FASTA record
regions/name | N | text | name of the BED line or of the FASTA record
regions/start | N | int64 | first base of the window, 0-based, forward strand; FASTA: 0
regions/end | N | int64 | one past its last base, on the forward strand; FASTA: L
regions/strand | N | S1 | `+`, `-` or `.` (none given); sequence and scores run 5'→3' of this strand
regions/input_index | N | int64 | 0-based number of the record in the input; leads back from a row
    when others were dropped
regions/status | N | uint8 | bits: 1 has unknown letters, 2 padded at an edge, 4 cropped or padded
    to length, 8 naive computed some of its mutants, as the backend failed on them
sequences | N L | uint8 | index into `alphabet`; 255 is an unknown letter
targets | T | text | names of the targets; they label the T axis
~region | N | int64 | label of the N axis: `input_index` again
~letter | A | text | label of the A axis: the letters
~window | L | int32 | label of the L axis: 0 to L - 1
~position | M | int32 | label of the M axis: positions in the window
reference | N T | float32 | the model's output for the sequence itself, after reduce and transform
scores/delta | N T A M | score | mutant minus reference, at the letter mutated to; 0 at the letter
    that is there, NaN where the letter is unknown
scores/l2 | N A M | score | Euclidean norm of `delta` over the targets: the score of the Yuzu paper
scores/jsd | N A M | score | Jensen-Shannon distance (base 2) of the mutant's profile, the softmax
    over the targets, from the reference's
scores/contribution | N T M | score | minus the mean of `delta` over all A letters: importance of
    the letter that is there (TISM paper, eq. 5 and 8)
scores/centered | N T A M | score | `delta` minus its mean over A (TISM paper, eq. 4; hypothetical
    scores in TF-MoDISco)
scores/prediction | N T A M | score | the mutant's own output; the reference's at the letter that is
    there, NaN where the letter is unknown
scores/exact | N T A M | bool | with `taylor.exact_top`: the effects that were computed exactly; the
    others are estimates
^estimate/correlation | N T | float32 | with `taylor.exact_top`: of estimated and exact effects,
    over a random sample of the region's mutants; NaN where either does not vary
^estimate/max_error | N T | float32 | the same: the largest difference of an estimated effect from
    the exact one
"""

# Name, type, meaning. `+` marks those that files of yuzu 0.1 lack, `?` those of a shard.
_ATTRIBUTES = """
format | str | `yuzu`
format_version | int | 1
yuzu_version | str | version of this tool
torch_version | str | version of PyTorch
created | str | when the run was first started, ISO 8601, UTC
command | str | the command line that started it
config | str | every setting, as resolved, YAML
model_sha256 | str | of the model file, or of all of an ensemble, and of `.npy` extra inputs
input_sha256 | str | of the sequences or the regions with their genome
alphabet | str | the letters, in the order of the A axis
backend | str | the one that was used, never `auto`
device | str | what it ran on
precision | str | type the model computed in
mutate_start | int | first mutated position, 0-based in the window
mutate_end | int | one past the last; M is the difference
verify_max_abs_error | float | largest difference from naive over the mutants checked, in what was
    compared: deltas, norms, or the worse of both; NaN when none was
verify_max_rel_error | float | the same, relative to the largest effect; NaN likewise
+verify_delta_max_abs_error | float | that of `delta`, of which all scores but `l2` are made; NaN
    when only `l2` is saved
+verify_delta_max_rel_error | float | the same, relative to the largest effect
+verify_l2_max_abs_error | float | that of `l2`; NaN when it is not saved
+verify_l2_max_rel_error | float | the same, relative to the largest norm
n_regions | int | rows in this file, N
+n_mended | int | rows of which naive computed some mutants, as the backend failed on them or gave
    numbers that are not finite (`status` bit 8)
n_records | int | records in the whole input, dropped ones included
record_start | int | first input record this file answers for
record_stop | int | one past the last; a record without a row here was dropped
batch_size | int | input records per batch; 0 where merged shards differ in it
?shard_index | int | which shard this is, from 1
?shard_count | int | of how many
"""

DATASETS = tuple(
    Dataset(path, axes, dtype, meaning, mark == "~", EXACT if mark == "^" else None)
    for mark, (path, axes, dtype, meaning) in _table(_DATASETS)
)
ATTRIBUTES = tuple(
    Attribute(name, dtype, meaning, mark == "?", mark == "+")
    for mark, (name, dtype, meaning) in _table(_ATTRIBUTES)
)

#: The dataset that labels each axis.
LABELS = {"N": "region", "T": "targets", "A": "letter", "L": "window", "M": "position"}

#: The columns of `/regions`.
REGIONS = tuple(d.path.partition("/")[2] for d in DATASETS if d.path.startswith("regions/"))

SAVE_NAMES: tuple[str, ...] = tuple(
    d.saved_name for d in DATASETS if d.saved_name and d.saved_name != EXACT
)


def datasets_for(save: Sequence[str]) -> tuple[Dataset, ...]:
    """The datasets of a file that saves these scores, in the order of the table."""
    return tuple(d for d in DATASETS if d.saved_name is None or d.saved_name in save)


def row_shape(dataset: Dataset, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Shape of one row (axes after N), or of the whole dataset when it has no N axis."""
    return tuple(sizes[axis] for axis in dataset.axes.split() if axis != "N")


def numpy_dtype(dataset: Dataset, score_dtype: str) -> np.dtype:
    """Type on disk; text is ``object`` here, since numpy has no variable-length UTF-8."""
    if dataset.dtype == TEXT:
        return np.dtype(object)
    return np.dtype(score_dtype if dataset.dtype == SCORE else dataset.dtype)


def row_bytes(dataset: Dataset, sizes: Mapping[str, int], score_dtype: str) -> int:
    """Bytes of one row before compression; for text a guess of 32."""
    if dataset.dtype == TEXT:
        return 32
    shape = row_shape(dataset, sizes)
    return int(np.prod(shape, dtype=np.int64)) * numpy_dtype(dataset, score_dtype).itemsize


def chunk_rows(dataset: Dataset, sizes: Mapping[str, int], score_dtype: str) -> int:
    """Regions per chunk: 1, so that chunks move between files untouched; more if rows are small."""
    size = max(1, row_bytes(dataset, sizes, score_dtype))
    return 1 if size >= SMALL_ROW_BYTES else SHARED_CHUNK_BYTES // size


def row_is_chunks(dataset: Dataset, sizes: Mapping[str, int], score_dtype: str) -> bool:
    """Whether each row is one chunk or several of its own."""
    plain = dataset.dtype == TEXT or dataset.axes == "N"
    return not plain and chunk_rows(dataset, sizes, score_dtype) == 1


def chunk_shape(
    dataset: Dataset, sizes: Mapping[str, int], score_dtype: str, n: int
) -> tuple[int, ...]:
    """Shape of a chunk in a file of `n` >= 1 rows.

    One region and as many targets as stay near `CHUNK_BYTES`; evenly sized, so that the last chunk
    of a row is hardly padded.
    """
    rows = min(n, chunk_rows(dataset, sizes, score_dtype))
    shape = row_shape(dataset, sizes)
    size = row_bytes(dataset, sizes, score_dtype)
    if rows == 1 and shape and size > CHUNK_BYTES:
        most = max(1, CHUNK_BYTES * shape[0] // size)
        pieces = -(-shape[0] // most)
        shape = (-(-shape[0] // pieces), *shape[1:])
    return (rows, *shape)
