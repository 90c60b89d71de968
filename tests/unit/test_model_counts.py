"""What models read is what was counted, whatever is stored; and any anndata can read the store."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import small_counts
from refatlas.io.model_counts import counts_writer, read_counts


def stored(path, matrix) -> None:
    obs = pd.DataFrame({"batch": "b"}, index=[f"c{i}" for i in range(matrix.shape[0])])
    genes = pd.DataFrame({"symbol": None, "selected": True}, index=[f"G{i}" for i in range(matrix.shape[1])])
    with counts_writer(str(path), obs, genes) as out:
        out.append(matrix)


@pytest.mark.parametrize(("largest", "kind"), [(255, "uint8"), (256, "uint16"), (70_000, "uint32")])
def test_counts_come_back_as_they_were(tmp_path, largest, kind):
    matrix = small_counts(n_cells=300).X
    matrix.data[7] = largest
    stored(tmp_path / "a.h5ad", matrix)
    found = read_counts(str(tmp_path / "a.h5ad"))
    assert found.X.dtype == np.float32
    assert all(np.array_equal(getattr(found.X, name), getattr(matrix, name)) for name in ("data", "indices", "indptr"))
    with h5py.File(tmp_path / "a.h5ad") as file:
        assert file["X/data"].dtype == kind


@pytest.mark.parametrize(
    ("largest", "kind"),
    [((3, 255, 9), "uint8"), ((3, 256, 70_000), "uint32"), ((300, 3, 0.5), "float32"), ((0.5, 70_000, 3), "float64")],
)
def test_blocks_of_any_sizes_are_one_matrix(tmp_path, largest, kind):
    matrix = small_counts(n_cells=900).X.tocsr()
    blocks = [matrix[start:stop].copy() for start, stop in ((0, 1), (1, 1), (1, 500), (500, 900))]
    for block, value in zip((blocks[0], *blocks[2:]), largest, strict=True):
        block.data[-1] = value
    obs, genes = (
        pd.DataFrame({"batch": "b"}, index=[f"c{i}" for i in range(900)]),
        pd.DataFrame({"symbol": None, "selected": True}, index=[f"G{i}" for i in range(matrix.shape[1])]),
    )
    with counts_writer(str(tmp_path / "a.h5ad"), obs, genes) as out:
        for block in blocks:
            out.append(block)
    whole = sparse.vstack(blocks, format="csr")
    stored(tmp_path / "b.h5ad", whole)
    found, at_once = read_counts(str(tmp_path / "a.h5ad")), read_counts(str(tmp_path / "b.h5ad"))
    assert (whole != found.X).nnz == (whole != at_once.X).nnz == 0
    with h5py.File(tmp_path / "a.h5ad") as file:
        assert file["X/data"].dtype == kind
        assert sorted(file["X"]) == ["data", "indices", "indptr"]


def test_other_rows_than_cells_leave_no_file(tmp_path):
    obs, genes = (
        pd.DataFrame({"batch": "b"}, index=["c0", "c1"]),
        pd.DataFrame({"symbol": None, "selected": True}, index=["G0"]),
    )
    with (
        pytest.raises(ValueError, match="1 rows of counts were written for 2 cells"),
        counts_writer(str(tmp_path / "a.h5ad"), obs, genes) as out,
    ):
        out.append(sparse.csr_matrix([[1.0]]))
    assert list(tmp_path.iterdir()) == []


def test_rows_are_read_at_random_by_anndata(tmp_path):
    matrix = small_counts(n_cells=3000).X
    stored(tmp_path / "a.h5ad", matrix)
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    assert np.array_equal(backed.X[[2900, 3, 1500]].toarray(), matrix[[2900, 3, 1500]].toarray())
    with h5py.File(tmp_path / "a.h5ad") as file:
        assert file["X/data"].chunks[0] < matrix.nnz


def test_the_store_takes_a_fifth_of_real_counts(real, tmp_path):
    matrix = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad")).X
    stored(tmp_path / "a.h5ad", matrix)
    with h5py.File(tmp_path / "a.h5ad") as file:
        assert sum(file["X"][name].id.get_storage_size() for name in file["X"]) < 0.2 * 8 * matrix.nnz


def test_fractional_values_and_empty_matrices_are_not_lost(tmp_path):
    halves = small_counts().X / 2
    stored(tmp_path / "a.h5ad", halves)
    assert np.array_equal(read_counts(str(tmp_path / "a.h5ad")).X.toarray(), halves.toarray())
    stored(tmp_path / "b.h5ad", sparse.csr_matrix((4, 5), dtype=np.float32))
    assert read_counts(str(tmp_path / "b.h5ad")).X.nnz == 0
