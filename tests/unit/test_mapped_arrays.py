"""Arrays in an npz file that is mapped into memory are those that were written, or an error is raised."""

import mmap
import zipfile

import numpy as np
import pytest

from refatlas.io.mapped_arrays import ALIGNMENT, map_arrays, write_arrays

ARRAYS = {
    "values of two words": np.arange(30, dtype=np.float32).reshape(5, 6),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "number": np.int64(7),
    "none": np.empty((0, 3)),
    "texts": np.array(["a", "bcd", "é"]),
}


def assert_equal(found):
    assert list(found) == list(ARRAYS)
    for name, values in ARRAYS.items():
        assert found[name].dtype == values.dtype
        assert found[name].shape == values.shape
        assert np.array_equal(found[name], values)


def test_arrays_are_read_as_they_were_written_also_by_numpy(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    assert_equal(map_arrays(tmp_path / "a.npz"))
    with np.load(tmp_path / "a.npz") as arrays:
        assert_equal(dict(arrays))


def test_arrays_of_numpy_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    assert_equal(map_arrays(tmp_path / "a.npz"))


def test_values_are_mapped_and_aligned_and_changes_stay_in_memory(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    values = map_arrays(tmp_path / "a.npz")["values of two words"]
    assert values.ctypes.data % ALIGNMENT == 0
    base = values
    while not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else base.base
    values[0] = -1
    assert_equal(map_arrays(tmp_path / "a.npz"))


def test_each_changed_byte_of_an_array_is_noticed(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    good = (tmp_path / "a.npz").read_bytes()
    for place in range(0, len(good), 5):
        (tmp_path / "a.npz").write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        try:
            found = map_arrays(tmp_path / "a.npz")
        except (ValueError, NotImplementedError, zipfile.BadZipFile):
            continue
        # Names stand in the list of members, which has no checksum; times are not used.
        for name, values in found.items():
            assert name not in ARRAYS or np.array_equal(values, ARRAYS[name])


def test_half_a_file_compressed_arrays_and_objects_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(zipfile.BadZipFile):
        map_arrays(path)
    np.savez_compressed(path, **ARRAYS)
    with pytest.raises(ValueError, match="compressed"):
        map_arrays(path)
    np.savez(path, odd=np.array([{}]))
    with pytest.raises(ValueError, match="objects"):
        map_arrays(path)
    with pytest.raises(ValueError, match="bject"):
        write_arrays(path, {"odd": np.array([{}])})
