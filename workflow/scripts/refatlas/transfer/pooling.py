"""One probability per label from all sources: calibrated, weighted and pooled as learned on held-out cells."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from refatlas.transfer.calibration import (
    calibrated,
    fit_calibrator,
    fit_temperature,
    half_balanced,
    left_out,
    log_loss,
    pool,
)
from refatlas.transfer.conformal import fit_sets
from refatlas.transfer.evidence import BASELINE, MATCHED, Evidence
from refatlas.transfer.external_labels import EXTERNAL
from refatlas.transfer.novelty_scales import good_cells
from refatlas.transfer.query_match import MIN_BATCH_CELLS

# A source loses half of its weight where its disagreement exceeds that in held-out batches by this much.
HALF_WEIGHT = 0.05
# Begin of the names of candidates with labels that were made elsewhere. No name of a source or model has a space.
WITH = "with "
WITH_ALL = f"{WITH}all external"


def learn(
    evidence: Evidence, truth: np.ndarray, groups: np.ndarray, pooled: list[str], alpha: float, studies: bool = False
) -> dict[str, Any]:
    """Return calibrators and weights of the sources, the pool's calibrator and limits of prediction sets.

    Args:
        evidence: on held-out cells whose label is in their fold's reference.
        truth: column of each cell's true label.
        groups: fold of each cell, or its batch where there is one fold.
        pooled: names of the sources to pool.
        alpha: share of a label's cells whose prediction set may miss it.
        studies: whether the groups are different studies.

    Returns:
        Plain values for calibration.json: "labels"; "sources", a calibrator for each; "wanted", the
        pooled sources; "weights" and "candidates" (see `choose_weights`); "disagreement" of each
        pooled source; "delivered", the pool's calibrator; "alpha" and "set_limits".
    """
    calibrators = {name: fit_temperature(p, truth) for name, p in evidence.sources.items()}
    parts = {name: calibrated(p, calibrators[name]) for name, p in evidence.sources.items()}
    weights, candidates = choose_weights({name: parts[name] for name in pooled}, truth, groups, studies)
    usual = {name: max(batch_disagreements(evidence, parts, name).values(), default=0.0) for name in pooled}
    together = pool([parts[name] for name in pooled], np.array(weights))
    final = fit_calibrator(together, truth, groups)
    return {
        "labels": evidence.labels,
        "sources": calibrators,
        "wanted": pooled,
        "weights": weights,
        "candidates": candidates,
        "disagreement": usual,
        "delivered": final,
        "alpha": alpha,
        "set_limits": fit_sets(calibrated(together, final), truth, alpha).tolist(),
    }


def pooled_sources(names: Iterable[str], source: str | None) -> list[str]:
    """Return the names of the sources to pool.

    Args:
        names: of all sources ("model:source").
        source: None for all, MATCHED for those of the matched baseline, or the name of one.
    """
    return [name for name in names if source in (None, name) or (source == MATCHED and name.startswith(f"{MATCHED}:"))]


def choose_weights(
    parts: Mapping[str, np.ndarray], truth: np.ndarray, groups: np.ndarray, studies: bool
) -> tuple[list[float], dict[str, float]]:
    """Return the weights of the sources that predict left-out groups best, and the loss of each candidate.

    The candidates are "balanced", in which the matched baseline and the models have half of the
    weight each; "matched"; "all" sources with equal weights; each source alone; and "learned"
    weights. "balanced" is taken unless another is better by more than one standard error over the
    groups. What is best within one study need not be in the next: unless the groups are different
    studies, only "matched" or one of its sources may take its place, because the matched baseline
    alone is made to be comparable between studies. Labels made elsewhere are part of no candidate of these: how good
    they are is not known beforehand. "with NAME" and "with all external" add them to the first candidate, and may take
    its place as well.

    Args:
        parts: calibrated probabilities of each source, shape (n_cells, n_labels).
        truth: column of each cell's true label.
        groups: group of each cell.
        studies: whether the groups are different studies.
    """
    names, tests = list(parts), left_out(groups)
    fixed = fixed_candidates(names)
    losses = {
        candidate: np.array([_loss(parts, weights, truth, test) for test in tests])
        for candidate, weights in fixed.items()
    }
    if len(names) > 1:
        learned = [fit_pool([parts[n][~test] for n in names], truth[~test]) for test in tests]
        losses["learned"] = np.array([_loss(parts, w, truth, test) for w, test in zip(learned, tests, strict=True)])
    first = next(iter(losses))
    eligible = [name for name in losses if studies or name == first or name.startswith((MATCHED, WITH))]

    def handicap(candidate: str) -> float:
        difference = losses[candidate] - losses[first]
        return float(difference.mean() + difference.std(ddof=1) / np.sqrt(len(tests))) if candidate != first else 0.0

    best = min(eligible, key=handicap)
    weights = fit_pool([parts[n] for n in names], truth) if best == "learned" else fixed[best]
    return [float(w) for w in weights], {name: float(values.mean()) for name, values in losses.items()}


def fixed_candidates(names: list[str]) -> dict[str, np.ndarray]:
    """Return the candidates without anything to learn; the first is the one to beat.

    The baseline itself is not part of "balanced": it is the matched baseline without matching. Nor are labels made
    elsewhere (see `with_external`).
    """
    models = np.array([name.split(":")[0] for name in names])
    external = np.array([name.endswith(f":{EXTERNAL}") for name in names])
    matched = np.array(models == MATCHED, dtype=float)
    others = np.array((models != MATCHED) & (models != BASELINE) & ~external, dtype=float)
    found: dict[str, np.ndarray] = {}
    if matched.any() and others.any():
        found["balanced"] = matched / matched.sum() / 2 + others / others.sum() / 2
    if matched.any():
        found[MATCHED] = matched / matched.sum()
    if found:
        found |= with_external(next(iter(found.values())), models, external, 2 + bool(others.any()))
    found["all"] = np.full(len(names), 1 / len(names))
    return found | {name: np.eye(len(names))[i] for i, name in enumerate(names)}


def with_external(first: np.ndarray, models: np.ndarray, external: np.ndarray, n_parts: int) -> dict[str, np.ndarray]:
    """Return the candidates that give labels made elsewhere a share of the weight: each alone, and all together.

    Args:
        first: weights of the candidate that they are added to, shape (n_sources,).
        models: model of each source.
        external: mask of the sources that are labels made elsewhere.
        n_parts: number of parts that have the same weight, the labels made elsewhere among them.
    """
    added = {f"{WITH}{models[i]}": np.eye(len(models))[i] for i in np.flatnonzero(external)}
    if len(added) > 1:
        added[WITH_ALL] = external / external.sum()
    return {name: first * (1 - 1 / n_parts) + weights / n_parts for name, weights in added.items()}


def _loss(parts: Mapping[str, np.ndarray], weights: np.ndarray, truth: np.ndarray, test: np.ndarray) -> float:
    p = pool([values[test] for values in parts.values()], weights)
    return log_loss(p, truth[test], half_balanced(truth[test]))


def fit_pool(sources: Sequence[np.ndarray], truth: np.ndarray, penalty: float = 0.05) -> np.ndarray:
    """Return the non-negative weights of the sources with the lowest half-balanced log-loss.

    A penalty draws them towards equal weights.
    """
    from scipy.optimize import minimize

    n, rows = len(sources), np.arange(len(truth))
    logs = np.stack([np.log(np.maximum(p, 1e-4)) for p in sources])
    cells = half_balanced(truth)
    cells /= cells.sum()

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        p = pool(sources, w)
        value = -(cells * np.log(np.maximum(p[rows, truth], 1e-12))).sum()
        # The gradient is the expected logarithm less that of the true label.
        gradient = ((p[None] * logs).sum(axis=2) - logs[:, rows, truth]) @ cells
        away = w - 1 / n
        return float(value + penalty * np.square(away).sum()), gradient + 2 * penalty * away

    return minimize(loss, np.full(n, 1 / n), jac=True, method="L-BFGS-B", bounds=[(0, 2)] * n).x


def matched_pool(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the equal pool of the matched baseline's sources."""
    matched = [parts[name] for name in pooled_sources(parts, MATCHED)]
    return pool(matched, np.full(len(matched), 1 / len(matched)))


def disagreement(parts: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Return the probability that a source and the matched baseline draw different labels, shape (n_cells,).

    Args:
        parts: calibrated probabilities of each source.
        name: of the source.
    """
    found: np.ndarray = 1 - (parts[name] * matched_pool(parts)).sum(axis=1)
    return found


def batch_disagreements(evidence: Evidence, parts: Mapping[str, np.ndarray], name: str) -> dict[str, float]:
    """Return the mean disagreement of a source in each batch, over its cells of good quality, if it has such.

    Cells for which the source has no vote do not count, and a batch without votes has no value. The mean of a few cells
    says little: a batch with fewer than MIN_BATCH_CELLS has that of its fold or query, and if these have too few as
    well, that of all cells.

    Args:
        evidence: on the cells.
        parts: calibrated probabilities of each source.
        name: of the source.
    """
    good = good_cells(evidence.measures)
    cells = pd.DataFrame({"batch": evidence.groups, "value": disagreement(parts, name), "good": good})
    cells = cells[evidence.votes(name)]
    cells = cells[cells["good"] | ~cells.groupby("batch")["good"].transform("any")]

    def mean_of_enough(groups: pd.Series) -> pd.Series:
        values = cells["value"].groupby(groups)
        return values.transform("mean").where(values.transform("size") >= MIN_BATCH_CELLS)

    whole = mean_of_enough(cells["batch"].str.split(" ", n=1).str[0]).fillna(cells["value"].mean())
    found = mean_of_enough(cells["batch"]).fillna(whole).groupby(cells["batch"]).first()
    return {str(batch): float(value) for batch, value in found.items()}


def batch_weights(found: Mapping[str, float], learned: Mapping[str, Any]) -> np.ndarray:
    """Return the weights of the pooled sources for one batch of a query.

    A source that disagrees with the matched baseline more than in any held-out batch loses weight
    smoothly, to half at an excess of HALF_WEIGHT. The weights of the others are raised, so that
    their sum stays the same. The matched baseline's own sources keep theirs, and a source without votes has none.

    Args:
        found: disagreement of each source with weight and votes in this batch (see `batch_disagreements`).
        learned: from `learn`.
    """
    weights = np.array(learned["weights"])
    kept = np.ones(len(weights))
    for i, name in enumerate(learned["wanted"]):
        if not name.startswith(f"{MATCHED}:"):
            excess = max(found.get(name, np.inf) - learned["disagreement"][name], 0.0)
            kept[i] = 1 / (1 + (excess / HALF_WEIGHT) ** 2)
    reduced = weights * kept
    return reduced * weights.sum() / reduced.sum() if reduced.sum() > 0 else weights


def pooled_probabilities(
    evidence: Evidence, learned: Mapping[str, Any]
) -> tuple[np.ndarray, dict[str, dict[str, float]]]:
    """Return the calibrated pool of a query's sources, and the weights of its batches.

    Args:
        evidence: on the query's cells.
        learned: from `learn`.

    Returns:
        Probabilities, shape (n_cells, n_labels), and by batch the weight of each pooled source.
    """
    parts = {name: calibrated(p, learned["sources"][name]) for name, p in evidence.sources.items()}
    found, weights = np.zeros((len(evidence.cells), len(evidence.labels))), {}
    weighted = [name for name, weight in zip(learned["wanted"], learned["weights"], strict=True) if weight > 0]
    disagreements = {name: batch_disagreements(evidence, parts, name) for name in weighted}
    for group in np.unique(evidence.groups):
        rows = evidence.groups == group
        voting = {name: of_batch[group] for name, of_batch in disagreements.items() if group in of_batch}
        chosen = batch_weights(voting, learned)
        together = pool([parts[name][rows] for name in learned["wanted"]], chosen)
        found[rows] = calibrated(together, learned["delivered"])
        weights[str(group)] = dict(zip(learned["wanted"], chosen.tolist(), strict=True))
    return found, weights
