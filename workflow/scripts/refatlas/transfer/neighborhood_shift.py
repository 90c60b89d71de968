"""How much the mean expression around a query cell differs from that of the reference cells nearest
to it.

One cell's counts are mostly noise, so that a type close to one that the reference has is hardly
told by single cells. The mean of a neighbourhood has little of
that noise left, and a few genes set the neighbourhood apart.
"""

import numpy as np
from scipy import sparse

from refatlas.io.row_reader import take_rows
from refatlas.neighbors.exact_index import nearest
from refatlas.prepare.normalization import log_normalized
from refatlas.transfer.label_table import draw_evenly

# A smaller batch has no neighbourhoods: what is near would be all of it.
MIN_CELLS = 150
NEIGHBORS = 30
REFERENCE_NEIGHBORS = 50
TOP_GENES = 20
# Labels with fewer cells in a batch say nothing of the batch; with fewer labels than three, none is
# out of line.
MIN_PER_LABEL = 30
MIN_LABELS = 3
# Cells of the reference that are compared with, as many of each label as it has up to an even
# share.
MAX_REFERENCE = 20_000
MIN_PER_REFERENCE_LABEL = 100
BLOCK = 2048


def shift_from_reference(model, reference, query, latent: np.ndarray, seed: int, threads: int = 1) -> np.ndarray:
    """Return each query cell's divergence, shape (n_cells,); NaN in batches of fewer than MIN_CELLS
    cells.

    Args:
        model: of the reference. reference, query: AnnData of counts with the same genes; those that
            the query has not measured count on neither side.
        latent: of the query, in the same space as the model's.
    """
    measured = query.var["measured"].to_numpy()
    codes = (
        np.unique(reference.obs["label"].astype(str), return_inverse=True)[1]
        if "label" in reference.obs
        else np.zeros(reference.n_obs, dtype=int)
    )
    drawn = draw_evenly(codes, MAX_REFERENCE, MIN_PER_REFERENCE_LABEL, seed)
    seen = reference.obs.iloc[drawn].copy()
    sample = type(reference)(
        take_rows(reference.X, drawn) @ sparse.diags(measured.astype(np.float32)), obs=seen, var=reference.var
    )
    sides = [log_normalized(counts.X.tocsr()[:, measured]) for counts in (sample, query)]
    return neighborhood_shift(
        (model.latent(sample.copy()), sides[0], codes[drawn]),
        (latent, sides[1], query.obs["batch"].to_numpy(dtype=str)),
        threads,
    )


def neighborhood_shift(reference: tuple, query: tuple, threads: int = 1) -> np.ndarray:
    """Return the mean of the TOP_GENES largest differences between the mean expression of each
    cell's neighbourhood in its batch and that of the reference cells nearest to its middle.

    What most labels of a batch have in common is taken off before: it is the batch's, or a state's
    that all types share, and tells no type.

    Args:
        reference: latent space (n_reference, n_latent), log-normalised expression (n_reference,
            n_genes; CSR), and integer labels. query: the same, with batches.
    """
    latent, expression, batches = query
    found = np.full(len(latent), np.nan)
    for batch, n in zip(*np.unique(batches, return_counts=True), strict=True):
        if n >= MIN_CELLS:
            rows = np.flatnonzero(batches == batch)
            found[rows] = _of_batch(reference, latent[rows], expression[rows], threads)
    return found


def _of_batch(reference: tuple, latent: np.ndarray, expression: sparse.csr_matrix, threads: int) -> np.ndarray:
    places, reference_expression, labels = reference
    near = _averaging(nearest(latent, latent, NEIGHBORS, threads)[0], len(latent))
    near_reference = _averaging(nearest(places, near @ latent, REFERENCE_NEIGHBORS, threads)[0], len(places))
    given = np.asarray(
        (near_reference @ sparse.csr_matrix((np.ones(len(labels)), (np.arange(len(labels)), labels)))).argmax(axis=1)
    ).ravel()

    def difference(weights: sparse.csr_matrix, reference_weights: sparse.csr_matrix) -> np.ndarray:
        return (weights @ expression - reference_weights @ reference_expression).toarray()

    groups = [
        given == label for label, n in zip(*np.unique(given, return_counts=True), strict=True) if n >= MIN_PER_LABEL
    ]
    shared = np.zeros(expression.shape[1])
    if len(groups) >= MIN_LABELS:
        shared = np.median(
            [difference(*(_mean_row(weights[group]) for weights in (near, near_reference)))[0] for group in groups],
            axis=0,
        )
    starts = range(0, len(latent), BLOCK)
    return np.concatenate(
        [
            _largest(difference(near[start : start + BLOCK], near_reference[start : start + BLOCK]) - shared)
            for start in starts
        ]
    )


def _averaging(neighbors: np.ndarray, n_cells: int) -> sparse.csr_matrix:
    """Return the matrix that takes the mean over each row's neighbours, shape (n_rows, n_cells)."""
    n_rows, k = neighbors.shape
    return sparse.csr_matrix(
        (np.full(neighbors.size, 1 / k, dtype=np.float32), neighbors.ravel(), np.arange(0, neighbors.size + 1, k)),
        shape=(n_rows, n_cells),
    )


def _mean_row(weights: sparse.csr_matrix) -> sparse.csr_matrix:
    return sparse.csr_matrix(weights.mean(axis=0))


def _largest(differences: np.ndarray) -> np.ndarray:
    n = min(TOP_GENES, differences.shape[1])
    return np.sort(np.abs(differences), axis=1)[:, -n:].mean(axis=1)
