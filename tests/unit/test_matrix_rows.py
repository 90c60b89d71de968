"""Matrices are read in blocks of cells."""

import os
import subprocess
import tempfile

import numpy as np
import pytest
from scipy import sparse

from refatlas.errors import InputError
from refatlas.io.matrix_rows import Rows, transposed_rows


def test_the_next_block_is_read_ahead_and_errors_of_reading_are_raised():
    def read(start, stop):
        if start:
            raise OSError("the file ends")
        return sparse.csr_matrix(np.ones((stop - start, 1)))

    blocks = Rows((4, 1), read, np.arange(1, 5)).blocks(2)
    assert next(blocks)[1].shape == (2, 1)
    with pytest.raises(OSError, match="the file ends"):
        next(blocks)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_folder_of_temporary_files_is_reported(tmp_path, monkeypatch):
    (tmp_path / "small").mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path / "small"], check=False, capture_output=True
    ).returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "small"))
        ones = np.ones(50_000, dtype=np.int64)
        with pytest.raises(InputError, match=r"no space left to write it.*set TMPDIR"):
            transposed_rows(lambda: iter([(ones * 0, ones, ones)]), (2, 2), np.float64)
    finally:
        subprocess.run(["umount", tmp_path / "small"], check=True)
