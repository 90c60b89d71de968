"""One probability per label from all sources: calibrated, weighted and pooled as learned on held-out cells."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from refatlas.transfer.calibration import calibrated, fit_calibrator, fit_pool, fit_sets, pool
from refatlas.transfer.evidence import Evidence, HeldOut
from refatlas.transfer.novelty import learn_novelty

# With fewer query cells, a source's mean confidence is too uncertain to leave it out.
MIN_CELLS = 30


def learn(evidence: Evidence, truth: pd.Series, batches: np.ndarray, pooled: list[str], alpha: float) -> dict[str, Any]:
    """Return calibrators and weights of the sources, limits of prediction sets, and quantiles of novelty.

    Args:
        evidence: on held-out cells whose label is in their fold's reference.
        truth: true label of each cell.
        batches: batch of each cell.
        pooled: names of the sources to pool.
        alpha: share of cells whose prediction set may miss the true label.

    Returns:
        Plain values for calibration.json: "labels"; "sources", calibrator and usual confidence of
        each source; "wanted", the pooled sources; and all of `learn_pool` and `learn_novelty`.
    """
    codes = pd.Index(evidence.labels).get_indexer(truth)
    calibrators = {name: fit_calibrator(p, codes, batches) for name, p in evidence.sources.items()}
    parts = {name: calibrated(p, calibrators[name]) for name, p in evidence.sources.items()}
    final = learn_pool([parts[name] for name in pooled], codes, batches, alpha)
    return {
        "labels": evidence.labels,
        "sources": {
            name: {**calibrator, "confidence": usual_confidence(parts[name], batches)}
            for name, calibrator in calibrators.items()
        },
        "wanted": pooled,
        **final,
        **learn_novelty(evidence, delivered_probabilities([parts[name] for name in pooled], final)),
    }


def learn_pool(parts: list[np.ndarray], truth: np.ndarray, batches: np.ndarray, alpha: float) -> dict[str, Any]:
    """Return the weights of calibrated sources, the pool's calibrator, and the limits of prediction sets.

    Args:
        parts: calibrated probabilities of each source, shape (n_cells, n_labels).
        truth: column of each cell's true label.
        batches: batch of each cell.
        alpha: share of cells whose prediction set may miss the true label.
    """
    weights = fit_pool(parts, truth)
    pooled = pool(parts, weights)
    final = fit_calibrator(pooled, truth, batches)
    return {
        "weights": weights.tolist(),
        "delivered": final,
        "alpha": alpha,
        "set_limits": fit_sets(calibrated(pooled, final), truth, alpha).tolist(),
    }


def delivered_probabilities(parts: list[np.ndarray], final: Mapping[str, Any]) -> np.ndarray:
    """Return the calibrated pool of calibrated sources, shape (n_cells, n_labels).

    Args:
        parts: calibrated probabilities of each source.
        final: weights and calibrator, from `learn_pool`.
    """
    return calibrated(pool(parts, np.array(final["weights"])), final["delivered"])


def usual_confidence(p: np.ndarray, batches: np.ndarray) -> dict[str, Any]:
    """Return a source's usual confidence on held-out cells, and how far a batch may fall below it.

    The tolerance is three standard deviations of the held-out batches' shortfalls, but at least
    0.05; with fewer than three batches, it is 0.1.

    Args:
        p: calibrated probabilities, shape (n_cells, n_labels).
        batches: batch of each cell.

    Returns:
        "by_label", mean confidence of the cells that are given each label, and "tolerance".
    """
    given, confidence = p.argmax(axis=1), p.max(axis=1)
    overall = float(confidence.mean())
    by_label = [float(confidence[given == k].mean()) if (given == k).any() else overall for k in range(p.shape[1])]
    names = np.unique(batches)
    falls = [shortfall(p[batches == name], by_label) for name in names]
    tolerance = max(3 * float(np.std(falls, ddof=1)), 0.05) if len(names) >= 3 else 0.1
    return {"by_label": by_label, "tolerance": tolerance}


def shortfall(p: np.ndarray, by_label: list[float], errors: float = 0) -> float:
    """Return how much less confident a source is in these cells than in held-out cells with the same labels.

    Args:
        p: calibrated probabilities, shape (n_cells, n_labels).
        by_label: usual confidence of each label.
        errors: number of standard errors to subtract.
    """
    falls = np.array(by_label)[p.argmax(axis=1)] - p.max(axis=1)
    return float(falls.mean() - errors * falls.std() / np.sqrt(len(falls)))


def unsure_sources(parts: Mapping[str, np.ndarray], learned: Mapping[str, Any]) -> dict[str, float]:
    """Return the sources that are unusually unconfident in a query, with their shortfall.

    A fall of confidence predicts a fall of accuracy on shifted data, without any label of it
    (Guillory 2021). Two standard errors are subtracted, so that few cells are weak evidence. If all
    sources fall, none is returned, because none stands out.

    Args:
        parts: calibrated probabilities of each source, shape (n_cells, n_labels).
        learned: from `learn`.
    """
    if len(next(iter(parts.values()))) < MIN_CELLS:
        return {}
    usual = {name: learned["sources"][name]["confidence"] for name in parts}
    falls = {name: shortfall(p, usual[name]["by_label"], errors=2) for name, p in parts.items()}
    unsure = {name: fall for name, fall in falls.items() if fall > usual[name]["tolerance"]}
    return {} if len(unsure) == len(parts) else unsure


def pooled_probabilities(
    evidence: Evidence, learned: Mapping[str, Any], held_out: HeldOut
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Return the delivered probabilities of a query, and the limits of its prediction sets.

    Sources that are unusually unconfident are left out; weights of the others are then learned anew
    on the same held-out cells.

    Args:
        evidence: on the query's cells.
        learned: from `learn`.
        held_out: cells from which it was learned.

    Returns:
        Probabilities, shape (n_cells, n_labels); limits, shape (n_labels,); and the sources that
        were left out, with the fall of their confidence.
    """
    parts = {name: calibrated(evidence.sources[name], learned["sources"][name]) for name in learned["wanted"]}
    unsure = unsure_sources(parts, learned)
    kept = [name for name in parts if name not in unsure]
    final = learned
    if unsure:
        others = [calibrated(held_out.sources[name], learned["sources"][name]) for name in kept]
        final = learn_pool(others, held_out.truth, held_out.batches, learned["alpha"])
    p = delivered_probabilities([parts[name] for name in kept], final)
    return p, np.array(final["set_limits"]), unsure
