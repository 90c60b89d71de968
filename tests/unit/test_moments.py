"""Statistics do not depend on threads or blocks."""

import numpy as np
import pytest
from scipy import sparse

from conftest import small_counts
from refatlas.io.matrix_rows import Rows
from refatlas.prepare.moments import CellMeasures, ClippedSums, Moments, columns_ascend


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
def test_measures_are_those_of_the_matrix_and_wrong_values_are_found(n_threads):
    matrix = small_counts().X
    marked = (np.arange(80) < 10).astype(float)
    found = CellMeasures(60, marked, n_threads)
    are_counts = [found.add(start, block) for start, block in rows_of(matrix).blocks(500)]
    assert all(are_counts)
    x = matrix.toarray()
    for values, expected in (
        (found.totals, x.sum(1)),
        (found.n_genes, (x > 0).sum(1)),
        (found.marked_counts, x[:, :10].sum(1)),
        (found.n_cells, (x > 0).sum(0)),
    ):
        assert np.array_equal(values, expected)
    for wrong in (-1, 0.5, np.nan, np.inf):
        matrix.data[-1] = wrong
        assert not CellMeasures(60, marked, n_threads).add(0, matrix)


def test_columns_ascend_or_not():
    assert columns_ascend(np.array([0, 3, 1, 2]), np.array([0, 2, 2, 4]))
    assert not columns_ascend(np.array([0, 3, 3]), np.array([0, 1, 3]))
    assert not columns_ascend(np.array([3, 0]), np.array([0, 2]))
