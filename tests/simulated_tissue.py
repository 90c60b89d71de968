"""Simulated tissues: spots on a grid whose regions have genes of their own, and cells whose region is known."""

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.spatial.placing import Query
from refatlas.spatial.spots import Spots

N_GENES, OWN_GENES = 80, 8
NAMES = pd.Index([f"G{i}" for i in range(N_GENES)])


def simulated_tissue(side: int = 20, layers: int = 4, bands: int = 1, seed: int = 0, strength: float = 3.0) -> Spots:
    """Return side × side spots: layers along y, of which each has genes of its own, and bands along x likewise.

    The named regions are the layers.
    """
    x, y = (values.ravel().astype(float) for values in np.meshgrid(np.arange(side), np.arange(side)))
    layer, band = (y * layers // side).astype(int), (x * bands // side).astype(int)
    counts = _counts(layer, band, layers, bands, seed, strength, 600)
    names = pd.Index([f"spot{i}" for i in range(len(x))])
    regions = np.array([f"layer{code}" for code in layer], dtype=object)
    return Spots(counts, NAMES, list(NAMES), names, np.column_stack([x, y]), np.full(len(x), ""), regions)


def simulated_cells_of(layers: int = 4, n: int = 300, seed: int = 1, strength: float = 3.0):
    """Return counts of cells of known layers, and these: deeper than spots, with another efficiency of each gene."""
    random = np.random.default_rng(seed)
    layer = random.integers(0, layers, n)
    factors = random.lognormal(0, 0.5, N_GENES)
    counts = _counts(layer, np.zeros(n, dtype=int), layers, 1, seed + 1, strength, 1500, factors)
    return counts, np.array([f"layer{code}" for code in layer], dtype=object)


def query_of(counts, genes=NAMES, measured=None, good=None, standardize: str = "each") -> Query:
    """Return cells as a query: all genes are measured and all cells good, if nothing else is said."""
    measured = np.ones(counts.shape[1], dtype=bool) if measured is None else measured
    return Query(counts, genes, measured, np.ones(counts.shape[0], dtype=bool) if good is None else good, standardize)


def _counts(layer, band, layers, bands, seed, strength, depth, factors=1.0) -> sparse.csr_matrix:
    """Return Poisson counts; own genes of a layer or a band are `strength` times as frequent there."""
    rates = np.tile(np.random.default_rng(99).gamma(1.0, 1.0, N_GENES) + 0.2, (len(layer), 1)) * factors
    for place, (codes, n) in enumerate(((layer, layers), (band, bands))):
        for code in range(n if n > 1 else 0):
            first = (place * layers + code) * OWN_GENES
            rates[np.ix_(codes == code, np.arange(first, first + OWN_GENES))] *= strength
    rates *= depth / rates.sum(axis=1, keepdims=True)
    return sparse.csr_matrix(np.random.default_rng(seed).poisson(rates).astype(np.float32))
