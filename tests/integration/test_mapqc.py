"""mapQC on real donors, in the baseline's latent space: healthy controls are nearer than cells whose gene names
were shuffled.
"""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.evaluate import mapqc
from refatlas.models.interface import JobContext
from refatlas.models.linear import Linear


@pytest.fixture(scope="module")
def spaces(real):
    """Latent spaces and cells of six donors as reference and of two as query; the gene names of the second one are
    shuffled in a fifth of its genes.
    """
    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    data.X = data.X.tocsr().astype(np.float32)
    data.obs["batch"] = "kang:" + data.obs["batch"].astype(str)
    data.obs_names = "kang:" + data.obs_names
    data.obs["label"] = data.obs["cell_type"].astype(str)
    held = data.obs["batch"].isin(["kang:1039", "kang:107"]).to_numpy()
    reference, query = data[~held].copy(), data[held].copy()
    case = (query.obs["batch"] == "kang:107").to_numpy()
    mixed = np.arange(data.n_vars)
    mixed[::5] = np.random.default_rng(0).permutation(mixed[::5])
    query.X = sparse.csr_matrix(np.where(case[:, None], query.X.toarray()[:, mixed], query.X.toarray()))
    linear = Linear.fit(reference, {"model": {"n_latent": 20, "C": 0.1, "max_cells": 5000}}, JobContext())
    tables = [pd.DataFrame(linear.latent(part), index=part.obs_names) for part in (reference, query)]
    return tables[0], reference.obs[["batch"]], tables[1], query.obs[["batch"]].assign(control=~case)


def test_controls_are_nearer_than_damaged_cells(spaces):
    scores = mapqc.cell_scores(mapqc.joined(*spaces, seed=0), seed=0)
    assert list(scores.index) == list(spaces[2].index)
    found = mapqc.summary(scores, spaces[3])
    assert found["n_judged"] > 50
    # The share of distant controls has no floor here: the baseline's latent space is not integrated, and the verdict
    # warns of this healthy donor.
    assert found["other_distant"] > found["control_distant"] + 0.3
    assert found["other_distant"] > 0.8
    again = mapqc.cell_scores(mapqc.joined(*spaces, seed=0), seed=0)
    assert np.array_equal(again["score"], scores["score"], equal_nan=True)


def test_sizes_fit_small_and_large_queries():
    sizes = mapqc.neighborhood_sizes
    assert sizes(500, 8) == {"n_nhoods": 1, "k_min": 100, "k_max": 2000}
    assert sizes(10**5, 10**4) == {"n_nhoods": 300, "k_min": 1500, "k_max": 10_000}
