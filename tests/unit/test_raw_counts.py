"""Counts are the same from every format, in blocks of any size; other files are refused."""

import gzip

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts
from refatlas.prepare import demo


def dense(path, **keys):
    """Return all blocks of a file as one dense array."""
    return np.vstack([block.toarray() for _, block in open_counts(str(path), **keys).blocks(n_values=150)])


@pytest.fixture
def counts():
    return small_counts()


@pytest.mark.parametrize("kind", ["csr", "csc", "dense", "int64", "float64", "uint16"])
def test_h5ad_of_every_encoding(tmp_path, counts, kind):
    expected = counts.X.toarray()
    counts.X = {"csr": lambda x: x, "csc": lambda x: x.tocsc(), "dense": lambda x: x.toarray()}.get(
        kind, lambda x: x.astype(kind)
    )(counts.X)
    counts.write_h5ad(tmp_path / "a.h5ad")
    assert np.array_equal(dense(tmp_path / "a.h5ad"), expected)


def test_zarr(tmp_path, counts):
    counts.write_zarr(tmp_path / "a.zarr")
    assert np.array_equal(dense(tmp_path / "a.zarr"), counts.X.toarray())


def test_10x_h5_keeps_genes_only(tmp_path, counts):
    genes = pd.DataFrame({"gene_id": [f"ENSG{i:011d}.1" for i in range(80)], "symbol": counts.var_names})
    demo.write_10x_h5(str(tmp_path / "a.h5"), counts.X, list(counts.obs_names), genes)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        kinds = np.array([b"Gene Expression"] * 79 + [b"Antibody Capture"])
        del file["matrix/features/feature_type"]
        file["matrix/features/feature_type"] = kinds
    assert np.array_equal(dense(tmp_path / "a.h5"), counts.X.toarray()[:, :79])


@pytest.mark.parametrize("order", ["cells", "genes"])
def test_10x_mtx_in_any_order(tmp_path, counts, order):
    folder = tmp_path / "mtx"
    demo.write_10x_mtx(folder, counts.X, list(counts.obs_names), pd.DataFrame({"symbol": counts.var_names}))
    if order == "genes":
        coo = counts.X.T.tocsr().tocoo()
        with gzip.open(folder / "matrix.mtx.gz", "wb") as file:
            io.mmwrite(file, coo.astype(np.int64), field="integer")
    assert np.array_equal(dense(folder), counts.X.toarray())


def test_counts_are_found_in_a_layer_and_in_raw(tmp_path, counts):
    logged = counts.copy()
    logged.X = counts.X.log1p()
    logged.layers["counts"] = counts.X
    logged.write_h5ad(tmp_path / "layer.h5ad")
    assert open_counts(str(tmp_path / "layer.h5ad")).location == "layers/counts"
    raw = counts.copy()
    raw.raw = counts.copy()
    raw.X = counts.X.log1p()
    raw[:, :10].copy().write_h5ad(tmp_path / "raw.h5ad")
    found = open_counts(str(tmp_path / "raw.h5ad"))
    assert (found.location, len(found.genes)) == ("raw/X", 80)


def test_metadata_gives_cells_their_columns(tmp_path, counts):
    counts.obs.to_csv(tmp_path / "cells.csv")
    bare = ad.AnnData(counts.X, obs=pd.DataFrame(index=counts.obs_names), var=counts.var)
    bare.write_h5ad(tmp_path / "a.h5ad")
    assert list(open_counts(str(tmp_path / "a.h5ad"), metadata=str(tmp_path / "cells.csv")).cells.columns) == [
        "batch",
        "cell_type",
    ]
    counts.obs.iloc[:50].to_csv(tmp_path / "cells.csv")
    with pytest.raises(InputError, match="10 of the 60 cells"):
        open_counts(str(tmp_path / "a.h5ad"), metadata=str(tmp_path / "cells.csv"))


def test_unreadable_files_are_refused(tmp_path, counts):
    counts.write_h5ad(tmp_path / "good.h5ad")
    content = (tmp_path / "good.h5ad").read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.h5ad").write_text("not an HDF5 file")
    for name, said in (
        ("cut.h5ad", "is it complete"),
        ("text.h5ad", "a text that begins with"),
        ("absent.h5ad", "no such file"),
    ):
        with pytest.raises(InputError, match=rf"cannot be read.*{said}"):
            open_counts(str(tmp_path / name))
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder"):
        open_counts(str(tmp_path / "folder"))
    with pytest.raises(InputError, match="layer 'raw_counts' is not in the file; it has X"):
        open_counts(str(tmp_path / "good.h5ad"), layer="raw_counts")


def test_empty_files_are_refused(tmp_path, counts):
    counts[:0].copy().write_h5ad(tmp_path / "empty.h5ad")
    with pytest.raises(InputError, match="0 cells"):
        open_counts(str(tmp_path / "empty.h5ad"))


def test_truncated_mtx_is_refused(tmp_path, counts):
    demo.write_10x_mtx(tmp_path / "m", counts.X, list(counts.obs_names), pd.DataFrame({"symbol": counts.var_names}))
    with gzip.open(tmp_path / "m" / "matrix.mtx.gz", "rt") as file:
        lines = file.readlines()
    with gzip.open(tmp_path / "m" / "matrix.mtx.gz", "wt") as file:
        file.writelines(lines[:-5])
    with pytest.raises(InputError, match="is it complete"):
        open_counts(str(tmp_path / "m"))


def test_blocks_hold_at_most_the_values_asked_for(tmp_path, counts):
    counts.X = sparse.csr_matrix(counts.X)
    counts.write_h5ad(tmp_path / "a.h5ad")
    sizes = [block.nnz for _, block in open_counts(str(tmp_path / "a.h5ad")).blocks(n_values=200)]
    assert max(sizes) <= 200
    assert sum(sizes) == counts.X.nnz


def no_memory(*arguments, **keys):
    raise MemoryError("cannot allocate an array")


def test_a_lack_of_memory_is_not_reported_as_a_damaged_file(tmp_path, counts, monkeypatch):
    counts.obsm["adt"] = pd.DataFrame(np.ones((60, 1)), index=counts.obs_names, columns=["CD3"])
    counts.write_h5ad(tmp_path / "a.h5ad")
    counts.obs.to_csv(tmp_path / "cells.csv")
    file = open_counts(str(tmp_path / "a.h5ad"))
    monkeypatch.setattr(file.rows, "read", no_memory)
    file.proteins["adt"] = no_memory
    for read in (
        lambda: list(file.blocks()),
        file.to_anndata,
        lambda: file.read_proteins("adt"),
    ):
        with pytest.raises(MemoryError, match="cannot allocate an array"):
            read()
    monkeypatch.setattr("refatlas.io.raw_counts.add_metadata", no_memory)
    with pytest.raises(MemoryError):
        open_counts(str(tmp_path / "a.h5ad"), metadata=str(tmp_path / "cells.csv"))
    monkeypatch.setattr("refatlas.io.raw_counts._open", no_memory)
    with pytest.raises(MemoryError):
        open_counts(str(tmp_path / "a.h5ad"))


def test_any_other_error_of_a_library_names_the_file(tmp_path, counts, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("wrong B-tree signature")

    counts.write_h5ad(tmp_path / "a.h5ad")
    file = open_counts(str(tmp_path / "a.h5ad"))
    monkeypatch.setattr(file.rows, "read", fail)
    file.proteins["adt"] = fail
    for read in (lambda: list(file.blocks()), lambda: file.read_proteins("adt")):
        with pytest.raises(InputError, match=r"a.h5ad: .*cannot be read .*wrong B-tree signature"):
            read()


def test_a_path_object_is_opened_like_its_text(tmp_path, counts):
    counts.write_h5ad(tmp_path / "a.h5ad")
    assert open_counts(tmp_path / "a.h5ad").path == str(tmp_path / "a.h5ad")
