"""The delivered label of each cell at all levels, from the coarsest to the finest."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from refatlas.transfer.calibration import calibrated, fit_temperature
from refatlas.transfer.hierarchy import parent_groups, parent_sums


def learn_levels(p: np.ndarray, labels: list[str], truth: np.ndarray, parents: pd.DataFrame) -> dict[str, Any]:
    """Return a calibrator for the probabilities of each coarser level, by the name of its column.

    Args:
        p: delivered probabilities of held-out cells, shape (n_cells, n_labels).
        labels: the labels.
        truth: column of each cell's true label.
        parents: coarser labels of each label, from `hierarchy`.
    """
    found = {}
    for column in parents:
        names, codes = parent_groups(labels, parents[column])
        found[column] = fit_temperature(parent_sums(p, codes, len(names)), codes[truth])
    return found


def labels_of_all_levels(shares: pd.DataFrame, parents: pd.DataFrame, calibrators: Mapping[str, Any]) -> pd.DataFrame:
    """Return label and confidence of each cell, and label_N and confidence_N of each coarser level.

    The likeliest label is taken at the coarsest level, and at each finer one the likeliest of its
    children, so that the levels agree. Each level is calibrated by itself; without a calibrator, the
    confidence is the sum of the children's probabilities.

    Args:
        shares: delivered probabilities, cells × labels.
        parents: coarser labels of each label, from `hierarchy`; columns from the finest on.
        calibrators: from `learn_levels`.
    """
    p, labels = shares.to_numpy(), list(shares.columns)
    rows, allowed = np.arange(len(p)), np.ones(p.shape, dtype=bool)
    # Although each level is calibrated by itself, no label can be surer than a coarser one that contains it.
    highest = np.ones(len(p))
    levels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for column in reversed(parents.columns):
        names, codes = parent_groups(labels, parents[column])
        best = parent_sums(np.where(allowed, p, 0.0), codes, len(names)).argmax(axis=1)
        sums = parent_sums(p, codes, len(names))
        confidence = (calibrated(sums, calibrators[column]) if column in calibrators else sums)[rows, best]
        label = np.array(names, dtype=object)[best]
        named = np.array([name is not None for name in label], dtype=bool)
        highest = np.where(named, np.minimum(confidence, highest), highest)
        levels[column] = label, np.where(named, highest, np.nan)
        allowed &= codes[None, :] == best[:, None]
    best = np.where(allowed, p, -1.0).argmax(axis=1)
    confidence = np.minimum(p[rows, best], highest)
    found = pd.DataFrame({"label": np.array(labels, dtype=object)[best], "confidence": confidence}, index=shares.index)
    for column in parents:
        found[column], found[column.replace("label", "confidence")] = levels[column]
    return found
