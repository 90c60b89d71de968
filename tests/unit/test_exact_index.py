"""The index finds what comparing all pairs finds, to the last bit, on any cells."""

import numpy as np
import pytest

from refatlas.neighbors import exact_index
from refatlas.neighbors.exact_index import ExactIndex, nearest_neighbors

RANDOM = np.random.default_rng(0)


def by_definition(reference, query, k):
    """Return the k nearest by distance in double precision and place."""
    squares = np.zeros((len(query), len(reference)))
    for i in range(reference.shape[1]):
        squares += (query[:, i, None].astype(float) - reference[:, i].astype(float)) ** 2
    found = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return found, np.sqrt(np.take_along_axis(squares, found, axis=1))


def single(x) -> np.ndarray:
    return np.asarray(x, dtype=np.float32)


CLUSTERS = RANDOM.normal(size=(30, 8))[RANDOM.integers(0, 30, 3000)] + RANDOM.normal(scale=0.02, size=(3000, 8))
CASES = {
    "random": single(RANDOM.normal(size=(3000, 5))),
    "more dimensions than are looked at first": single(RANDOM.normal(size=(2000, 33)) * 0.8 ** np.arange(33)),
    "clusters in double precision": CLUSTERS,
    "duplicates": single(CLUSTERS)[RANDOM.integers(0, 40, 3000)],
    "ties on a grid": single(RANDOM.integers(0, 4, (3000, 4))),
    "one dimension": single(RANDOM.normal(size=(3000, 1))),
    "constant": np.ones((700, 3), dtype=np.float32),
    "one cell": np.zeros((1, 4), dtype=np.float32),
    "one more than a leaf": single(RANDOM.normal(size=(exact_index.LEAF + 1, 3))),
    "fewer than k": single(RANDOM.normal(size=(20, 3))),
    "far from zero, rounded apart": single(1e6 + RANDOM.normal(size=(3000, 4))),
    "far from zero in double precision": 1e9 + 1e-3 * RANDOM.normal(size=(3000, 4)),
    "differences below single precision": 1 + 1e-9 * RANDOM.normal(size=(3000, 3)),
    "dimensions of very unequal size": RANDOM.normal(size=(3000, 4)) * [1e12, 1, 1e-6, 1e-20],
    "huge": RANDOM.normal(size=(3000, 3)) * 1e80,
    "tiny": RANDOM.normal(size=(3000, 3)) * 1e-150,
    "an outlier that sets the scale": np.vstack([RANDOM.normal(size=(2999, 3)), [[1e15, 0, 0]]]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_index_equals_comparing_all_pairs(case, threads):
    cells = CASES[case]
    spread = cells.std(axis=0)
    near = (cells[RANDOM.integers(0, len(cells), 60)] + RANDOM.normal(size=(60, cells.shape[1])) * 0.1 * spread).astype(
        cells.dtype
    )
    query = np.vstack([cells[:40], near, cells[:5] * 1.5])
    expected = by_definition(cells, query, 50)
    for found in (ExactIndex.build(cells).search(query, 50, threads), nearest_neighbors(cells, query, 50, threads)):
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], expected[1])


def test_query_cells_far_from_the_reference_get_their_nearest():
    cells = CASES["random"]
    query = np.array([[1e20, 0, 0, 0, 0], [-1e9, 1e9, 0, 0, 0], [1e90, 0, 0, 0, 0]])
    found, distances = ExactIndex.build(cells).search(query, 7)
    expected = by_definition(cells, query, 7)
    assert np.array_equal(found, expected[0])
    assert np.array_equal(distances, expected[1])


def test_leaves_that_are_proved_to_be_too_far_are_not_read():
    near, far = single(RANDOM.normal(size=(2000, 3))), single(RANDOM.normal(size=(2000, 3)) + 100)
    index = ExactIndex.build(np.vstack([near, far]))
    expected = index.search(near[:200], 10)
    far_away = index.ids >= 2000
    # Were they read, they would be the nearest.
    leaves = [
        leaf
        for leaf in range(index.leaves.shape[0])
        if far_away[leaf * exact_index.LEAF : (leaf + 1) * exact_index.LEAF].all()
    ]
    index.leaves[leaves] = index.leaves[leaves[0] - 1]
    index.rows[far_away] = near[0]
    assert len(leaves) >= 7
    assert all(np.array_equal(*pair) for pair in zip(index.search(near[:200], 10), expected, strict=True))


@pytest.mark.parametrize("outlier", [0, 1e5])
def test_many_query_cells_of_many_leaves(outlier):
    centers = RANDOM.normal(size=(12, 21))
    cells = single(centers[RANDOM.integers(0, 12, 20_000)] + RANDOM.normal(scale=0.3, size=(20_000, 21)))
    # With the outlier, products of matrices are not precise enough, and differences are squared.
    cells[7, 3] += outlier
    query = single(centers[RANDOM.integers(0, 12, 600)] + RANDOM.normal(scale=0.3, size=(600, 21)))
    expected = by_definition(cells, query, 50)
    assert all(map(np.array_equal, ExactIndex.build(cells).search(query, 50, 2), expected))


def test_more_neighbors_than_a_leaf_has_cells():
    cells = CASES["random"]
    assert all(
        map(np.array_equal, ExactIndex.build(cells).search(cells[:70], 2_500), by_definition(cells, cells[:70], 2_500))
    )


def test_ties_go_to_the_first_and_a_cell_is_its_own_nearest():
    cells = np.repeat(single(RANDOM.normal(size=(500, 4))), 3, axis=0)
    found, distances = ExactIndex.build(cells).search(cells, 3)
    assert np.array_equal(found, np.arange(1500)[:, None] // 3 * 3 + np.arange(3))
    assert (distances == 0).all()


def test_small_and_large_searches_agree(monkeypatch):
    cells = CASES["ties on a grid"]
    by_hand = nearest_neighbors(cells, cells, 9)
    monkeypatch.setattr(exact_index, "BRUTE_FORCE_PAIRS", 0)
    assert np.array_equal(nearest_neighbors(cells, cells, 9)[0], by_hand[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_without_a_distance_are_refused(value):
    cells = np.ones((300, 2), dtype=np.float32)
    broken = cells.copy()
    broken[7, 1] = value
    for reference, query in ((broken, cells), (cells, broken)):
        with pytest.raises(ValueError, match="not finite"):
            nearest_neighbors(reference, query, 5)
