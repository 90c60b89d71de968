"""Arrays read without the HDF5 library are those that it reads."""

import h5py
import numpy as np
import pytest

from refatlas.io.hdf5_reader import range_reader


@pytest.mark.parametrize("kind", ["float32", "int64", "uint8", ">f4"])
@pytest.mark.parametrize(
    "packed",
    [
        {},
        {"chunks": (70,)},
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "chunks": (64,)},
        {"compression": "lzf"},
        {"fletcher32": True},
    ],
)
def test_every_range_of_an_array_is_what_h5py_reads(tmp_path, kind, packed):
    values = np.random.default_rng(0).integers(0, 200, 1000).astype(kind)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=values, **packed)
    with h5py.File(tmp_path / "a.h5") as file:
        read = range_reader(file["x"])
        for first, last in [(0, 1000), (0, 1), (63, 65), (69, 141), (999, 1000), (500, 500)]:
            assert np.array_equal(read(first, last), values[first:last])


def test_chunks_that_were_never_written_are_zeros(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (100,), dtype="f4", chunks=(10,))[20:25] = 1
    with h5py.File(tmp_path / "a.h5") as file:
        assert range_reader(file["x"])(0, 100).sum() == 5
