"""How well a model explains the counts that it was given: a posterior predictive check of each
cell.
"""

import numpy as np
from scipy.special import xlogy

BLOCK = 1000


def poisson_deviance(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return each cell's deviance of counts from expected counts, both of shape (n_cells, n_genes)."""
    return 2 * (xlogy(counts, counts / expected) - counts + expected).sum(axis=1)


def deviance_ratio(model, counts, seed: int) -> np.ndarray:
    """Return each cell's deviance of its counts as a multiple of that of counts drawn from what the
    model expects, shape (n_cells,).

    About 1 where nothing but sampling noise is left; overdispersion that the model knows of is not
    in the drawn counts, so that only
    values of the same model on other cells are to be compared (Gelman 1996, with the deviance as
    discrepancy).

    Args:
        model: a mapped model, with `expected`. counts: AnnData of the query.
    """
    random, found = np.random.default_rng(seed), []
    for start in range(0, counts.n_obs, BLOCK):
        block = counts[start : start + BLOCK].copy()
        expected = np.maximum(model.expected(block).astype(np.float64), 1e-8)
        drawn = random.poisson(expected).astype(np.float64)
        found.append(
            poisson_deviance(block.X.toarray().astype(np.float64), expected)
            / np.maximum(poisson_deviance(drawn, expected), 1e-8)
        )
    return np.concatenate(found)


def masking_shift(model, counts, measured: np.ndarray, seed: int, n_cells: int = 1000, k: int = 15) -> float:
    """Return how far cells of the reference move if a query's missing genes are set to zero in
    them: 0 for none missing.

    The median distance moved, as a multiple of the median distance to the k-th nearest of the same
    cells. So missing genes weigh as much as the
    model makes of them.

    Args:
        model: of the reference. counts: of the reference. measured: whether the query has each
            gene.
    """
    from refatlas.neighbors.exact_index import nearest

    if measured.all():
        return 0.0
    drawn = np.sort(np.random.default_rng(seed).permutation(counts.n_obs)[:n_cells])
    cells = counts[drawn].copy()
    before = model.latent(cells.copy())
    cells.X = (cells.X @ _diagonal(measured)).tocsr()
    after = model.latent(cells)
    _, distances = nearest(before, before, min(k + 1, len(drawn)))
    return float(np.median(np.linalg.norm(after - before, axis=1)) / max(np.median(distances[:, -1]), 1e-12))


def _diagonal(measured: np.ndarray):
    from scipy import sparse

    return sparse.diags(measured.astype(np.float32))
