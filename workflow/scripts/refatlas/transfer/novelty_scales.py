"""Two scales on which the novelty measures of a cell are compared: with its batch, and with its given label.

On the scale of the batch, a measure is compared with the more usual cells of the cell's own batch,
so that a shift of all cells does not count. It finds types in other laboratories. On the scale of
the label, it is compared with held-out cells that are given the same label, and what the labels of
the batch have in common is taken off. It spares labels that differ from the others by nature, or in
this laboratory.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from refatlas.transfer.query_alignment import batch_groups

# Center and scale in a batch: this quantile, and its distance to the lower one. They are those of usual cells also if a
# third of the cells is novel.
CENTER, LOWER = 0.35, 0.1
# Standardised measures are cut off here: further away says no more.
LOWEST, HIGHEST = -5.0, 10.0
# Labels with fewer cells in a batch do not count for what its labels have in common, nor do fewer labels.
MIN_LABEL_CELLS, MIN_LABELS = 10, 3
# Held-out cells of a label at which its own values count as much as those of all labels.
PRIOR_CELLS = 20
# A standard deviation of a normal distribution, in median absolute deviations.
MAD = 1.4826


def on_batch_scale(cells: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return measures relative to the usual cells of the same batch, shape (n_cells, n_measures).

    Missing values become 0: they say nothing.

    Args:
        cells: measures, given label and batch of each cell of one query.
        names: of the measures.
    """
    values, batches = _values(cells, names), cells["batch"].to_numpy(dtype=str)
    codes, found = pd.factorize(cells["given"].to_numpy(dtype=str))[0], np.zeros((len(cells), len(names)))
    for mask, representative in batch_groups(batches, codes, good_cells(cells)):
        center, lower = _quantile(values[representative], CENTER), _quantile(values[representative], LOWER)
        found[mask] = (values[mask] - center) / np.maximum(center - lower, 1e-3)
    return np.nan_to_num(np.clip(found, LOWEST, HIGHEST))


def learn_label_scale(known: pd.DataFrame, names: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Return "centers" and "spreads" of the measures of held-out cells by given label, and of "" for all.

    They are medians and median absolute deviations; those of a label with few cells are drawn
    towards those of all.

    Args:
        known: measures and given label of held-out cells.
        names: of the measures.
    """
    values, given = _values(known, names), known["given"].to_numpy(dtype=str)
    center, spread = _center_and_spread(values)
    found = {"centers": {"": center.tolist()}, "spreads": {"": spread.tolist()}}
    for label in np.unique(given):
        own_center, own_spread = _center_and_spread(values[given == label])
        share = (given == label).sum() / ((given == label).sum() + PRIOR_CELLS)
        found["centers"][label] = (share * own_center + (1 - share) * center).tolist()
        drawn = share * own_spread + (1 - share) * spread
        found["spreads"][label] = np.maximum(drawn, 0.3 * spread).tolist()
    return found


def on_label_scale(cells: pd.DataFrame, names: Sequence[str], scale: Mapping[str, Any]) -> np.ndarray:
    """Return measures relative to held-out cells of the same label and to the batch, shape (n_cells, n_measures).

    Missing values become 0: they say nothing.

    Args:
        cells: measures, given label and batch of each cell of one query.
        names: of the measures.
        scale: from `learn_label_scale`.
    """
    given, batches = cells["given"].to_numpy(dtype=str), cells["batch"].to_numpy(dtype=str)
    codes, labels = pd.factorize(given)
    centers, spreads = (
        np.array([scale[kind].get(label, scale[kind][""]) for label in labels])[codes]
        for kind in ("centers", "spreads")
    )
    # Divided first: this kept known cells from being called novel in the benchmark, where the other order did not.
    found = (_values(cells, names) - centers) / spreads
    shared = np.zeros(found.shape)
    for mask, representative in batch_groups(batches, codes, good_cells(cells)):
        usual = [_quantile(found[representative & (given == label)], 0.5) for label in _frequent(given[representative])]
        # Also of one label: cells of one type, from another laboratory, would all be rare by the shift alone.
        if usual:
            shared[mask] = np.nan_to_num(_quantile(np.array(usual), 0.5))
    return np.nan_to_num(np.clip(found - shared, LOWEST, HIGHEST))


def batch_spreads(cells: pd.DataFrame, scores: np.ndarray) -> Iterator[tuple[np.ndarray, float | None]]:
    """Yield the mask of each batch's cells, and the spread of its scores between and within labels.

    Both are median absolute deviations, so that one label whose cells are novel does not count. The
    spread is None with fewer than MIN_LABELS labels.

    Args:
        cells: given label and batch of each cell of one query.
        scores: of the cells, on the scale of the label.
    """
    given, batches, kept = cells["given"].to_numpy(dtype=str), cells["batch"].to_numpy(dtype=str), good_cells(cells)
    for batch in np.unique(batches):
        rows = batches == batch
        good = rows & kept
        parts = [scores[good & (given == label)] for label in _frequent(given[good])]
        if len(parts) < MIN_LABELS:
            yield rows, None
            continue
        medians = np.array([np.median(part) for part in parts])
        between = np.median(np.abs(medians - np.median(medians)))
        within = np.median([np.median(np.abs(part - median)) for part, median in zip(parts, medians, strict=True)])
        yield rows, float(np.hypot(between, within))


def good_cells(cells: pd.DataFrame) -> np.ndarray:
    """Return the mask of the cells of good quality; tables of earlier versions do not say which are."""
    return cells["kept"].to_numpy(dtype=bool) if "kept" in cells else np.ones(len(cells), dtype=bool)


def _frequent(given: np.ndarray) -> np.ndarray:
    labels, sizes = np.unique(given, return_counts=True)
    return labels[sizes >= MIN_LABEL_CELLS]


def _values(cells: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    return cells[list(names)].to_numpy(dtype=float)


def _center_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    center = np.nan_to_num(_quantile(values, 0.5))
    spread = np.nan_to_num(_quantile(np.abs(values - center), 0.5)) * MAD
    return center, np.maximum(spread, 1e-6)


def _quantile(values: np.ndarray, share: float) -> np.ndarray:
    """Return a quantile of each column without missing values; NaN if all are missing."""
    found = np.full(values.shape[1], np.nan)
    some = ~np.isnan(values).all(axis=0)
    found[some] = np.nanquantile(values[:, some], share, axis=0)
    return found
