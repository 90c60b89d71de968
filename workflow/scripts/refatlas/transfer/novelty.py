"""Novelty score of a cell: how unlike the reference it is, as a percentile among held-out cells.

Two scores are learned on held-out cells. The cell score combines measures of each cell by itself.
The neighborhood score combines the cell score, smoothed over the cell's neighbours, with the
neighbourhood expression shift; cells of small batches have none.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer.evidence import Evidence

# Cells of a batch over which the cell score is averaged, the cell itself included.
NEIGHBORS = 15
# The only measure of neighbourhoods; it is missing for cells of small batches.
NEIGHBORHOOD_SHIFT = "neighborhood_shift"
GRID = np.linspace(0, 1, 501)


def cell_measures(evidence: Evidence, p: np.ndarray) -> pd.DataFrame:
    """Return the novelty measures of cells by themselves, with uncertainty: 1 - the delivered confidence.

    Args:
        evidence: on the cells.
        p: delivered probabilities, shape (n_cells, n_labels).
    """
    measures = evidence.novelty_measures
    return measures.loc[:, [not _is_neighborhood_shift(name) for name in measures]].assign(
        uncertainty=1 - p.max(axis=1)
    )


def learn_novelty(evidence: Evidence, p: np.ndarray) -> dict[str, Any]:
    """Return quantiles of all measures and scores over held-out cells.

    Args:
        evidence: on the held-out cells.
        p: their delivered probabilities, shape (n_cells, n_labels).

    Returns:
        "cell_measures" and "neighborhood_measures": quantiles of each measure by its name;
        "cell_score" and "neighborhood_score": those of the scores. What belongs to neighbourhoods is
        None if no batch is large enough.
    """
    score, cell_quantiles, cell_score_quantiles = _learn_score(cell_measures(evidence, p))
    batches = [table for _, table in neighborhood_measures(evidence, score)]
    quantiles, score_quantiles = _learn_score(pd.concat(batches))[1:] if batches else (None, None)
    return {
        "cell_measures": cell_quantiles,
        "cell_score": cell_score_quantiles,
        "neighborhood_measures": quantiles,
        "neighborhood_score": score_quantiles,
    }


def _learn_score(measures: pd.DataFrame) -> tuple[np.ndarray, dict[str, list[float]], list[float]]:
    """Return the score by some measures, the quantiles of each measure, and those of the score."""
    quantiles = {name: np.quantile(values, GRID).tolist() for name, values in measures.items()}
    score = mean_normal_score(measures, quantiles)
    return score, quantiles, np.quantile(score, GRID).tolist()


def neighborhood_measures(evidence: Evidence, cell_score: np.ndarray) -> list[tuple[np.ndarray, pd.DataFrame]]:
    """Return the measures of neighbourhoods in each batch that is large enough, with the mask of its cells.

    They are the neighbourhood expression shift of each model that has it, and the smoothed cell
    score.

    Args:
        evidence: on the cells.
        cell_score: score of each cell by itself, shape (n_cells,).
    """
    measures = evidence.novelty_measures
    shift = measures.loc[:, [_is_neighborhood_shift(name) for name in measures]]
    large = shift.notna().all(axis=1).to_numpy()
    masks = [large & (evidence.groups == name) for name in np.unique(evidence.groups[large])]
    return [
        (mask, shift[mask].assign(smoothed_cell_score=smooth(cell_score[mask], evidence.positions[mask])))
        for mask in masks
    ]


def _is_neighborhood_shift(measure: str) -> bool:
    return measure.endswith(f":{NEIGHBORHOOD_SHIFT}")


def smooth(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the average of each cell's value and the mean over its nearest cells, shape (n_cells,).

    A type that the reference lacks appears as many cells with high scores that lie together. The
    mean alone would call a whole type novel if its state had shifted slightly.

    Args:
        values: shape (n_cells,).
        positions: of the same cells, shape (n_cells, n_latent).
    """
    neighbors, _ = nearest_neighbors(positions, positions, NEIGHBORS)
    return (values + values[neighbors].mean(axis=1)) / 2


def novelty(evidence: Evidence, p: np.ndarray, learned: dict[str, Any]) -> np.ndarray:
    """Return each cell's novelty score, a percentile among held-out cells, shape (n_cells,).

    It is that of the neighborhood score, or, in batches that are too small, of the cell score.

    Args:
        evidence: on the cells.
        p: delivered probabilities, shape (n_cells, n_labels).
        learned: from `learn_novelty`.
    """
    score = mean_normal_score(cell_measures(evidence, p), learned["cell_measures"])
    found = percentile(score, learned["cell_score"])
    if learned["neighborhood_score"]:
        for mask, measures in neighborhood_measures(evidence, score):
            scores = mean_normal_score(measures, learned["neighborhood_measures"])
            found[mask] = percentile(scores, learned["neighborhood_score"])
    return found


def percentile(values: np.ndarray, quantiles: list[float]) -> np.ndarray:
    """Return the share of held-out cells below each value, by their quantiles on GRID."""
    return np.interp(values, quantiles, GRID)


def mean_normal_score(measures: pd.DataFrame, quantiles: dict[str, list[float]]) -> np.ndarray:
    """Return each cell's mean normal score over all measures, shape (n_cells,).

    A normal score is the standard normal quantile of the cell's percentile among held-out cells;
    their mean combines measures as Stouffer's method combines p-values.
    """
    shares = [percentile(measures[name].to_numpy(), values) for name, values in quantiles.items()]
    return ndtri(np.clip(shares, 1e-3, 1 - 1e-3)).mean(axis=0)
