"""Simulated counts: as deep as the cells, alike in their means and their noise, and none of the cells' own."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.errors import InputError
from refatlas.evaluate.simulated_counts import POOLED, pooling, simulated_counts

N_CELLS, N_GENES = 400, 60


@pytest.fixture
def cells():
    """Return cells of two labels in two batches, with their own profiles, and proteins that one batch has measured."""
    random = np.random.default_rng(0)
    labels = np.repeat(["B", "T"], N_CELLS // 2)
    rates = np.vstack([random.gamma(1, 2, N_GENES), random.gamma(1, 2, N_GENES)])
    depth = random.lognormal(0, 0.3, N_CELLS)[:, None]
    x = random.poisson(depth * rates[(labels == "T").astype(int)])
    batches = np.tile(["x", "y"], N_CELLS // 2)
    proteins = random.poisson(20, (N_CELLS, 3)).astype(np.float32)
    proteins[batches == "y", 0] = 0
    obs = pd.DataFrame({"batch": batches, "label": labels}, index=[f"c{i}" for i in range(N_CELLS)])
    found = ad.AnnData(sparse.csr_matrix(x.astype(np.uint8)), obs=obs, obsm={"proteins": proteins})
    latent = np.column_stack([(labels == "T") * 10.0, random.normal(size=N_CELLS)])
    return found, latent


def test_depth_and_means_stay_and_no_cell_does(cells):
    counts, latent = cells
    found = simulated_counts(counts, latent, 1)
    assert found.X.dtype == counts.X.dtype
    before, after = counts.X.toarray().astype(float), found.X.toarray().astype(float)
    np.testing.assert_array_equal(before.sum(axis=1), after.sum(axis=1))
    for label in ("B", "T"):
        rows = (counts.obs["label"] == label).to_numpy()
        # The standard error of a mean of 200 Poisson counts.
        error = np.sqrt(before[rows].mean(axis=0) / rows.sum())
        assert np.abs(before[rows].mean(axis=0) - after[rows].mean(axis=0)).max() < 5 * error.max()
        spread = after[rows].var(axis=0).sum() / before[rows].var(axis=0).sum()
        assert 0.8 < spread < 1.3
    own = {row.tobytes() for row in before}
    assert not any(row.tobytes() in own for row in after)


def test_the_seed_decides(cells):
    counts, latent = cells
    first, again, other = (simulated_counts(counts, latent, seed).X for seed in (1, 1, 2))
    assert (first != again).nnz == 0
    assert (first != other).nnz > 0


def test_a_protein_that_a_batch_has_not_measured_stays_so(cells):
    found = simulated_counts(*cells, 1)
    batch = found.obs["batch"].to_numpy()
    assert found.obsm["proteins"][batch == "y", 0].max() == 0
    assert found.obsm["proteins"][batch == "x", 0].min() > 0


def test_cells_of_the_same_batch_and_label_are_pooled(cells):
    counts, latent = cells
    obs = counts.obs.copy()
    # Too few of this label in one batch; a label of too few cells.
    obs.loc[["c0", "c1", "c2"], "label"] = "rare in x"
    obs.loc[[f"c{i}" for i in range(3, 23, 2)], "label"] = "rare in x"
    obs.loc["c100", "label"] = "single"
    pool = pooling(obs, latent)
    assert pool.shape == (N_CELLS, POOLED)
    assert all(len(set(row)) == POOLED and i in row for i, row in enumerate(pool))
    keys = list(zip(obs["batch"], obs["label"], strict=True))
    for i, row in enumerate(pool):
        if obs["label"].iloc[i] in ("B", "T"):
            assert {keys[j] for j in row} == {keys[i]}
    assert {obs["label"].iloc[j] for j in pool[0]} == {"rare in x"}
    assert {obs["batch"].iloc[j] for j in pool[0]} == {"x", "y"}
    nearest = np.argsort(np.abs(latent - latent[100]).sum(axis=1))[:POOLED]
    assert set(pool[100]) == set(nearest)


def test_few_cells_are_pooled_together_and_one_is_refused(cells):
    counts, latent = cells
    few = simulated_counts(counts[:3].copy(), latent[:3], 1)
    np.testing.assert_array_equal(few.X.sum(axis=1), counts[:3].X.sum(axis=1))
    with pytest.raises(InputError, match="'c0' is the only cell"):
        simulated_counts(counts[:1].copy(), latent[:1], 1)


def test_cells_without_labels(cells):
    counts, latent = cells
    del counts.obs["label"]
    assert simulated_counts(counts, latent, 1).n_obs == N_CELLS
