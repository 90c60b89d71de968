"""Files that are compressed by other filters than gzip are read, or refused with the filter's name."""

from importlib.util import find_spec

import h5py
import numpy as np
import pytest

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts


def with_filter(path, code):
    """Make the values of a file's X look as if compressed by a filter."""
    with h5py.File(path, "a") as file:
        values = file["X/data"][:]
        del file["X/data"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((len(values),))
        # A filter that is optional need not be installed.
        properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(values.shape)
        stored = h5py.h5d.create(file["X"].id, b"data", h5py.h5t.py_create(values.dtype), space, properties)
        stored.write_direct_chunk((0,), values.tobytes())


@pytest.mark.parametrize(("code", "said"), [(32001, "blosc"), (32015, "zstd"), (32999, r"\(HDF5 filter 32999\)")])
def test_a_filter_that_is_not_installed_is_named(tmp_path, code, said):
    if find_spec("hdf5plugin") and code < 32100:
        pytest.skip("the filter is installed, and would take the values for compressed ones")
    small_counts().write_h5ad(tmp_path / "a.h5ad")
    with_filter(tmp_path / "a.h5ad", code)
    with pytest.raises(InputError, match=rf"/X/data is compressed by .*{said}.*install the Python package hdf5plugin"):
        open_counts(tmp_path / "a.h5ad")


@pytest.mark.parametrize("name", ["gzip", "lzf", "zstd"])
def test_compressed_files_are_read(tmp_path, name):
    packed = pytest.importorskip("hdf5plugin").FILTERS[name] if name == "zstd" else name
    counts = small_counts()
    counts.write_h5ad(tmp_path / "a.h5ad", compression=packed)
    file = open_counts(tmp_path / "a.h5ad")
    assert np.array_equal(file.to_anndata().X.toarray(), counts.X.toarray())
    assert list(file.cells["cell_type"]) == list(counts.obs["cell_type"])
