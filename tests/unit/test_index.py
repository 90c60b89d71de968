"""The index gives what comparing all pairs gives, to the last bit, on whatever cells; a file that
is not this reference's is refused.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.neighbors import exact_index as knn
from refatlas.neighbors.exact_index import ExactIndex, nearest
from refatlas.neighbors.graph import neighbor_graph
from refatlas.transfer import reference_index, weighted_knn
from refatlas.transfer.reference_index import ReferenceIndex

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
    "one more than a leaf": single(RANDOM.normal(size=(knn.LEAF + 1, 3))),
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
    for found in (ExactIndex.build(cells).search(query, 50, threads), nearest(cells, query, 50, threads)):
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], expected[1])


def test_a_query_of_another_world_gets_its_nearest_too():
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
    elsewhere = index.ids >= 2000
    # Were they read, they would be the nearest.
    leaves = [leaf for leaf in range(index.leaves.shape[0]) if elsewhere[leaf * knn.LEAF : (leaf + 1) * knn.LEAF].all()]
    index.leaves[leaves] = index.leaves[leaves[0] - 1]
    index.rows[elsewhere] = near[0]
    assert len(leaves) >= 7
    assert all(np.array_equal(*pair) for pair in zip(index.search(near[:200], 10), expected, strict=True))


def test_ties_go_to_the_first_and_a_cell_is_its_own_nearest():
    cells = np.repeat(single(RANDOM.normal(size=(500, 4))), 3, axis=0)
    found, distances = ExactIndex.build(cells).search(cells, 3)
    assert np.array_equal(found, np.arange(1500)[:, None] // 3 * 3 + np.arange(3))
    assert (distances == 0).all()


def test_small_and_large_searches_agree(monkeypatch):
    cells = CASES["ties on a grid"]
    by_hand = nearest(cells, cells, 9)
    monkeypatch.setattr(knn, "PAIRS_BY_HAND", 0)
    assert np.array_equal(nearest(cells, cells, 9)[0], by_hand[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_without_a_distance_are_refused(value):
    cells = np.ones((300, 2), dtype=np.float32)
    broken = cells.copy()
    broken[7, 1] = value
    for reference, query in ((broken, cells), (cells, broken)):
        with pytest.raises(ValueError, match="not finite"):
            nearest(reference, query, 5)


def test_the_graph_of_many_cells_is_nearly_that_of_the_nearest(monkeypatch):
    cells = CASES["random"]
    exact = neighbor_graph(cells, 15, seed=0)
    assert np.array_equal(exact[0], nearest(cells, cells, 15)[0])
    monkeypatch.setattr(knn, "EXACT_GRAPH", 1000)
    found, distances = neighbor_graph(cells, 15, seed=0, threads=2)
    assert np.mean([len(np.intersect1d(*pair)) for pair in zip(found, exact[0], strict=True)]) / 15 > 0.98
    assert np.array_equal(found[:, 0], np.arange(3000))
    np.testing.assert_allclose(distances, np.linalg.norm(cells[:, None] - cells[found], axis=2), rtol=1e-4, atol=1e-4)
    assert np.array_equal(found, neighbor_graph(cells, 15, seed=0, threads=1)[0])


def test_a_cell_for_which_too_few_were_found_gets_its_nearest(monkeypatch):
    cells = CASES["random"]
    expected = nearest(cells, cells, 15)
    given = expected[0].astype(np.int32), expected[1].astype(np.float32)
    given[0][[3, 70], 9:], given[1][[3, 70], 9:] = -1, np.inf
    monkeypatch.setattr(knn, "EXACT_GRAPH", 1000)
    monkeypatch.setattr("pynndescent.NNDescent", lambda *args, **settings: SimpleNamespace(neighbor_graph=given))
    found, distances = neighbor_graph(cells, 15, seed=0)
    assert np.array_equal(found, expected[0])
    np.testing.assert_allclose(distances, expected[1], rtol=1e-6)


@pytest.fixture
def saved(scripts, tmp_path):
    """An index and the latent.parquet that it was made of."""
    latent = pd.DataFrame(single(RANDOM.normal(size=(900, 4))), columns=list("abcd"))
    labels = pd.Series(np.where(latent["a"] > 0, "up", "down"))
    latent.to_parquet(tmp_path / "latent.parquet")
    made = reference_index.index_cells(latent.to_numpy(), labels, 0)
    made.save(str(tmp_path / "index.npz"), str(tmp_path / "latent.parquet"))
    return tmp_path, made, labels


def test_a_saved_index_votes_as_the_cells_themselves(saved, scripts):
    folder, made, labels = saved
    again, transfer = ReferenceIndex.load(str(folder / "index.npz"), str(folder / "latent.parquet")), weighted_knn
    cells, query = made.index.in_order(), single(RANDOM.normal(size=(130, 4)))
    expected = transfer.vote_table(labels, *by_definition(cells, query, 20), pd.RangeIndex(130))
    pd.testing.assert_frame_equal(transfer.vote_in_blocks(again, query, pd.RangeIndex(130), 20, 2, block=31), expected)
    pd.testing.assert_frame_equal(
        transfer.logistic_table(again.logistic, query, pd.RangeIndex(130)),
        transfer.logistic_table(made.logistic, query, pd.RangeIndex(130)),
    )
    assert np.array_equal(again.sample, made.sample)


def test_a_damaged_index_is_refused(saved):
    folder, path = saved[0], saved[0] / "index.npz"
    good = path.read_bytes()
    middle = len(good) // 2
    for bad in (b"", b"no index", good[:middle], good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :]):
        path.write_bytes(bad)
        with pytest.raises(InputError, match="cannot be read as an index"):
            ReferenceIndex.load(str(path), str(folder / "latent.parquet"))


def test_an_index_of_another_reference_or_format_is_refused(saved):
    folder, path = saved[0], str(saved[0] / "index.npz")
    with np.load(path) as arrays:
        parts = dict(arrays)
    for change, said in (
        ({"version": 0}, "of format 0, expected 1"),
        ({"codes": parts["codes"][1:]}, "do not fit each other"),
        ({"index ids": parts["index ids"] + 1}, "do not fit each other"),
        ({"index low": parts["index low"][:, 1:]}, "do not fit each other"),
        ({"odd": 1}, "lacks a part"),
    ):
        np.savez(path, **parts | change)
        with pytest.raises(InputError, match=said):
            ReferenceIndex.load(path, str(folder / "latent.parquet"))
    np.savez(path, **parts)
    pd.DataFrame({"a": [1.0]}).to_parquet(folder / "latent.parquet")
    with pytest.raises(InputError, match="was not made of"):
        ReferenceIndex.load(path, str(folder / "latent.parquet"))
