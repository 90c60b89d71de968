"""Cells shown to totalVI a second time without their proteins, and queries that have none.

A model that has seen every cell with its proteins relies on them, and misplaces queries that have
none. So it also sees a part of the cells without them, as further batches. A query's batches
without proteins start surgery from the weights of these.
"""

from typing import Any

import numpy as np
from anndata import AnnData

from refatlas.errors import InputError
from refatlas.models.typed_counts import cell_column, protein_counts

# The end of the names of these further batches.
HIDDEN = "|proteins hidden"


def with_hidden_proteins(counts: AnnData, share: float, seed: int) -> AnnData:
    """Return counts, followed by a share of the cells with proteins once more without them.

    Raises:
        InputError: a batch has a name like those of the further batches.
    """
    import anndata as ad

    taken = [batch for batch in cell_column(counts, "batch").astype(str).unique() if batch.endswith(HIDDEN)]
    if taken:
        raise InputError(f"batch {taken[0]!r}: names that end in {HIDDEN!r} are reserved; rename the batch")
    measured = np.flatnonzero(protein_counts(counts).any(axis=1))
    drawn = np.sort(np.random.default_rng(seed).permutation(measured)[: round(share * len(measured))])
    if len(drawn) == 0:
        return counts
    cells = ad.AnnData(
        counts.X,
        obs=cell_column(counts, "batch").astype(str).to_frame(),
        var=counts.var,
        obsm={"proteins": counts.obsm["proteins"]},
    )
    hidden = cells[drawn].copy()
    hidden.obs["batch"] += HIDDEN
    hidden.obs_names += HIDDEN
    protein_counts(hidden)[:] = 0
    both = ad.concat([cells, hidden], merge="same")
    both.uns["protein_names"] = counts.uns["protein_names"]
    return both


def start_from_hidden(
    weights: dict[str, Any],
    reference_weights: dict[str, Any],
    batches: list[str],
    reference_batches: list[str],
    without_proteins: list[str],
) -> None:
    """Set the weights of a query's batches without proteins to those of the first hidden batch.

    Weights of batches are the last along every axis that grew with the number of batches.

    Args:
        weights: state dict of the query's untrained model, changed in place.
        reference_weights: state dict of the model that the query is mapped to.
        batches: of the query's model, in the order of its weights.
        reference_batches: of the reference model, likewise.
        without_proteins: batches of the query.
    """
    hidden = [place for place, batch in enumerate(reference_batches) if batch.endswith(HIDDEN)]
    if not hidden:
        return
    places = [batches.index(batch) for batch in without_proteins]
    for name, values in weights.items():
        for axis in range(values.ndim):
            n_before = reference_weights[name].shape[axis]
            shift = n_before - len(reference_batches)
            if values.shape[axis] > n_before:
                for place in places:
                    values.select(axis, shift + place).copy_(values.select(axis, shift + hidden[0]).clone())
