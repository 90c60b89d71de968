"""Labels by a latent space in which only some of the cells have a place: votes, as of a source without one."""

import numpy as np
import pandas as pd

from refatlas.errors import InputError
from refatlas.neighbors.exact_index import ExactIndex
from refatlas.transfer.external_labels import EXTERNAL, Votes
from refatlas.transfer.label_table import label_table
from refatlas.transfer.weighted_knn import neighbor_weights, weighted_shares


def label_placed_cells(
    reference: pd.DataFrame, labels: pd.Series, query: pd.DataFrame, cells: pd.Index, k: int
) -> Votes:
    """Return the label of each cell that has a place, by weighted kNN; other cells have none, and no confidence.

    Args:
        reference: latent space of the reference cells that have a place. labels: of these, missing where unlabelled.
        query: latent space of the query cells that have a place.
        cells: names of all cells of the query.
        k: number of neighbours.

    Raises:
        InputError: no reference cell with a place has a label.
    """
    known = labels.dropna()
    if known.empty:
        raise InputError("no reference cell with a pair of T-cell receptors has a label; leave the model out")
    codes, names = pd.factorize(known.astype(str).to_numpy(dtype=object), sort=True)
    p = np.zeros((len(cells), len(names)))
    placed = cells.get_indexer(query.index)
    if len(query):
        index = ExactIndex.build(reference.loc[known.index].to_numpy())
        neighbors, distances = index.search(query.to_numpy(), min(k, len(known)))
        p[placed] = weighted_shares(codes.astype(np.int32), neighbors, neighbor_weights(distances), len(names))
    voting = np.zeros(len(cells), dtype=bool)
    voting[placed] = True
    table = label_table(cells, EXTERNAL, list(names), p)
    table.loc[~voting, ["label", "confidence"]] = [None, np.nan]
    n = int(voting.sum())
    return Votes(
        table, {"n_cells": len(cells), "n_votes": n, "n_missing": len(cells) - n, "left_out": {}, "unknown": {}}
    )
