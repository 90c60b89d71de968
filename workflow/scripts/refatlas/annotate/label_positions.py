"""Where the labels of datasets lie in a latent space: which label of another dataset lies nearest to each label.

For every two datasets, the nearest cells of the other dataset vote on each cell's label there. Whether two labels are
the same does not follow from the share of votes alone: cells of a type that the other dataset lacks also vote for
something. So the measures are taken both ways, and between the cells that vote for each other it is measured whether
they mix.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from refatlas.annotate.label_text import clean_text, same_words
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer.label_table import draw_evenly

# Cells of a dataset that are drawn, equally many of each label as far as it has them: shares of some hundred cells of a
# label are exact to a few percent. Every two datasets are compared, so fewer are drawn of each if there are many.
MAX_CELLS, MIN_DRAWN_CELLS, MAX_CELLS_IN_ALL = 10_000, 2_000, 50_000
# Mixing is measured on at most so many cells of each label, by so many neighbours, and not for fewer cells.
MIXED_CELLS, MIXED_NEIGHBORS, MIN_MIXED_CELLS = 300, 10, 5
# Pairs of which fewer cells vote for each other are not written.
MIN_SHARE = 0.01
ENDS = ("dataset_a", "label_a", "dataset_b", "label_b")
PAIR_COLUMNS = (*ENDS, "share", "share_back", "returned", "returned_back", "mixing")


@dataclass(frozen=True)
class DatasetLabels:
    """Drawn labelled cells of one dataset.

    Attributes:
        name: of the dataset.
        labels: its labels, sorted.
        n_cells: number of labelled cells of each label, before the draw.
        codes: label of each drawn cell.
        x: latent space of the drawn cells, shape (n_drawn, n_latent).
    """

    name: str
    labels: list[str]
    n_cells: np.ndarray
    codes: np.ndarray
    x: np.ndarray

    def shares(self, votes: np.ndarray, n_labels: int) -> np.ndarray:
        """Return the share of each label's cells that vote for each label, shape (n_own, n_labels)."""
        counts = np.zeros((len(self.labels), n_labels))
        np.add.at(counts, (self.codes, votes), 1)
        return counts / np.maximum(np.bincount(self.codes, minlength=len(self.labels)), 1)[:, None]


def clean_labels(labels: pd.Series) -> pd.Series:
    """Return labels by `clean_text`."""
    codes, values = pd.factorize(labels)
    texts = np.array([*map(clean_text, values), None], dtype=object)
    return pd.Series(texts[codes], index=labels.index)


def labels_by_dataset(latent: pd.DataFrame, cells: pd.DataFrame, seed: int) -> list[DatasetLabels]:
    """Return the drawn labelled cells of every dataset that has any, in the order of the datasets.

    Args:
        latent: latent space, indexed by cell ("dataset:barcode").
        cells: label of at least these cells.
        seed: seed of the draw.
    """
    labels = clean_labels(cells["label"].reindex(latent.index)).to_numpy()
    datasets, names = pd.factorize(latent.index.str.split(":", n=1).str[0])
    n_cells = min(MAX_CELLS, max(MIN_DRAWN_CELLS, MAX_CELLS_IN_ALL // max(len(names), 1)))
    x, known, found = latent.to_numpy(), pd.notna(labels), []
    for code, name in enumerate(names):
        rows = np.flatnonzero((datasets == code) & known)
        if not len(rows):
            continue
        values, codes = np.unique(labels[rows].astype(str), return_inverse=True)
        drawn = draw_evenly(codes, max(n_cells, len(values)), 1, seed)
        found.append(DatasetLabels(name, values.tolist(), np.bincount(codes), codes[drawn], x[rows[drawn]]))
    return found


def vote(neighbors: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the label that each cell's neighbours vote for.

    The votes of a label are divided by those that it can have at most, so that a label with fewer cells than neighbours
    can win. Of labels with as many votes, the first wins.

    Args:
        neighbors: of each cell, shape (n_cells, k).
        codes: label of the cells that the neighbours are taken from.
    """
    sizes = np.bincount(codes)
    counts = np.zeros((len(neighbors), len(sizes)))
    for column in neighbors.T:
        counts[np.arange(len(neighbors)), codes[column]] += 1
    return (counts / np.minimum(neighbors.shape[1], np.maximum(sizes, 1))).argmax(axis=1)


def own_shares(dataset: DatasetLabels, k: int, threads: int) -> pd.DataFrame:
    """Return how a dataset's labels lie to each other: the share of each label's cells that vote for each label.

    Returns:
        Columns dataset, label, other, share, with a row for every two labels and for each label with itself.
    """
    n = len(dataset.labels)
    shares = np.zeros((n, n))
    if len(dataset.codes) > 1:
        neighbors, _ = nearest_neighbors(dataset.x, dataset.x, k + 1, threads)
        others = neighbors != np.arange(len(neighbors))[:, None]
        # Of cells at the same place, the cell itself need not be among its neighbours.
        others[others.all(axis=1), -1] = False
        shares = dataset.shares(vote(neighbors[others].reshape(len(neighbors), -1), dataset.codes), n)
    labels = np.array(dataset.labels, dtype=object)
    table = {"dataset": dataset.name, "label": np.repeat(labels, n), "other": np.tile(labels, n)}
    return pd.DataFrame({**table, "share": shares.ravel()})


def compare_datasets(a: DatasetLabels, b: DatasetLabels, k: int, seed: int, threads: int) -> pd.DataFrame:
    """Return how each label of a lies to each label of b.

    Returns:
        One row per pair of labels with votes, or with the same text:

        - share: of a's cells whose k nearest cells of the other dataset vote for b; share_back: the other way round.
        - returned: how many of the b cells next to those of a vote for a. Low if the other dataset lacks a, high if b
          contains it, however small a part of b it is; returned_back: the other way round.
        - mixing: how much the cells of a and b that vote for each other mix, 0 not at all, 1 as if they were drawn
          from one population; missing for too few.
    """
    to_b, _ = nearest_neighbors(b.x, a.x, k, threads)
    to_a, _ = nearest_neighbors(a.x, b.x, k, threads)
    votes_a, votes_b = vote(to_b, b.codes), vote(to_a, a.codes)
    share, back = a.shares(votes_a, len(b.labels)), b.shares(votes_b, len(a.labels)).T
    returned = _returned(a, b, to_b, votes_a, votes_b)
    returned_back = _returned(b, a, to_a, votes_b, votes_a).T
    rows, random = [], np.random.default_rng(seed)
    same_text = np.array([[same_words(x, y) for y in b.labels] for x in a.labels])
    for i, j in np.argwhere((np.maximum(share, back) >= MIN_SHARE) | same_text):
        meeting = a.x[(a.codes == i) & (votes_a == j)], b.x[(b.codes == j) & (votes_b == i)]
        place = a.name, a.labels[i], b.name, b.labels[j]
        values = share[i, j], back[i, j], returned[i, j], returned_back[i, j]
        rows.append((*place, *values, label_mixing(*meeting, random)))
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def _returned(
    a: DatasetLabels, b: DatasetLabels, neighbors: np.ndarray, votes: np.ndarray, back: np.ndarray
) -> np.ndarray:
    """Return the share of the neighbours with the voted label that vote for the cell's own, by both labels."""
    voted = b.codes[neighbors] == votes[:, None]
    agree = voted & (back[neighbors] == a.codes[:, None])
    sums, counts = np.zeros((2, len(a.labels), len(b.labels)))
    np.add.at(sums, (a.codes, votes), agree.sum(axis=1) / np.maximum(voted.sum(axis=1), 1))
    np.add.at(counts, (a.codes, votes), 1)
    return sums / np.maximum(counts, 1)


def label_mixing(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> float:
    """Return the share of cells' nearest cells that are of the other group, in units of its expectation.

    Equally many cells of both are drawn. Missing for fewer than MIN_MIXED_CELLS.
    """
    n = min(len(x), len(y), MIXED_CELLS)
    if n < MIN_MIXED_CELLS:
        return np.nan
    drawn = np.vstack([part[random.permutation(len(part))[:n]] for part in (x, y)])
    neighbors, _ = nearest_neighbors(drawn, drawn, min(MIXED_NEIGHBORS, n - 1) + 1)
    groups = np.repeat([0, 1], n)
    return float((groups[neighbors[:, 1:]] != groups[:, None]).mean() * (2 * n - 1) / n)


@dataclass(frozen=True)
class LabelPositions:
    """How the labels of several datasets lie to each other.

    Attributes:
        labels: dataset, label, n_cells (labelled cells), one row per label of a dataset.
        within: tables of `own_shares`.
        pairs: tables of `compare_datasets` for every two datasets, the first before the second.
    """

    labels: pd.DataFrame
    within: pd.DataFrame
    pairs: pd.DataFrame

    @classmethod
    def measure(
        cls, latent: pd.DataFrame, cells: pd.DataFrame, k: int, seed: int, threads: int = 1
    ) -> "LabelPositions":
        """Return the positions in a latent space.

        Args:
            latent: latent space, indexed by cell ("dataset:barcode").
            cells: label of at least these cells.
            k: number of neighbours that vote.
            seed: seed of the draws.
            threads: threads of the search.
        """
        datasets = labels_by_dataset(latent, cells, seed)
        sizes = [{"dataset": d.name, "label": d.labels, "n_cells": d.n_cells} for d in datasets]
        pairs = [compare_datasets(a, b, k, seed, threads) for a, b in combinations(datasets, 2)]
        return cls(
            _stacked([pd.DataFrame(size) for size in sizes], ["dataset", "label", "n_cells"]),
            _stacked([own_shares(dataset, k, threads) for dataset in datasets], ["dataset", "label", "other", "share"]),
            _stacked(pairs, list(PAIR_COLUMNS)),
        )


def _stacked(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    full = [table for table in tables if len(table)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=columns)
