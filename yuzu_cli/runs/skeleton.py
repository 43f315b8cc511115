"""All of a result file but its rows, as an image in memory: made by HDF5, which so meets no disk.

Groups, types, attributes, labels and declared datasets; `hdf5_index` connects what lies beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

import h5py
import numpy as np

from yuzu_cli.results.schema import (
    LABELS,
    TEXT,
    Dataset,
    chunk_shape,
    datasets_for,
    numpy_dtype,
)
from yuzu_cli.runs.compression import Codec
from yuzu_cli.runs.hdf5_index import index_place
from yuzu_cli.runs.run_info import RunInfo

Layouts = Mapping[str, h5py.VirtualLayout]


def skeleton(
    info: RunInfo, n: int, linked: Layouts, checksums: Mapping[str, int], mended: int = 0
) -> tuple[bytearray, dict[str, int]]:
    """Of a file of `n` rows: the image, and where each dataset's address of its chunk index goes.

    `linked` are datasets whose rows are elsewhere, and where; `checksums` what is stated of the
    chunks of some; `mended` the number of rows of which naive computed some mutants.
    """
    with h5py.File(
        "image", "w", driver="core", backing_store=False, libver=("earliest", "v110")
    ) as file:
        for name, value in info.attributes(n, mended).items():
            file.attrs[name] = value
        made: dict[str, h5py.Dataset] = {}
        for dataset in sorted(datasets_for(info.save), key=lambda d: d.path not in LABELS.values()):
            data = made[dataset.path] = _declare(file, dataset, info, n, linked)
            if dataset.path in checksums:
                data.attrs["crc32"] = np.uint32(checksums[dataset.path])
        for axis, name in LABELS.items():
            made[name].make_scale(name)
            for dataset in datasets_for(info.save):
                if axis in dataset.axes.split() and dataset.path != name:
                    dims = made[dataset.path].dims
                    dims[dataset.axes.split().index(axis)].attach_scale(made[name])
        file.flush()
        image = bytearray(file.id.get_file_image())
        own = [d.path for d in info.row_datasets if n and d.path not in linked]
        return image, {path: index_place(image, made[path]) for path in own}


def _declare(
    file: h5py.File, dataset: Dataset, info: RunInfo, n: int, linked: Layouts
) -> h5py.Dataset:
    if not dataset.per_row:
        return file.create_dataset(dataset.path, data=_labels(dataset, info))
    dtype = numpy_dtype(dataset, info.dtype)
    if dataset.path in linked:
        fill = {"f": np.nan, "b": False}.get(dtype.kind, 255)
        return file.create_virtual_dataset(dataset.path, linked[dataset.path], fillvalue=fill)
    kind = h5py.string_dtype() if dataset.dtype == TEXT else dtype
    shape = info.shape_of(dataset, n)
    if not n:
        return file.create_dataset(dataset.path, shape, dtype=kind)
    options = {} if dataset.dtype == TEXT else Codec.parse(info.compression).create_options()
    chunks = chunk_shape(dataset, info.sizes, info.dtype, n)
    return file.create_dataset(dataset.path, shape, dtype=kind, chunks=chunks, **options)


def _labels(dataset: Dataset, info: RunInfo) -> np.ndarray:
    text = h5py.string_dtype()
    if dataset.path == "targets":
        return np.array(list(info.targets), text)
    if dataset.path == "letter":
        return np.array(list(info.alphabet), text)
    first = info.mutate_start if dataset.path == "position" else 0
    return np.arange(first, first + info.sizes[dataset.axes], dtype=dataset.dtype)
