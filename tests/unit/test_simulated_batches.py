"""Batches simulated by thinning."""

import numpy as np

from conftest import small_counts
from refatlas.prepare.simulated_batches import simulate_batches


def test_simulated_batches_are_thinner_and_differ():
    counts = small_counts(n_cells=400).X
    thinned, batches = simulate_batches(counts, [0, 0])
    assert set(np.unique(batches)) == {0, 1}
    assert 0.3 < thinned.sum() / counts.sum() < 0.8
    assert (thinned > counts).nnz == 0
    shares = [np.asarray(thinned[batches == b].sum(axis=0) / counts[batches == b].sum(axis=0)).ravel() for b in (0, 1)]
    assert np.nanstd(np.log(np.maximum(shares[0], 0.01) / np.maximum(shares[1], 0.01))) > 0.2
