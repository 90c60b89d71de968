"""Counterfactual expression: cells of one batch decoded as if they were of another, and how far that is supported.

A model can be asked for any label in any batch, also for one that it has never seen there. So each label has the
number of its cells in the other batch, how far the two batches mix around them, and how stable the change is.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import read_cells
from refatlas.io.labels_csv import ASSIGNED, read_labels
from refatlas.neighbors.exact_index import nearest_neighbors

PROBE = "statistical probe of what the model has learned; no causal claim"
# Cells of the label that the other batch must have, and the least share of chance of its cells among neighbours.
MIN_CELLS, MIN_MIXING = 20, 0.1
# Neighbours of a cell, and most cells of a label that neighbours are found of.
N_NEIGHBORS, MAX_CELLS = 30, 2000
# Counts per 10,000 that are added before logarithms: below it, changes are noise.
PSEUDOCOUNT = 1.0
# Share of the counts that is kept for one measure of stability.
KEPT = 0.9
VARIANTS = ("all", "half 1", "half 2", "thinned")


class GroupSums:
    """Sums of expression by label, over blocks of cells.

    Args:
        n_labels, n_genes: numbers of both.
    """

    def __init__(self, n_labels: int, n_genes: int) -> None:
        self.sums, self.sizes = np.zeros((n_labels, n_genes)), np.zeros(n_labels)

    def add(self, codes: np.ndarray, values: np.ndarray) -> None:
        """Add cells.

        Args:
            codes: of their labels, -1 for none. values: expression, shape (n_cells, n_genes).
        """
        for code in np.unique(codes[codes >= 0]):
            self.sums[code] += values[codes == code].sum(axis=0, dtype=np.float64)
            self.sizes[code] += (codes == code).sum()

    def means(self) -> np.ndarray:
        """Return the mean of each label, shape (n_labels, n_genes); NaN for a label without cells."""
        with np.errstate(invalid="ignore"):
            return self.sums / self.sizes[:, None]


def log2_fold_change(means: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return log2((means + 1) / (before + 1)) of mean counts per 10,000."""
    return np.log2(means + PSEUDOCOUNT) - np.log2(before + PSEUDOCOUNT)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's r of two vectors; NaN where one does not vary or is not known."""
    if len(x) < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()) or x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


class Changes:
    """Changes of expression by label from one batch to another, over blocks of cells, with what measures stability.

    Args:
        labels: names. n_genes: of the model. seed: of the halves of the cells.
    """

    def __init__(self, labels: list[str], n_genes: int, seed: int) -> None:
        self.labels, self.random = labels, np.random.default_rng(seed)
        self.sums = {name: [GroupSums(len(labels), n_genes) for _ in range(2)] for name in VARIANTS}

    def add(self, codes: np.ndarray, own: Sequence[np.ndarray], thin: Sequence[np.ndarray]) -> None:
        """Add cells.

        Args:
            codes: of their labels, -1 for none.
            own: expression in their own and in the other batch, shape (n_cells, n_genes).
            thin: the same of the cells with fewer counts.
        """
        half = self.random.random(len(codes)) < 0.5
        parts = {"all": np.ones(len(codes), dtype=bool), "half 1": half, "half 2": ~half}
        for name, part in parts.items():
            for sums, values in zip(self.sums[name], own, strict=True):
                sums.add(codes[part], values[part])
        for sums, values in zip(self.sums["thinned"], thin, strict=True):
            sums.add(codes, values)

    def change(self, variant: str = "all") -> np.ndarray:
        """Return log2 fold changes, shape (n_labels, n_genes)."""
        before, after = (sums.means() for sums in self.sums[variant])
        return log2_fold_change(after, before)

    def stability(self) -> pd.DataFrame:
        """Return correlations of the change of each label: r_halves of its cells, r_thinned with fewer counts."""
        whole, thin, *halves = (self.change(name) for name in ("all", "thinned", "half 1", "half 2"))
        return pd.DataFrame(
            {
                "r_halves": [correlation(*pair) for pair in zip(*halves, strict=True)],
                "r_thinned": [correlation(*pair) for pair in zip(whole, thin, strict=True)],
            },
            index=pd.Index(self.labels, name="label"),
        )

    def table(self, genes: pd.DataFrame) -> pd.DataFrame:
        """Return one row per label and gene: mean in the cells' own batch and in the other, log2 fold change.

        Args:
            genes: index and symbol, with `column`, their places among the model's genes.
        """
        columns, (before, after) = genes["column"].to_numpy(), (sums.means() for sums in self.sums["all"])
        change = self.change()
        parts = [
            pd.DataFrame(
                {
                    "label": label,
                    "gene": genes.index.astype(str),
                    "symbol": genes["symbol"].to_numpy(),
                    "mean": before[i, columns],
                    "counterfactual_mean": after[i, columns],
                    "log2_fold_change": change[i, columns],
                }
            ).sort_values("log2_fold_change", ascending=False, kind="stable")
            for i, label in enumerate(self.labels)
            if self.sums["all"][0].sizes[i] > 0
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["label", "gene", "symbol"])


def neighbor_shares(
    latent: np.ndarray, cells: pd.DataFrame, labels: list[str], to: str, seed: int, threads: int = 1
) -> pd.Series:
    """Return by label the mean share of the other batch's cells among the neighbours of this batch's cells.

    Args:
        latent: of the cells of both batches, shape (n_cells, n_latent).
        cells: with batch and label. to: the other batch.
        labels: in the order of the result. seed: of the draw of cells, where there are many. threads: of the search.
    """
    other, random, found = (cells["batch"] == to).to_numpy(), np.random.default_rng(seed), {}
    for label in labels:
        rows = np.flatnonzero(~other & (cells["label"] == label).to_numpy())
        rows = np.sort(random.permutation(rows)[:MAX_CELLS])
        # One more than the neighbours, because each cell is its own nearest.
        near, _ = nearest_neighbors(latent, latent[rows], N_NEIGHBORS + 1, threads)
        itself = near == rows[:, None]
        itself[~itself.any(axis=1), -1] = True
        found[label] = other[near[~itself]].mean() if len(rows) else float("nan")
    return pd.Series(found, dtype=float).rename_axis("label")


def support_table(
    latent: np.ndarray, cells: pd.DataFrame, ends: tuple[str, str], seed: int, threads: int = 1
) -> pd.DataFrame:
    """Return whether the cells of each label can be compared with the other batch, one row per label of the first.

    Args:
        latent: of the labelled cells of both batches, shape (n_cells, n_latent).
        cells: with batch and label. ends: names of the cells' own and of the other batch.

    Returns:
        cells, cells_in_target: number of the label's cells in both batches.
        neighbor_share: mean share of the other batch among a cell's 30 nearest neighbours of both batches.
        expected_share: that of the other batch among the label's cells, and mixing their ratio: 1 is that of chance.
        supported: at least MIN_CELLS cells in the other batch, and mixing of at least MIN_MIXING; reason says why not.
    """
    sizes = [cells.loc[cells["batch"] == end, "label"].value_counts() for end in ends]
    labels = sorted(sizes[0].index[sizes[0] > 0])
    n_from, n_to = (size.reindex(labels, fill_value=0) for size in sizes)
    share = neighbor_shares(latent, cells, labels, ends[1], seed, threads)
    expected = n_to / (n_from + n_to)
    mixing = (share / expected).where(n_to > 0)
    found = pd.DataFrame({"cells": n_from, "cells_in_target": n_to, "neighbor_share": share})
    found["expected_share"], found["mixing"] = expected, mixing
    found["reason"] = [_reason(n, mixed) for n, mixed in zip(n_to, mixing, strict=True)]
    found.insert(5, "supported", found["reason"] == "")
    return found.rename_axis("label")


def _reason(n_cells: int, mixing: float) -> str:
    """Return why a label is not supported; nothing where it is. The number of cells is asked first."""
    if n_cells < MIN_CELLS:
        return f"{n_cells} cells of the label in the target batch, {MIN_CELLS} are needed"
    if not mixing >= MIN_MIXING:
        return f"the batches do not mix there: {mixing:.2f} of chance, {MIN_MIXING:g} is needed"
    return ""


def labelled_cells(reference: pd.DataFrame, query: pd.DataFrame | None, ends: tuple[str, str]) -> pd.DataFrame:
    """Return batch and label of the cells of two batches that have a label, indexed by cell.

    Args:
        reference: cells of the datasets, with batch, label and keep.
        query: those of a query, with batch and the delivered label, missing for those that are not assigned one; None
            without a query.
    """
    parts = [reference.loc[reference["keep"].astype(bool), ["batch", "label"]]]
    parts += [] if query is None else [query[["batch", "label"]]]
    cells = pd.concat(parts).dropna().astype(str)
    return cells[cells["batch"].isin(ends)]


def latent_rows(paths: list[str], cells: pd.Index) -> tuple[np.ndarray, pd.Index]:
    """Return the places of cells in latent spaces that are one, shape (n_cells, n_latent), and the cells that have one.

    Args:
        paths: latent.parquet of the reference, and of the query. cells: names.
    """
    tables: list[Any] = [pd.read_parquet(path) for path in paths]
    found = pd.concat([table[table.index.isin(cells)] for table in tables])
    return found.to_numpy(dtype=np.float32), found.index


def read_both(datasets: Iterable[str], query_cells: str | None, labels: str | None) -> Any:
    """Return cells of the datasets, and those of a query with their delivered labels, as `labelled_cells` takes them.

    Of a query, novel, ambiguous and low-quality cells have none: cells of a new type would support its nearest label.

    Args:
        datasets: paths of cells.parquet. query_cells, labels: paths of a query's cells.parquet and labels.csv; None
            without one.
    """
    reference = read_cells(list(datasets), ["batch", "label", "keep"])
    if query_cells is None or labels is None:
        return reference, None
    query = pd.read_parquet(query_cells, columns=["batch", "barcode"])
    table = read_labels(labels).loc[query["barcode"]].set_axis(query.index)
    return reference, query[["batch"]].assign(label=table["label"].where(table["status"] == ASSIGNED))


def require_batches(pairs: dict[str, dict[str, Any]], batches: pd.Series) -> None:
    """Raise an InputError if a pair names a batch that no cell has.

    Args:
        pairs: with from and to. batches: of all cells that are kept.
    """
    known = sorted(batches.astype(str).unique())
    for pair in pairs.values():
        for end in ("from", "to"):
            if pair[end] not in known:
                raise InputError(
                    f"config: expression: counterfactual: {end}: no cell has the batch {shown(pair[end])!r}; name one"
                    f" of {listed(known, 20)}"
                )
