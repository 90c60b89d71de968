"""What regions are told by: log-normalised expression of spatially variable genes, standardised."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from refatlas.prepare.normalization import log_normalized
from refatlas.spatial.spots import Spots

# Neighbours of a spot: those that touch it in the hexagons of Visium.
NEIGHBORS = 6
# Genes that are looked at together, so that their dense values stay small.
BLOCK_GENES = 200
# Standardised values beyond it say no more.
LARGEST = 10.0


@dataclass
class Features:
    """Genes, and what they are standardised by.

    Attributes:
        genes: positions among the genes of the spots, sorted.
        mean, sd: log-normalised expression of the spots in these genes, shape (n_genes,); sd is 1 where it would be 0.
    """

    genes: np.ndarray
    mean: np.ndarray
    sd: np.ndarray

    def apply(
        self, expression: sparse.csr_matrix, mean: np.ndarray | None = None, sd: np.ndarray | None = None
    ) -> np.ndarray:
        """Return standardised expression, shape (n_cells, n_genes), float32.

        Args:
            expression: log-normalised, in all genes of the spots.
            mean, sd: of the cells, in place of those of the spots.
        """
        values = expression[:, self.genes].toarray().astype(np.float64)
        values = (values - (self.mean if mean is None else mean)) / (self.sd if sd is None else sd)
        return np.clip(values, -LARGEST, LARGEST).astype(np.float32)


def fit_features(spots: Spots, n_genes: int) -> Features:
    """Return the genes with the highest Moran's I among these spots."""
    expression = log_normalized(spots.counts)
    scores = morans_i(expression, spots.xy, spots.sections)
    genes = np.sort(np.argsort(-scores, kind="stable")[: min(n_genes, int((scores > -np.inf).sum()))])
    return Features(genes, *mean_and_sd(expression[:, genes]))


def mean_and_sd(expression: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each gene, shape (n_genes,); the latter is 1 for a constant gene."""
    values = expression.astype(np.float64)
    mean = np.asarray(values.mean(axis=0)).ravel()
    square = np.asarray(values.multiply(values).mean(axis=0)).ravel()
    sd = np.sqrt(np.maximum(square - mean**2, 0))
    return mean, np.where(sd > 1e-6, sd, 1.0)


def morans_i(expression: sparse.csr_matrix, xy: np.ndarray, sections: np.ndarray) -> np.ndarray:
    """Return Moran's I of each gene (Moran 1950), -inf for a constant one, shape (n_genes,).

    It is the correlation of a spot's expression with the mean of its NEIGHBORS nearest spots of the same section.

    Args:
        expression: log-normalised, CSR of spots × genes.
        xy: coordinates, shape (n_spots, 2).
        sections: of the spots.
    """
    weights = neighbor_matrix(xy, sections)
    columns, found = expression.tocsc(), np.full(expression.shape[1], -np.inf)
    for start in range(0, expression.shape[1], BLOCK_GENES):
        values = columns[:, start : start + BLOCK_GENES].toarray().astype(np.float64)
        values -= values.mean(axis=0)
        square = np.square(values).sum(axis=0)
        varies = square > 1e-9
        product = (values * (weights @ values)).sum(axis=0)
        found[start : start + BLOCK_GENES][varies] = product[varies] / square[varies]
    return found


def neighbor_matrix(xy: np.ndarray, sections: np.ndarray) -> sparse.csr_matrix:
    """Return the share of each spot in the mean of the neighbours of each spot, CSR of (n_spots, n_spots)."""
    from scipy.spatial import cKDTree

    rows, columns, values = [], [], []
    for section in np.unique(sections):
        own = np.flatnonzero(sections == section)
        k = min(NEIGHBORS, len(own) - 1)
        if k < 1:
            continue
        near = cKDTree(xy[own]).query(xy[own], k=k + 1)[1]
        for i, neighbors in enumerate(near):
            others = neighbors[neighbors != i][:k]
            rows.append(np.full(len(others), own[i]))
            columns.append(own[others])
            values.append(np.full(len(others), 1 / len(others)))
    if not rows:
        return sparse.csr_matrix((len(xy), len(xy)))
    shape = (len(xy), len(xy))
    return sparse.csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
