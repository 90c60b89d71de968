"""The graph of many cells is nearly that of the nearest neighbours."""

from types import SimpleNamespace

import numpy as np

from refatlas.neighbors import graph as neighbor_graphs
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.neighbors.graph import neighbor_graph

CELLS = np.random.default_rng(0).normal(size=(3000, 5)).astype(np.float32)


def test_the_graph_of_many_cells_is_nearly_that_of_the_nearest(monkeypatch):
    cells = CELLS
    exact = neighbor_graph(cells, 15, seed=0)
    assert np.array_equal(exact[0], nearest_neighbors(cells, cells, 15)[0])
    monkeypatch.setattr(neighbor_graphs, "EXACT_GRAPH", 1000)
    found, distances = neighbor_graph(cells, 15, seed=0, threads=2)
    assert np.mean([len(np.intersect1d(*pair)) for pair in zip(found, exact[0], strict=True)]) / 15 > 0.98
    assert np.array_equal(found[:, 0], np.arange(3000))
    np.testing.assert_allclose(distances, np.linalg.norm(cells[:, None] - cells[found], axis=2), rtol=1e-4, atol=1e-4)
    assert np.array_equal(found, neighbor_graph(cells, 15, seed=0, threads=1)[0])


def test_a_cell_for_which_too_few_were_found_gets_its_nearest(monkeypatch):
    cells = CELLS
    expected = nearest_neighbors(cells, cells, 15)
    given = expected[0].astype(np.int32), expected[1].astype(np.float32)
    given[0][[3, 70], 9:], given[1][[3, 70], 9:] = -1, np.inf
    monkeypatch.setattr(neighbor_graphs, "EXACT_GRAPH", 1000)
    monkeypatch.setattr("pynndescent.NNDescent", lambda *args, **settings: SimpleNamespace(neighbor_graph=given))
    found, distances = neighbor_graph(cells, 15, seed=0)
    assert np.array_equal(found, expected[0])
    np.testing.assert_allclose(distances, expected[1], rtol=1e-6)
