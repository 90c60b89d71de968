"""Fit of a model to the counts of each cell (a posterior predictive check), and the effect of missing genes."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy import sparse
from scipy.special import xlogy

from refatlas.transfer.recorded_rows import rows_of

if TYPE_CHECKING:
    import anndata as ad

BLOCK = 1000
# Reference cells that are moved.
MOVED = 1000


class FittedModel(Protocol):
    """The parts of a model that are used here."""

    def latent(self, counts: "ad.AnnData") -> np.ndarray:
        """Return the latent space, shape (n_cells, n_latent)."""

    def expected(self, counts: "ad.AnnData") -> np.ndarray:
        """Return the expected counts, shape (n_cells, n_genes)."""


def poisson_deviance(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return each cell's Poisson deviance of counts from expected counts, shape (n_cells,).

    Args:
        counts, expected: shape (n_cells, n_genes).
    """
    return 2 * (xlogy(counts, counts / expected) - counts + expected).sum(axis=1)


def deviance_ratio(model: FittedModel, counts: "ad.AnnData", seed: int) -> np.ndarray:
    """Return each cell's deviance as a multiple of that of simulated counts, shape (n_cells,).

    Counts are simulated as Poisson draws from the model's expectation. The ratio is about 1 where
    only sampling noise is left. Overdispersion is not simulated, so that values are comparable only
    between cells under the same model (Gelman 1996, with the deviance as discrepancy).

    Args:
        model: a mapped model.
        counts: of the query.
        seed: seed of the simulation.
    """
    random, found = np.random.default_rng(seed), []
    for start in range(0, counts.n_obs, BLOCK):
        block = counts[start : start + BLOCK].copy()
        expected = np.maximum(model.expected(block).astype(np.float64), 1e-8)
        drawn = random.poisson(expected).astype(np.float64)
        x: Any = block.X
        observed = poisson_deviance(x.toarray().astype(np.float64), expected)
        found.append(observed / np.maximum(poisson_deviance(drawn, expected), 1e-8))
    return np.concatenate(found)


def masking_shift(model: FittedModel, counts: "ad.AnnData", measured: np.ndarray, seed: int, k: int = 15) -> float:
    """Return how far reference cells move if the genes that a query lacks are set to zero.

    The median distance moved, as a multiple of the median distance to the k-th nearest of the same
    cells; 0 if no gene is missing. Thus missing genes count as much as they matter to the model.

    Args:
        model: of the reference.
        counts: of the reference, or the sample of them.
        measured: whether the query has each gene, shape (n_genes,).
        seed: seed of the draw of cells.
        k: number of neighbours.
    """
    from refatlas.neighbors.exact_index import nearest_neighbors

    if measured.all():
        return 0.0
    drawn = rows_of(counts, "moved", lambda: moved_rows(counts.n_obs, seed))
    cells = counts[drawn].copy()
    before = model.latent(cells.copy())
    x: Any = cells.X
    cells.X = (x @ sparse.diags(measured.astype(np.float32))).tocsr()
    after = model.latent(cells)
    _, distances = nearest_neighbors(before, before, min(k + 1, len(drawn)))
    return float(np.median(np.linalg.norm(after - before, axis=1)) / max(np.median(distances[:, -1]), 1e-12))


def moved_rows(n_cells: int, seed: int) -> np.ndarray:
    """Return the rows of the reference cells that are moved, of so many."""
    return np.sort(np.random.default_rng(seed).permutation(n_cells)[:MOVED])
