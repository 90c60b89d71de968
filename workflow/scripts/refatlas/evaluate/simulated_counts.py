"""Simulated counts in place of those of single cells, for an atlas whose counts must not travel with it.

Each simulated cell has the depth of a cell, and multinomial counts from the pooled profile of its nearest cells of the
same batch and label. So sampling noise and the differences between cells stay as large as they were, and no cell's
counts are in the file. It is no formal guarantee of privacy.
"""

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError
from refatlas.neighbors.exact_index import nearest_neighbors

# Cells of a profile, with the cell itself.
POOLED = 5


def simulated_counts(cells: ad.AnnData, latent: np.ndarray, seed: int) -> ad.AnnData:
    """Return the same cells with simulated counts, and simulated proteins if there are any.

    Args:
        cells: counts, with batch and perhaps label in obs, and perhaps proteins in obsm.
        latent: in which near cells are alike, shape (n_cells, n_latent).
        seed: seed of the simulation.

    Raises:
        InputError: there is only one cell.
    """
    if cells.n_obs == 1:
        raise InputError(
            f"config: bundle: counts: simulated: {cells.obs_names[0]!r} is the only cell, so its counts cannot be"
            " pooled with those of others; set counts to sample, or leave the cell out"
        )
    obs: Any = cells.obs
    random, pool = np.random.default_rng(seed), pooling(obs, latent)
    found = cells.copy()
    x: Any = cells.X
    found.X = _drawn(sparse.csr_matrix(x), pool, random)
    for name, values in cells.obsm.items():
        # A batch that has not measured a protein has zeros, also where its cells are pooled with others.
        measured = pd.DataFrame(np.asarray(values)).groupby(obs["batch"].astype(str).to_numpy()).transform("max") > 0
        drawn = _drawn(sparse.csr_matrix(values), pool, random).toarray()
        found.obsm[name] = np.where(measured, drawn, 0).astype(np.asarray(values).dtype)
    return found


def pooling(obs: pd.DataFrame, latent: np.ndarray) -> np.ndarray:
    """Return the cells whose counts are pooled for each cell, shape (n_cells, n_pooled), n_pooled at most POOLED.

    They are of the same batch and label; where these have too few cells, of the same label, then of any.

    Args:
        obs: of the cells, with batch and perhaps label.
        latent: shape (n_cells, n_latent).
    """
    n_pooled = min(POOLED, len(obs))
    labels = obs["label"].astype(str) if "label" in obs else pd.Series("", index=obs.index)
    batches = obs["batch"].astype(str)
    found = np.full((len(obs), n_pooled), -1)
    for keys in ([batches, labels], [labels], [pd.Series("", index=obs.index)]):
        groups = pd.MultiIndex.from_arrays(keys)
        codes = pd.factorize(groups)[0]
        for code in np.unique(codes[found[:, 0] < 0]):
            members = np.flatnonzero(codes == code)
            if len(members) >= n_pooled:
                wanted = members[found[members, 0] < 0]
                found[wanted] = members[nearest_neighbors(latent[members], latent[wanted], n_pooled)[0]]
    return found


def _drawn(counts: sparse.csr_matrix, pool: np.ndarray, random: np.random.Generator) -> sparse.csr_matrix:
    """Return multinomial counts as deep as each cell, from the pooled profiles."""
    n_cells, n_pooled = pool.shape
    weights = (np.ones(pool.size), pool.ravel(), np.arange(0, pool.size + 1, n_pooled))
    profiles = (sparse.csr_matrix(weights, shape=(n_cells, n_cells)) @ counts.astype(np.float64)).tocsr()
    depths = np.asarray(counts.sum(axis=1)).ravel().astype(np.int64)
    for cell, depth in enumerate(depths):
        values = profiles.data[profiles.indptr[cell] : profiles.indptr[cell + 1]]
        values[:] = random.multinomial(depth, values / values.sum()) if len(values) else values
    profiles.eliminate_zeros()
    found: sparse.csr_matrix = profiles.astype(counts.dtype)
    return found
