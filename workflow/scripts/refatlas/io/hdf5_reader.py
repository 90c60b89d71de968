"""One-dimensional HDF5 arrays, read without the HDF5 library, which serves one thread at a time.

Bytes are read from the file itself, and several chunks are decompressed at once.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h5py
import numpy as np
from isal import isal_zlib

from refatlas.errors import InputError

N_THREADS = min(2, os.cpu_count() or 1)
# Fewer chunks are decompressed by the calling thread: starting others takes as long.
FEW = 32

RangeReader = Callable[[int, int], np.ndarray]

# Filters that HDF5 does not bring along, by their registered numbers.
FILTER_NAMES = {
    **{305: "lzo", 307: "bzip2", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp"},
    **{32015: "zstd", 32017: "sz", 32026: "blosc2"},
}


def require_filters(group: Any, path: str, names: tuple[str, ...]) -> None:
    """Raise an InputError if arrays of a file are compressed by a filter that is not installed.

    Args:
        group: of h5py; any other is passed over.
        path: of the file, for the message.
        names: of the groups and arrays to look at.
    """
    for name in names if isinstance(group, h5py.Group) else ():
        found = _missing_filter(group[name]) if name in group else None
        if found is not None:
            raise InputError(
                f"{path}: {found[0]} is compressed by {found[1]}, which HDF5 does not read by itself; install the"
                " Python package hdf5plugin, or write the file with compression gzip"
            )


def _missing_filter(element: Any) -> tuple[str, str] | None:
    """Return an array that cannot be read, and the name of its filter."""

    def missing(name: str, stored: Any) -> tuple[str, str] | None:
        if not isinstance(stored, h5py.Dataset):
            return None
        properties = stored.id.get_create_plist()
        for i in range(properties.get_nfilters()):
            code, _, _, written = properties.get_filter(i)
            if not h5py.h5z.filter_avail(code):
                own = written.decode("utf-8", "replace") or "unknown"
                return str(stored.name), FILTER_NAMES.get(code, f"{own} (HDF5 filter {code})")
        return None

    return missing("", element) if isinstance(element, h5py.Dataset) else element.visititems(missing)


def range_reader(array: Any) -> RangeReader:
    """Return a function of (first, last) that returns these values of an array.

    It reads without the HDF5 library where the array's storage allows it, and otherwise as the
    array itself does.

    Args:
        array: of h5py, zarr or numpy, one-dimensional.
    """
    if _is_plain(array):
        if array.chunks is None and array.id.get_offset() is not None:
            return _contiguous(array)
        filters = _filters(array)
        if array.chunks is not None and filters is not None:
            chunks = _chunk_table(array)
            if chunks is not None:
                return _chunked(array, chunks, "shuffle" in filters, "gzip" in filters)
    return lambda first, last: np.asarray(array[first:last])


def _is_plain(array: Any) -> bool:
    """Return whether an array is numbers of native byte order in one file without a user block."""
    if not isinstance(array, h5py.Dataset) or array.ndim != 1 or not len(array):
        return False
    file = array.file
    return (
        array.dtype.kind in "iuf"
        and array.dtype.isnative
        and not array.is_virtual
        and not array.external
        and file.driver == "sec2"
        and file.userblock_size == 0
    )


def _filters(array: h5py.Dataset) -> set[str] | None:
    """Return which of shuffle and gzip an array's chunks have; None if they have another filter."""
    names = {h5py.h5z.FILTER_SHUFFLE: "shuffle", h5py.h5z.FILTER_DEFLATE: "gzip"}
    properties = array.id.get_create_plist()
    found = [names.get(properties.get_filter(i)[0], "other") for i in range(properties.get_nfilters())]
    return set(found) if found in ([], ["gzip"], ["shuffle"], ["shuffle", "gzip"]) else None


def _chunk_table(array: h5py.Dataset) -> np.ndarray | None:
    """Return offset and length in the file of each chunk, shape (n_chunks, 2).

    None if a chunk was never written or has skipped a filter.
    """
    n_chunks = -(-len(array) // array.chunks[0])
    table, masked = np.zeros((n_chunks, 2), dtype=np.int64), []

    def note(chunk: Any) -> None:
        table[chunk.chunk_offset[0] // array.chunks[0]] = chunk.byte_offset, chunk.size
        if chunk.filter_mask:
            masked.append(chunk)

    array.id.chunk_iter(note)
    return None if masked or (table[:, 1] == 0).any() else table


def _read_at(descriptor: int, into: np.ndarray, offset: int) -> None:
    """Fill an array with the bytes of a file from `offset` on."""
    view, done = memoryview(into).cast("B"), 0
    while done < len(view):
        n = os.preadv(descriptor, [view[done:]], offset + done)
        if n == 0:
            raise OSError(f"the file ends {len(view) - done} bytes early")
        done += n


def _contiguous(array: h5py.Dataset) -> RangeReader:
    offset, dtype, file = array.id.get_offset(), array.dtype, array.file

    def read(first: int, last: int) -> np.ndarray:
        values = np.empty(last - first, dtype=dtype)
        _read_at(file.id.get_vfd_handle(), values, offset + int(first) * dtype.itemsize)
        return values

    return read


def _unshuffled(content: np.ndarray, dtype: np.dtype, length: int) -> np.ndarray:
    """Return shuffled values, stored as all first bytes, then all second bytes, and so on."""
    values = np.empty((length, dtype.itemsize), dtype=np.uint8)
    # Byte by byte: a transposed copy takes more than twice as long.
    for place, part in enumerate(content.reshape(dtype.itemsize, length)):
        values[:, place] = part
    return values.view(dtype).reshape(-1)


def _chunked(array: h5py.Dataset, table: np.ndarray, shuffled: bool, compressed: bool) -> RangeReader:
    length, dtype, file = array.chunks[0], array.dtype, array.file
    n_bytes = length * dtype.itemsize

    def decompressed(descriptor: int, chunk: int) -> np.ndarray:
        raw = np.empty(table[chunk, 1], dtype=np.uint8)
        _read_at(descriptor, raw, int(table[chunk, 0]))
        content = np.frombuffer(isal_zlib.decompress(raw, bufsize=n_bytes), dtype=np.uint8) if compressed else raw
        if len(content) != n_bytes:
            raise ValueError(f"a chunk of {len(content)} bytes, {n_bytes} expected")
        return _unshuffled(content, dtype, length) if shuffled else content.view(dtype)

    def read(first: int, last: int) -> np.ndarray:
        values, descriptor = np.empty(last - first, dtype=dtype), file.id.get_vfd_handle()

        def fill(chunk: int) -> None:
            begin = chunk * length
            start, stop = max(begin, first), min(begin + length, last)
            values[start - first : stop - first] = decompressed(descriptor, chunk)[start - begin : stop - begin]

        chunks = range(first // length, -(-last // length))
        if len(chunks) < FEW:
            list(map(fill, chunks))
        else:
            with ThreadPoolExecutor(N_THREADS) as pool:
                list(pool.map(fill, chunks))
        return values

    return read
