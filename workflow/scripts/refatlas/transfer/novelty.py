"""Novelty of a cell: how rare its measures are among held-out cells of known types.

How the measures are weighted is learned on labels that were hidden from the folds' references, on
two scales (see `novelty_scales`). A cell is novel if it is rare on both.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from refatlas.transfer.novelty_scales import batch_spreads, learn_label_scale, on_batch_scale, on_label_scale

# Weights are drawn towards this equal weight.
EQUAL_WEIGHT, PENALTY = 0.1, 0.05
# A hidden label counts if it is this share of the held-out cells at most.
MOST_UNSEEN = 0.6
GRID = np.linspace(0, 1, 501)
SCALES = ("batch", "label")


def learn_novelty(known: pd.DataFrame, hidden: pd.DataFrame) -> dict[str, Any]:
    """Return what is learned of the novelty measures, for calibration.json.

    Args:
        known: measures of held-out cells whose label is in their fold's reference, with given (the
            label that each cell is given) and batch.
        hidden: measures of held-out cells for each hidden label (see `hidden_label_measures`), with
            fold beside them; without rows, all measures count alike.

    Returns:
        "measures", their names; "hidden", the labels from which weights were learned; "n_cells", the
        number of held-out cells; "label_scale" (see `learn_label_scale`); "spread", the largest of a
        held-out batch (see `novelty_scores`), or None; "weights" and "null", quantiles of the scores
        of held-out cells, on each scale.
    """
    names = [name for name in known if name not in ("given", "batch", "kept")]
    learned: dict[str, Any] = {"measures": names, "label_scale": learn_label_scale(known, names), "spread": None}
    tables = list(_usable(hidden))
    learned["hidden"] = sorted({table["hidden"].iloc[0] for table in tables})
    learned["weights"] = {scale: _weights(tables, learned, scale).tolist() for scale in SCALES}
    spreads = [spread for _, spread in batch_spreads(known, novelty_scores(known, learned, "label")) if spread]
    learned["spread"] = max(spreads, default=None)
    learned["null"] = {scale: np.quantile(novelty_scores(known, learned, scale), GRID).tolist() for scale in SCALES}
    return learned | {"n_cells": len(known)}


def _usable(hidden: pd.DataFrame) -> Iterator[pd.DataFrame]:
    if hidden.empty:
        return
    for _, table in hidden.groupby(["fold", "hidden"]):
        table = table.assign(unseen=table["unseen"].astype(bool))
        if 0 < table["unseen"].mean() <= MOST_UNSEEN:
            yield table


def _weights(tables: Sequence[pd.DataFrame], learned: dict[str, Any], scale: str) -> np.ndarray:
    """Return the weight of each measure by which cells of hidden labels are told from others best."""
    equal = np.full(len(learned["measures"]), EQUAL_WEIGHT)
    if not tables:
        return equal
    values = np.vstack([_standardized(table, learned, scale) for table in tables])
    unseen = np.concatenate([table["unseen"].to_numpy(dtype=float) for table in tables])
    # Each hidden label counts alike, and so do its cells and all others.
    shares = [np.where(t["unseen"], 0.5 / t["unseen"].sum(), 0.5 / (~t["unseen"]).sum()) for t in tables]
    return _non_negative_logistic(values, unseen, np.concatenate(shares), equal)


def _standardized(cells: pd.DataFrame, learned: dict[str, Any], scale: str) -> np.ndarray:
    if scale == "batch":
        return on_batch_scale(cells, learned["measures"])
    return on_label_scale(cells, learned["measures"], learned["label_scale"])


def _non_negative_logistic(x: np.ndarray, y: np.ndarray, weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return non-negative coefficients of a logistic regression, drawn towards a prior."""
    from scipy.optimize import minimize
    from scipy.special import expit

    weights = weights / weights.sum()

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        scores = x @ b[1:] + b[0]
        losses = np.logaddexp(0, scores) - y * scores
        residual, away = (expit(scores) - y) * weights, b[1:] - prior
        gradient = np.concatenate([[residual.sum()], x.T @ residual + 2 * PENALTY * away])
        return float((weights * losses).sum() + PENALTY * np.square(away).sum()), gradient

    bounds = [(None, None), *[(0, None)] * len(prior)]
    return minimize(loss, np.concatenate([[-1.0], prior]), jac=True, method="L-BFGS-B", bounds=bounds).x[1:]


def novelty_scores(cells: pd.DataFrame, learned: dict[str, Any], scale: str) -> np.ndarray:
    """Return the weighted sum of each cell's measures on one scale, shape (n_cells,).

    On the scale of the label, the scores of a batch in which labels differ more, between or within
    them, than in any held-out batch are divided by that factor: a shift that differs between labels
    is not novel either.

    Args:
        cells: measures, given label and batch of each cell of one query.
        learned: from `learn_novelty`.
        scale: "batch" or "label".
    """
    scores: np.ndarray = _standardized(cells, learned, scale) @ np.array(learned["weights"][scale])
    if scale == "label" and learned["spread"]:
        for rows, spread in batch_spreads(cells, scores):
            scores[rows] /= max((spread or 0.0) / learned["spread"], 1.0)
    return scores


def novelty(cells: pd.DataFrame, learned: dict[str, Any]) -> pd.DataFrame:
    """Return how novel each cell is.

    Args:
        cells: measures, given label and batch of each cell of one query.
        learned: from `learn_novelty`.

    Returns:
        novelty and novelty_in_label, 1 - the p-value among held-out cells on the scale of the batch
        and of the label, and novelty_fdr, the false-discovery rate at which the cell would be novel
        by the larger p-value (Benjamini & Hochberg 1995).
    """
    from scipy.stats import false_discovery_control

    p = {
        scale: tail_probability(novelty_scores(cells, learned, scale), learned["null"][scale], learned["n_cells"])
        for scale in SCALES
    }
    rates = false_discovery_control(np.maximum(p["batch"], p["label"]))
    return pd.DataFrame(
        {"novelty": 1 - p["batch"], "novelty_in_label": 1 - p["label"], "novelty_fdr": rates}, index=cells.index
    )


def tail_probability(scores: np.ndarray, quantiles: Sequence[float], n_cells: int) -> np.ndarray:
    """Return the share of held-out cells above each score, shape (n_cells,).

    Beyond the highest held-out score, it falls exponentially, so that such cells keep their order.

    Args:
        scores: of the cells.
        quantiles: of the held-out scores, on GRID.
        n_cells: number of held-out cells.
    """
    least, highest = 1 / (n_cells + 1), quantiles[-1]
    inside = np.clip(1 - np.interp(scores, quantiles, GRID), least, 1)
    scale = max(highest - float(np.interp(0.9, GRID, quantiles)), 1e-6)
    return np.where(scores > highest, least * np.exp(-np.maximum(scores - highest, 0) / scale), inside)
