"""LISI is that of scib-metrics."""

import numpy as np
import pytest

from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.neighbors.lisi import lisi


def test_lisi_equals_scib_metrics():
    import scib_metrics
    from scib_metrics.nearest_neighbors import NeighborsResults

    random = np.random.default_rng(0)
    groups = random.integers(0, 3, 400)
    x = random.normal(size=(400, 5)) + groups[:, None]
    neighbors, distances = nearest_neighbors(x, x, 61)
    expected = scib_metrics.lisi_knn(NeighborsResults(indices=neighbors, distances=distances), groups, perplexity=20)
    assert lisi(distances[:, 1:], groups[neighbors[:, 1:]], 20) == pytest.approx(expected, abs=1e-3)
