"""Novelty scores, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from refatlas.transfer.evidence import Evidence
from refatlas.transfer.novelty import NEIGHBORS, learn_novelty, novelty, smooth


def test_smoothing_takes_half_of_a_cells_own_and_half_of_its_nearest():
    positions = np.repeat([[0.0], [50.0]], NEIGHBORS, axis=0) + np.arange(2 * NEIGHBORS)[:, None] / 100
    values = np.concatenate([np.arange(NEIGHBORS), np.zeros(NEIGHBORS)])
    assert smooth(values, positions) == pytest.approx((values + np.repeat([(NEIGHBORS - 1) / 2, 0], NEIGHBORS)) / 2)
    assert smooth(np.array([1.0, 3.0]), np.zeros((2, 1))) == pytest.approx([1.5, 2.5])


@pytest.mark.parametrize("with_shift", [True, False])
def test_novelty_is_uniform_on_the_cells_it_was_learned_on(with_shift):
    random, n = np.random.default_rng(0), 400
    measures = pd.DataFrame({"m:distance": random.gamma(5, 1, n), "m:deviance_ratio": random.gamma(5, 1, n)})
    measures["linear:neighborhood_shift"] = random.gamma(5, 1, n) if with_shift else np.nan
    p, positions = random.dirichlet(np.ones(3), n), random.normal(size=(n, 2))
    cells = Evidence(measures.index, list("ABC"), {}, measures, positions, np.full(n, "b"))
    learned = learn_novelty(cells, p)
    assert set(learned["cell_measures"]) == {"m:distance", "m:deviance_ratio", "uncertainty"}
    if with_shift:
        assert set(learned["neighborhood_measures"]) == {"linear:neighborhood_shift", "smoothed_cell_score"}
    else:
        assert learned["neighborhood_score"] is None
    assert np.sort(novelty(cells, p, learned)) == pytest.approx(np.linspace(0, 1, n), abs=0.01)
