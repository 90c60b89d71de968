"""One probability of each label out of all sources: calibrated, weighted and pooled as learned on
held-out cells.
"""

import numpy as np
import pandas as pd

from refatlas.transfer.calibration import calibrated, fit_calibrator, fit_pool, fit_sets, pool
from refatlas.transfer.evidence import Evidence, HeldOut
from refatlas.transfer.novelty import learn_novelty

# Fewer cells of a query say nothing of a source's confidence in it.
MIN_CELLS = 30


def learn(evidence: Evidence, truth: pd.Series, batches: np.ndarray, wanted: list[str], alpha: float) -> dict:
    """Return how sources are calibrated and pooled, the limits of prediction sets, and how strange
    held-out cells are; plain JSON.

    Args:
        evidence: of held-out cells whose label the fold's reference has. truth: their labels.
            batches: their batches. wanted: the sources to pool.
    """
    codes = pd.Index(evidence.labels).get_indexer(truth)
    calibrators = {name: fit_calibrator(p, codes, batches) for name, p in evidence.sources.items()}
    parts = {name: calibrated(p, calibrators[name]) for name, p in evidence.sources.items()}
    pooled = learn_pool([parts[name] for name in wanted], codes, batches, alpha)
    return {
        "labels": evidence.labels,
        "sources": {
            name: {**how, "confidence": usual_confidence(parts[name], batches)} for name, how in calibrators.items()
        },
        "wanted": wanted,
        **pooled,
        **learn_novelty(evidence, delivered_probabilities([parts[name] for name in wanted], pooled)),
    }


def learn_pool(parts: list[np.ndarray], truth: np.ndarray, batches: np.ndarray, alpha: float) -> dict:
    """Return the weights of calibrated sources in the pool, its calibration, and the limits of its
    prediction sets.
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


def delivered_probabilities(parts: list[np.ndarray], pooled: dict) -> np.ndarray:
    """Return the calibrated pool of calibrated sources; `pooled` is of `learn_pool`."""
    return calibrated(pool(parts, np.array(pooled["weights"])), pooled["delivered"])


def usual_confidence(p: np.ndarray, batches: np.ndarray) -> dict:
    """Return how sure a calibrated source is of held-out cells that it gives each label, and how
    far a batch may fall short of that.

    The tolerance is three standard deviations of the held-out batches' shortfalls, at least 0.05;
    0.1 with fewer than three batches.
    """
    given, confidence = p.argmax(axis=1), p.max(axis=1)
    overall = float(confidence.mean())
    by_label = [float(confidence[given == k].mean()) if (given == k).any() else overall for k in range(p.shape[1])]
    names = np.unique(batches)
    falls = [shortfall(p[batches == name], by_label) for name in names]
    tolerance = max(3 * float(np.std(falls, ddof=1)), 0.05) if len(names) >= 3 else 0.1
    return {"by_label": by_label, "tolerance": tolerance}


def shortfall(p: np.ndarray, by_label: list[float], errors: float = 0) -> float:
    """Return how much less sure a source is of these cells than of held-out cells with the same
    labels, less so many standard errors.
    """
    falls = np.array(by_label)[p.argmax(axis=1)] - p.max(axis=1)
    return float(falls.mean() - errors * falls.std() / np.sqrt(len(falls)))


def unsure_sources(parts: dict[str, np.ndarray], learned: dict) -> dict[str, float]:
    """Return the sources that are less sure of a query than they were of any usual held-out batch,
    with their shortfall.

    A fall of confidence tells a fall of accuracy on new kinds of data (Guillory 2021), without a
    label of the query. Two standard errors are taken off, so that
    few cells prove little. Where all sources fall, none stands out.
    """
    if len(next(iter(parts.values()))) < MIN_CELLS:
        return {}
    falls = {
        name: shortfall(p, learned["sources"][name]["confidence"]["by_label"], errors=2) for name, p in parts.items()
    }
    unsure = {name: fall for name, fall in falls.items() if fall > learned["sources"][name]["confidence"]["tolerance"]}
    return {} if len(unsure) == len(parts) else unsure


def pooled_probabilities(
    evidence: Evidence, learned: dict, held_out: "HeldOut"
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Return the delivered probabilities of a query, the limits of its prediction sets, and the
    sources left out because they are unsure of it.

    Without these, what remains is pooled by weights learned for it alone on the same held-out
    cells.
    """
    parts = {name: calibrated(evidence.sources[name], learned["sources"][name]) for name in learned["wanted"]}
    unsure = unsure_sources(parts, learned)
    left = [name for name in parts if name not in unsure]
    how = learned
    if unsure:
        how = learn_pool(
            [calibrated(held_out.sources[name], learned["sources"][name]) for name in left],
            held_out.truth,
            held_out.batches,
            learned["alpha"],
        )
    p = delivered_probabilities([parts[name] for name in left], how)
    return p, np.array(how["set_limits"]), unsure
