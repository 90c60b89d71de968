"""Neighbourhood expression shift: mean expression around a query cell, less that of the nearest reference cells.

The counts of one cell are mostly noise, so that single cells hardly reveal a type that is close to
one of the reference. The mean of a neighbourhood has little of this noise left, and a few genes
distinguish it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from refatlas.io.row_reader import take_rows
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.prepare.normalization import log_normalized
from refatlas.transfer.label_table import draw_evenly
from refatlas.transfer.model_fit import FittedModel
from refatlas.transfer.recorded_rows import rows_of

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

# In a smaller batch, a neighbourhood would be most of the batch.
MIN_CELLS = 150
NEIGHBORS = 30
REFERENCE_NEIGHBORS = 50
TOP_GENES = 20
# Labels with fewer cells in a batch do not count for what the batch's labels share, and with fewer
# than MIN_LABELS such labels nothing is taken as shared.
MIN_PER_LABEL = 30
MIN_LABELS = 3
# Reference cells to compare with, drawn evenly from its labels.
MAX_REFERENCE = 20_000
MIN_PER_REFERENCE_LABEL = 100
BLOCK = 2048


@dataclass
class ReferenceCells:
    """Reference cells to compare with.

    Attributes:
        latent: latent space, shape (n_cells, n_latent).
        expression: log-normalised expression, shape (n_cells, n_genes).
        labels: label of each cell, an integer.
    """

    latent: np.ndarray
    expression: sparse.csr_matrix
    labels: np.ndarray


@dataclass
class QueryCells:
    """Cells of a query.

    Attributes:
        latent: latent space, shape (n_cells, n_latent).
        expression: log-normalised expression, shape (n_cells, n_genes).
        batches: batch of each cell.
    """

    latent: np.ndarray
    expression: sparse.csr_matrix
    batches: np.ndarray


def shift_from_reference(
    model: FittedModel,
    reference: "ad.AnnData",
    query: "ad.AnnData",
    latent: np.ndarray,
    seed: int,
    threads: int = 1,
) -> np.ndarray:
    """Return the neighbourhood expression shift of each query cell, shape (n_cells,).

    It is NaN in batches of fewer than MIN_CELLS cells. Genes that the query has not measured are
    ignored.

    Args:
        model: of the reference.
        reference: its counts with the genes of the query, or the sample of them.
        query: counts, with `measured` in var.
        latent: of the query, in the latent space of the model.
        seed: seed of the draw of reference cells.
        threads: number of threads.
    """
    measured = query.var["measured"].to_numpy()
    obs: Any = reference.obs
    codes, drawn = label_codes(obs), rows_of(reference, "compared", lambda: compared_rows(obs, seed))
    stored: Any = reference.X
    counts = take_rows(stored, drawn) @ sparse.diags(measured.astype(np.float32))
    sample = type(reference)(counts, obs=reference.obs.iloc[drawn].copy(), var=reference.var)
    expression, query_expression = (_log_normalized(cells, measured) for cells in (sample, query))
    return neighborhood_shift(
        ReferenceCells(model.latent(sample.copy()), expression, codes[drawn]),
        QueryCells(latent, query_expression, np.array(query.obs["batch"], dtype=str)),
        threads,
    )


def label_codes(obs: "pd.DataFrame") -> np.ndarray:
    """Return a code of each cell's label, shape (n_cells,); unlabelled cells have one of their own."""
    if "label" not in obs:
        return np.zeros(len(obs), dtype=int)
    return np.unique(obs["label"].astype(str), return_inverse=True)[1]


def compared_rows(obs: "pd.DataFrame", seed: int) -> np.ndarray:
    """Return the rows of the reference cells that queries are compared with, equally many of each label."""
    return draw_evenly(label_codes(obs), MAX_REFERENCE, MIN_PER_REFERENCE_LABEL, seed)


def _log_normalized(counts: "ad.AnnData", measured: np.ndarray) -> sparse.csr_matrix:
    x: Any = counts.X
    return log_normalized(x.tocsr()[:, measured])


def neighborhood_shift(
    reference: ReferenceCells, query: QueryCells, threads: int = 1, min_cells: int = MIN_CELLS
) -> np.ndarray:
    """Return the neighbourhood expression shift of each query cell, shape (n_cells,).

    The mean expression of the cell's nearest cells in its batch is compared with that of the
    reference cells nearest to the mean of their positions. The shift is the mean of the TOP_GENES
    largest absolute differences. The median difference over the batch's labels is subtracted first:
    it is a batch effect, or a state that all types share, and does not reveal a type.

    Args:
        reference: cells to compare with.
        query: cells with the same genes and the same latent space.
        threads: number of threads.
        min_cells: cells of smaller batches have no shift.
    """
    found = np.full(len(query.latent), np.nan)
    for batch, n in zip(*np.unique(query.batches, return_counts=True), strict=True):
        if n >= min_cells:
            rows = np.flatnonzero(query.batches == batch)
            found[rows] = _shift_in_batch(reference, query.latent[rows], query.expression[rows], threads)
    return found


def _shift_in_batch(
    reference: ReferenceCells, latent: np.ndarray, expression: sparse.csr_matrix, threads: int
) -> np.ndarray:
    neighbors, _ = nearest_neighbors(latent, latent, NEIGHBORS, threads)
    near = _averaging(neighbors, len(latent))
    reference_neighbors, _ = nearest_neighbors(reference.latent, near @ latent, REFERENCE_NEIGHBORS, threads)
    near_reference = _averaging(reference_neighbors, len(reference.latent))

    def difference(weights: sparse.csr_matrix, reference_weights: sparse.csr_matrix) -> np.ndarray:
        return (weights @ expression - reference_weights @ reference.expression).toarray()

    groups = _cells_by_label(near_reference, reference.labels)
    shared = np.zeros(expression.shape[1])
    if len(groups) >= MIN_LABELS:
        means = [difference(_mean_row(near[group]), _mean_row(near_reference[group]))[0] for group in groups]
        shared = np.median(means, axis=0)
    blocks = [slice(start, start + BLOCK) for start in range(0, len(latent), BLOCK)]
    return np.concatenate([_largest(difference(near[rows], near_reference[rows]) - shared) for rows in blocks])


def _cells_by_label(near_reference: sparse.csr_matrix, labels: np.ndarray) -> list[np.ndarray]:
    """Return a mask of the cells of each label with enough of them, by the nearest reference cells."""
    one_hot = sparse.csr_matrix((np.ones(len(labels)), (np.arange(len(labels)), labels)))
    given = np.asarray((near_reference @ one_hot).argmax(axis=1)).ravel()
    names, sizes = np.unique(given, return_counts=True)
    return [given == label for label, n in zip(names, sizes, strict=True) if n >= MIN_PER_LABEL]


def _averaging(neighbors: np.ndarray, n_cells: int) -> sparse.csr_matrix:
    """Return the matrix that averages over each row's neighbours, shape (n_rows, n_cells)."""
    n_rows, k = neighbors.shape
    return sparse.csr_matrix(
        (np.full(neighbors.size, 1 / k, dtype=np.float32), neighbors.ravel(), np.arange(0, neighbors.size + 1, k)),
        shape=(n_rows, n_cells),
    )


def _mean_row(weights: sparse.csr_matrix) -> sparse.csr_matrix:
    return sparse.csr_matrix(weights.mean(axis=0))


def _largest(differences: np.ndarray) -> np.ndarray:
    """Return the mean of the TOP_GENES largest absolute differences of each row."""
    n = min(TOP_GENES, differences.shape[1])
    return np.sort(np.abs(differences), axis=1)[:, -n:].mean(axis=1)
