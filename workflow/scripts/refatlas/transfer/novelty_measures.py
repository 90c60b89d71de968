"""Measures of how unlike a cell is to the cells of the labels that it is compared with.

They are measured after the shift that all labels of the query share is taken off (see
`query_alignment`), on the scale of logarithms where a measure is a ratio, and each is averaged with
its mean over the cell's neighbours: a type that the reference lacks appears as many cells with high
values that lie together.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer.matched_reference import MatchedReference
from refatlas.transfer.neighborhood_shift import QueryCells, ReferenceCells, neighborhood_shift
from refatlas.transfer.weighted_knn import outlier_factors

MEASURES = (
    "uncertainty",
    "disagreement",
    "energy",
    "distance",
    "mahalanobis",
    "relative_mahalanobis",
    "neighborhood_shift",
)
# Cells over which values are averaged, the cell itself included. Batches with less than twice as many stay as they are.
NEIGHBORS = 15
# In a smaller batch, the neighbourhoods of the neighbourhood expression shift would be most of the batch.
MIN_NEIGHBORHOOD_CELLS = 60
LEAST = 1e-3


@dataclass
class AlignedCells:
    """Query cells after alignment.

    Attributes:
        expression: log-normalised expression before the shift is taken off, shape (n_cells, n_genes).
        latent: latent space after it is, shape (n_cells, n_latent).
        scores: linear scores of the labels, shape (n_cells, n_labels).
        probabilities: of the labels by each source, shape (n_cells, n_labels).
        pooled: probabilities of all sources, same shape.
        batches: batch of each cell.
    """

    expression: sparse.csr_matrix
    latent: np.ndarray
    scores: np.ndarray
    probabilities: dict[str, np.ndarray]
    pooled: np.ndarray
    batches: np.ndarray


def novelty_measures(reference: MatchedReference, query: AlignedCells, threads: int = 1) -> pd.DataFrame:
    """Return the measures in MEASURES, one row per cell; larger means less alike.

    uncertainty is 1 - the pooled confidence, disagreement 1 - the probability that two sources draw
    the same label, energy the negative log-sum-exp of the linear scores (Liu 2020), distance the
    local outlier factor (Breunig 2000), mahalanobis the distance to the nearest label, and
    relative_mahalanobis its square less that to all cells (Ren 2021). neighborhood_shift is missing
    in small batches.
    """
    from scipy.special import logsumexp

    nearest, background = _mahalanobis(reference, query.latent)
    both = query.probabilities["classifier"] * query.probabilities["knn"]
    found = pd.DataFrame(
        {
            "uncertainty": np.log(1 - query.pooled.max(axis=1) + LEAST),
            "disagreement": np.log(np.maximum(1 - both.sum(axis=1), 0) + LEAST),
            "energy": -logsumexp(query.scores, axis=1),
            "distance": np.log(outlier_factors(reference.latent, query.latent, threads)),
            "mahalanobis": np.sqrt(nearest),
            "relative_mahalanobis": nearest - background,
            "neighborhood_shift": np.log(_neighborhood_shift(reference, query, threads)),
        }
    )
    return smoothed(found[list(MEASURES)], query.latent, query.batches)


def _mahalanobis(reference: MatchedReference, latent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return squared Mahalanobis distances of cells to the nearest label, and to all reference cells."""
    n_labels = len(reference.labels)
    means = np.stack([reference.latent[reference.codes == k].mean(axis=0) for k in range(n_labels)])
    center = reference.latent.mean(axis=0)
    within = _whitening(reference.latent - means[reference.codes])
    overall = _whitening(reference.latent - center)
    places, centers = latent @ within, means @ within
    nearest = np.min([np.square(places - place).sum(axis=1) for place in centers], axis=0)
    return nearest, np.square((latent - center) @ overall).sum(axis=1)


def _whitening(residuals: np.ndarray) -> np.ndarray:
    """Return the matrix that turns residuals into uncorrelated values of variance 1."""
    covariance = residuals.T @ residuals / len(residuals)
    width = len(covariance)
    values, axes = np.linalg.eigh(covariance + 1e-3 * np.trace(covariance) / width * np.eye(width))
    return axes / np.sqrt(values)


def _neighborhood_shift(reference: MatchedReference, query: AlignedCells, threads: int) -> np.ndarray:
    """Return the neighbourhood expression shift, which takes off what labels share by itself."""
    cells = ReferenceCells(reference.latent, reference.expression, reference.codes)
    others = QueryCells(query.latent, query.expression, query.batches)
    return np.maximum(neighborhood_shift(cells, others, threads, MIN_NEIGHBORHOOD_CELLS), 1e-6)


def smoothed(measures: pd.DataFrame, latent: np.ndarray, batches: np.ndarray) -> pd.DataFrame:
    """Return each cell's values averaged with their mean over its nearest cells in its batch.

    The mean alone would call a whole type unlike the reference if its state had shifted slightly.
    """
    found = measures.copy()
    for name in np.unique(batches):
        rows = np.flatnonzero(batches == name)
        if len(rows) >= 2 * NEIGHBORS:
            neighbors, _ = nearest_neighbors(latent[rows], latent[rows], NEIGHBORS)
            values = measures.to_numpy()[rows]
            found.iloc[rows] = (values + values[neighbors].mean(axis=1)) / 2
    return found
