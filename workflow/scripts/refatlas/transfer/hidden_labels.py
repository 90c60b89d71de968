"""Novelty measures of held-out cells whose label was hidden from the reference: what an unknown type looks like."""

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.transfer.novelty_measures import MEASURES
from refatlas.transfer.query_match import match_query

# A label is hidden if so many held-out cells have it, and at most so many labels are.
MIN_CELLS = 10
MAX_LABELS = 12
# Reference cells to fit to, and held-out cells to measure, for each hidden label.
MAX_REFERENCE = 2_000
MAX_QUERY = 5_000
# With fewer labels left, a shift cannot be told from a type.
MIN_LABELS_LEFT = 2


def labels_to_hide(reference: np.ndarray, held_out: np.ndarray) -> list[str]:
    """Return the labels to hide one by one, at most MAX_LABELS, evenly from the frequent to the rare.

    Args:
        reference: labels of the reference's cells.
        held_out: labels of the held-out cells, None where unknown.
    """
    known = set(reference)
    names, sizes = np.unique([label for label in held_out if label in known], return_counts=True)
    enough = names[sizes >= MIN_CELLS][np.argsort(-sizes[sizes >= MIN_CELLS], kind="stable")]
    if len(known) - 1 < MIN_LABELS_LEFT or len(enough) == 0:
        return []
    picked = np.unique(np.linspace(0, len(enough) - 1, MAX_LABELS).round().astype(int))
    return [str(enough[i]) for i in picked]


def hidden_label_measures(
    reference: sparse.csr_matrix,
    labels: np.ndarray,
    query: sparse.csr_matrix,
    truth: np.ndarray,
    batches: np.ndarray,
    measured: np.ndarray,
    seed: int,
) -> pd.DataFrame:
    """Return the novelty measures of held-out cells, for each label that is hidden in turn.

    All cells are measured, but those without a label and those whose label the reference lacks are left out of the
    table: they are no example of a known type, nor of the hidden one.

    Args:
        reference: counts of labelled reference cells, shape (n_reference, n_genes).
        labels: of these cells.
        query: counts of held-out cells, shape (n_cells, n_genes).
        truth: label of each held-out cell, None where unknown.
        batches: batch of each held-out cell.
        measured: whether the held-out cells have each gene.
        seed: seed of all draws.

    Returns:
        One row per hidden label and held-out cell with a label of the reference: hidden, batch, given
        (the label that the cell is given), unseen (whether its label is the hidden one), and the
        measures; no rows if no label can be hidden.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(truth))[:MAX_QUERY])
    query, truth, batches, parts = query[rows], truth[rows], batches[rows], []
    known = pd.Series(truth, dtype=object).isin(set(labels)).to_numpy()
    for hidden in labels_to_hide(labels, truth):
        kept = np.flatnonzero(labels != hidden)
        found = match_query(
            reference[kept], labels[kept], query, batches, measured, seed, agreement=False, max_cells=MAX_REFERENCE
        )
        table = found.measures.assign(hidden=hidden, batch=batches, given=found.given(), unseen=truth == hidden)
        parts.append(table[known])
    columns = ["hidden", "batch", "given", "unseen", *MEASURES]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
