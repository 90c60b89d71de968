"""Arrays read past the HDF5 library are those that it reads; statistics do not depend on threads or
blocks, and are scanpy's; synthetic inputs do not depend on blocks.
"""

import importlib.util
import sys

import anndata as ad
import h5py
import numpy as np
import pytest
from conftest import REPO, small_counts
from scipy import sparse

from refatlas.io.hdf5_reader import fast_reader
from refatlas.io.matrix_rows import Rows
from refatlas.prepare.moments import ClippedSums, Measures, Moments, ascends


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
        read = fast_reader(file["x"])
        for first, last in [(0, 1000), (0, 1), (63, 65), (69, 141), (999, 1000), (500, 500)]:
            assert np.array_equal(read(first, last), values[first:last])


def test_chunks_that_were_never_written_are_zeros(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (100,), dtype="f4", chunks=(10,))[20:25] = 1
    with h5py.File(tmp_path / "a.h5") as file:
        assert fast_reader(file["x"])(0, 100).sum() == 5


def rows_of(matrix: sparse.csr_matrix) -> Rows:
    return Rows(matrix.shape, lambda start, stop: matrix[start:stop], matrix.indptr[1:].astype(np.int64))


@pytest.mark.parametrize(("n_threads", "n_values"), [(1, 300), (2, 10**9), (3, 300)])
def test_statistics_are_the_same_bits_for_any_threads_and_blocks(n_threads, n_values):
    matrix = small_counts(n_cells=400).X
    codes, genes = np.arange(400) % 3 - 1, np.where(np.arange(80) % 7 == 0, -1, np.arange(80)[::-1])
    found, expected = [], []
    for result, threads, values in ((found, n_threads, n_values), (expected, 1, 10**9)):
        moments, clipped = Moments(2, 80, threads), ClippedSums(np.full((2, 80), 2.5), threads)
        for start, block in rows_of(matrix).blocks(values):
            for statistics in (moments, clipped):
                statistics.add(block, codes[start : start + block.shape[0]], genes)
        result += [*moments.finish(np.array([133, 133])), *clipped.finish()]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert found[2][0, 79 - 1] == np.minimum(matrix[codes == 0].toarray()[:, 1], 2.5).sum()


def test_a_block_without_values_adds_nothing():
    moments = Moments(1, 5, 2)
    moments.add(sparse.csr_matrix((3, 5), dtype=np.float32), np.zeros(3, dtype=np.int64), np.arange(5))
    assert not moments.finish(np.array([3]))[0].any()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_measures_are_those_of_the_matrix_and_wrong_values_are_told(n_threads):
    matrix = small_counts().X
    marked = (np.arange(80) < 10).astype(float)
    found = Measures(60, marked, n_threads)
    are_counts = [found.add(start, block) for start, block in rows_of(matrix).blocks(500)]
    assert all(are_counts)
    x = matrix.toarray()
    for values, expected in (
        (found.totals, x.sum(1)),
        (found.n_genes, (x > 0).sum(1)),
        (found.marked_counts, x[:, :10].sum(1)),
        (found.seen, (x > 0).sum(0)),
    ):
        assert np.array_equal(values, expected)
    for wrong in (-1, 0.5, np.nan, np.inf):
        matrix.data[-1] = wrong
        assert not Measures(60, marked, n_threads).add(0, matrix)


def test_columns_ascend_or_not():
    assert ascends(np.array([0, 3, 1, 2]), np.array([0, 2, 2, 4]))
    assert not ascends(np.array([0, 3, 3]), np.array([0, 1, 3]))
    assert not ascends(np.array([3, 0]), np.array([0, 2]))


def test_the_next_block_is_read_ahead_and_errors_of_reading_are_told():
    def read(start, stop):
        if start:
            raise OSError("the file ends")
        return sparse.csr_matrix(np.ones((stop - start, 1)))

    blocks = Rows((4, 1), read, np.arange(1, 5)).blocks(2)
    assert next(blocks)[1].shape == (2, 1)
    with pytest.raises(OSError, match="the file ends"):
        next(blocks)


@pytest.fixture(scope="module")
def synthetic():
    spec = importlib.util.spec_from_file_location("synthetic", REPO / "benchmarks" / "synthetic.py")
    module = importlib.util.module_from_spec(spec)
    # numba keeps compiled functions with the name of their module, and looks for it when the
    # benchmark loads them.
    sys.modules["synthetic"] = module
    spec.loader.exec_module(module)
    return module


def test_synthetic_counts_do_not_depend_on_blocks(synthetic, tmp_path):
    for block in (37, 1000):
        synthetic.write(str(tmp_path / f"{block}.h5ad"), synthetic.recipe(500, 300, 3, 0.1, seed=4), block)
    assert (tmp_path / "37.h5ad").read_bytes() == (tmp_path / "1000.h5ad").read_bytes()
    synthetic.write(str(tmp_path / "other.h5ad"), synthetic.recipe(500, 300, 3, 0.1, seed=5))
    assert (tmp_path / "37.h5ad").read_bytes() != (tmp_path / "other.h5ad").read_bytes()


@pytest.mark.parametrize("density", [0.05, 0.3])
def test_synthetic_counts_are_counts_of_the_density_asked_for(synthetic, tmp_path, density):
    synthetic.write(str(tmp_path / "a.h5ad"), synthetic.recipe(3000, 500, 4, density))
    made = ad.read_h5ad(tmp_path / "a.h5ad")
    assert made.X.nnz / made.n_obs / made.n_vars == pytest.approx(density, rel=0.1)
    assert (made.X.data == np.rint(made.X.data)).all()
    assert made.X.data.min() >= 1
    assert made.X.has_canonical_format
    assert made.obs["batch"].value_counts().tolist() == [750] * 4
    x = made.X.toarray()
    assert (x.var(0) > 1.5 * x.mean(0))[x.mean(0) > 0.2].mean() > 0.9
    means = np.stack(
        [x[(made.obs["batch"] == batch).to_numpy()].mean(0) for batch in made.obs["batch"].cat.categories]
    )[:, x.mean(0) > 0.2]
    assert np.log(means).std(axis=0).mean() == pytest.approx(synthetic.BATCH_SPREAD, rel=0.4)
