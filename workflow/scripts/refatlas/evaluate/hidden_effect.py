"""The error of counterfactual expression, from an experiment: a label's cells in the other batch are hidden from a
training, and the predicted change is compared with the one that these cells show. Importing it takes 10 to 30 s.
"""

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch

from refatlas.evaluate.counterfactual import correlation, log2_fold_change
from refatlas.models.expression import CELL_COUNTS, MINIBATCH, CellBlocks
from refatlas.models.interface import JobContext, Settings
from refatlas.models.scvi import train_scvi
from refatlas.models.scvi_training import start_training
from refatlas.models.typed_counts import cell_column

# Cells of a label that both batches must have; most cells of both batches that are trained on.
MIN_CELLS, MAX_CELLS = 50, 10_000
COLUMNS = ["label", "cells", "hidden_cells", "r_hidden", "r_seen", "r_other_labels", "mae_hidden", "mae_seen", "reason"]


def checked_labels(support: pd.DataFrame, most: int) -> list[str]:
    """Return the labels that are hidden: those with most cells in the batch that has fewer of them.

    Args:
        support: support.csv. most: number of labels.
    """
    fewest = support[["cells", "cells_in_target"]].min(axis=1).set_axis(support["label"])
    return list(fewest[fewest >= MIN_CELLS].sort_values(ascending=False, kind="stable").index[:most])


def drawn_cells(
    paths: list[str], labelled: pd.DataFrame, ends: tuple[str, str], labels: list[str], seed: int
) -> ad.AnnData:
    """Return counts of labelled cells of two batches in memory: of each MAX_CELLS / 2, and MIN_CELLS of some labels.

    Args:
        paths: of counts with one list of genes. labelled: batch and label, indexed by cell.
        labels: those that are hidden, of which a draw from a large batch may have too few. seed: of the draw.
    """
    random, parts = np.random.default_rng(seed), []
    for end in ends:
        names = labelled.index[labelled["batch"] == end]
        for path in paths:
            cells = CellBlocks(path)
            rows = np.flatnonzero(cells.obs.index.isin(names))
            if len(rows):
                shuffled = random.permutation(rows)
                own = labelled["label"].reindex(cells.obs.index[shuffled]).to_numpy()
                wanted = [shuffled[own == label][:MIN_CELLS] for label in labels]
                parts.append(plain(cells.take(np.unique(np.concatenate([shuffled[: MAX_CELLS // 2], *wanted])))))
                break
    both = ad.concat(parts, merge="same")
    both.obs["label"] = labelled["label"].reindex(both.obs_names)
    return both


def measured_errors(
    cells: ad.AnnData, ends: tuple[str, str], labels: list[str], settings: Settings, n_samples: int, job: JobContext
) -> pd.DataFrame:
    """Return the error of the predicted changes of some labels, one row per label.

    Args:
        cells: counts of two batches, with batch and label.
        ends: the batch whose cells are decoded, and that which they are decoded as.
        labels: each is hidden once. settings: sections model and train. n_samples: draws from the posterior.
        job: seed and threads.

    Returns:
        r_hidden, r_seen: Pearson's r over genes of the predicted with the measured log2 fold change, by a model that
            has not seen the label in the other batch, and by one that has. mae: mean absolute errors, likewise.
        r_other_labels: r of the mean change of the other labels, a prediction without a model.
        reason: why a label could not be hidden; nothing where it was.
    """
    rows = [hidden_row(cells, ends, label) for label in labels]
    sound = [row["label"] for row in rows if not row["reason"]]
    if sound:
        known = cell_column(cells, "label").dropna().unique()
        measured = {label: measured_change(cells, ends, label) for label in known}
        seen = predicted_changes(cells, cells, ends, sound, settings, n_samples, job)
    for row in rows:
        if row["label"] in sound:
            trained = cells[~hidden_cells(cells, ends, row["label"])].copy()
            hidden = predicted_changes(trained, cells, ends, [row["label"]], settings, n_samples, job)
            row |= errors_of(row["label"], measured, {"hidden": hidden[row["label"]], "seen": seen[row["label"]]})
    return pd.DataFrame(rows, columns=COLUMNS)


def hidden_cells(cells: ad.AnnData, ends: tuple[str, str], label: str) -> np.ndarray:
    """Return which cells are hidden with a label: its own in the other batch."""
    found: np.ndarray = ((cells.obs["label"] == label) & (cells.obs["batch"] == ends[1])).to_numpy()
    return found


def hidden_row(cells: ad.AnnData, ends: tuple[str, str], label: str) -> dict[str, Any]:
    """Return the label, its numbers of cells in both batches, and why it cannot be hidden; "" if it can."""
    of_label = cells.obs["label"] == label
    n_from, n_hidden = (int((of_label & (cells.obs["batch"] == end)).sum()) for end in ends)
    reason = ""
    if min(n_from, n_hidden) < MIN_CELLS:
        reason = f"{min(n_from, n_hidden)} cells in one of the batches, {MIN_CELLS} are needed"
    elif n_hidden == (cells.obs["batch"] == ends[1]).sum():
        # A model cannot decode cells as of a batch that it was not trained on.
        reason = "all labelled cells of the target batch have this label: without them, no model knows the batch"
    return {"label": label, "cells": n_from, "hidden_cells": n_hidden, "reason": reason}


def errors_of(label: str, measured: dict[str, Any], predicted: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the columns of a label's errors, by the measured changes of all labels and those predicted of it."""
    true = measured[label]
    rest = [change for name, change in measured.items() if name != label and change is not None]
    found = {f"r_{name}": correlation(true, change) for name, change in predicted.items()}
    found["r_other_labels"] = correlation(true, np.mean(rest, axis=0)) if rest else float("nan")
    return found | {f"mae_{name}": float(np.abs(true - change).mean()) for name, change in predicted.items()}


def measured_change(cells: ad.AnnData, ends: tuple[str, str], label: str) -> Any:
    """Return the log2 fold changes that a label's counts show between two batches; None with too few cells."""
    means = []
    for end in ends:
        rows = ((cells.obs["batch"] == end) & (cells.obs["label"] == label)).to_numpy()
        if rows.sum() < MIN_CELLS:
            return None
        x: Any = cells.X
        counts = x[rows]
        depth = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
        means.append(np.asarray(counts.multiply(CELL_COUNTS / depth[:, None]).mean(axis=0)).ravel())
    return log2_fold_change(means[1], means[0])


def predicted_changes(
    trained: ad.AnnData,
    cells: ad.AnnData,
    ends: tuple[str, str],
    labels: list[str],
    settings: Settings,
    n_samples: int,
    job: JobContext,
) -> dict[str, np.ndarray]:
    """Return log2 fold changes by label that a scVI predicts, trained on some cells.

    Args:
        trained: counts that it is trained on. cells: counts with those of the labels that are decoded.
    """
    start_training(job)
    model, _ = train_scvi(plain(trained), settings["model"], settings["train"], job)
    found, decoded = {}, plain(cells)
    for label in labels:
        rows = np.flatnonzero(((cells.obs["batch"] == ends[0]) & (cells.obs["label"] == label)).to_numpy())
        means = []
        for end in ends:
            torch.manual_seed(job.seed)
            values = model.get_normalized_expression(
                decoded, indices=rows, transform_batch=end, library_size=CELL_COUNTS, n_samples=n_samples,
                batch_size=MINIBATCH, return_numpy=True,
            )  # fmt: skip
            means.append(values.mean(axis=0, dtype=np.float64))
        found[label] = log2_fold_change(means[1], means[0])
    return found


def plain(cells: ad.AnnData) -> ad.AnnData:
    """Return counts with their batch alone: no label reaches the model."""
    return ad.AnnData(cells.X, obs=cell_column(cells, "batch").astype(str).to_frame(), var=cells.var)
