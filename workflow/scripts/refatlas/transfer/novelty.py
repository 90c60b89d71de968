"""Novelty score of a cell: how unlike the reference it is, as a percentile among held-out cells."""

import numpy as np
import pandas as pd
from scipy.special import ndtri

from refatlas.neighbors.exact_index import nearest
from refatlas.transfer.evidence import Evidence

# Cells of a batch over which strangeness is averaged, the cell itself included.
NEIGHBORS = 15
# The measure of cells' neighbourhoods, which cells of small batches have not; all others are of
# cells by themselves.
NEIGHBORHOOD_SHIFT = "neighborhood_shift"
GRID = np.linspace(0, 1, 501)


def of_cells(evidence: Evidence, p: np.ndarray) -> pd.DataFrame:
    """Return the measures of cells by themselves, with one more: how unlike any label a cell is, 1
    - the delivered confidence.
    """
    return evidence.novelty_measures.loc[
        :, [not _is_neighborhood_shift(name) for name in evidence.novelty_measures]
    ].assign(doubt=1 - p.max(axis=1))


def learn_novelty(evidence: Evidence, p: np.ndarray) -> dict:
    """Return quantiles over held-out cells: of each measure of cells by themselves and of all these
    together, and the same of cells with what is around them (None if no batch is large).

    Args:
        p: delivered probabilities of the cells.
    """
    alone, alone_quantiles, novelty_alone = _learn_together(of_cells(evidence, p))
    around = surroundings(evidence, alone)
    _, around_quantiles, novelty_around = (
        _learn_together(pd.concat([table for _, table in around])) if around else (None, None, None)
    )
    return {
        "strangeness": alone_quantiles,
        "novelty_alone": novelty_alone,
        "strangeness_around": around_quantiles,
        "novelty": novelty_around,
    }


def _learn_together(measures: pd.DataFrame) -> tuple[np.ndarray, dict[str, list[float]], list[float]]:
    """Return the strangeness by some measures, the measures' quantiles, and its own."""
    quantiles = {name: np.quantile(values, GRID).tolist() for name, values in measures.items()}
    together = mean_normal_score(measures, quantiles)
    return together, quantiles, np.quantile(together, GRID).tolist()


def surroundings(evidence: Evidence, alone: np.ndarray) -> list[tuple[np.ndarray, pd.DataFrame]]:
    """Return the cells of each batch that has neighbourhoods, as a mask, with their measures:
    strangeness smoothed over neighbours, and divergence from the reference.

    Args:
        alone: strangeness of each cell by itself.
    """
    divergence = evidence.novelty_measures.loc[:, [_is_neighborhood_shift(name) for name in evidence.novelty_measures]]
    large = divergence.notna().all(axis=1).to_numpy()
    masks = [large & (evidence.groups == name) for name in np.unique(evidence.groups[large])]
    return [(part, divergence[part].assign(smoothed=smooth(alone[part], evidence.positions[part]))) for part in masks]


def _is_neighborhood_shift(measure: str) -> bool:
    return measure.endswith(f":{NEIGHBORHOOD_SHIFT}")


def smooth(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return each cell's value averaged with the mean of its nearest cells: a type that the
    reference lacks is many strange cells side by side.

    Half is the cell's own, because the mean alone calls a whole type novel that another state of
    the cells has shifted by little.

    Args:
        values: shape (n_cells,). positions: of the same cells, shape (n_cells, n_latent).
    """
    neighbors, _ = nearest(positions, positions, NEIGHBORS)
    return (values + values[neighbors].mean(axis=1)) / 2


def novelty(evidence: Evidence, p: np.ndarray, learned: dict) -> np.ndarray:
    """Return each cell's percentile of strangeness among held-out cells: with what is around it, or
    by itself in a batch that is too small for that.
    """
    alone = mean_normal_score(of_cells(evidence, p), learned["strangeness"])
    found = percentile(alone, learned["novelty_alone"])
    for part, around in surroundings(evidence, alone) if learned["novelty"] else ():
        found[part] = percentile(mean_normal_score(around, learned["strangeness_around"]), learned["novelty"])
    return found


def percentile(values: np.ndarray, quantiles: list[float]) -> np.ndarray:
    """Return which share of the held-out cells is below each value."""
    return np.interp(values, quantiles, GRID)


def mean_normal_score(measures: pd.DataFrame, quantiles: dict[str, list[float]]) -> np.ndarray:
    """Return each cell's mean normal score over all measures: its percentile among held-out cells,
    as a standard normal's quantile (Stouffer).
    """
    shares = [percentile(measures[name].to_numpy(), values) for name, values in quantiles.items()]
    return ndtri(np.clip(shares, 1e-3, 1 - 1e-3)).mean(axis=0)
