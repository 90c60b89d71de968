"""How well methods place spots that they have not seen, and which one is chosen for each partition.

Neighbouring spots share molecules and cells, so that a spot whose neighbours were seen is placed too well. Therefore
whole blocks of neighbouring spots, or whole sections, are held out, each once, and everything is learned without them:
genes, their scale, the graph and the methods.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from refatlas.prepare.normalization import log_normalized
from refatlas.spatial.features import fit_features
from refatlas.spatial.methods import METHODS, K, Training, principal_components
from refatlas.spatial.regions import Partition, blocks, expected_place
from refatlas.spatial.spots import Spots
from refatlas.transfer.calibration import calibrated, fit_temperature, log_loss

# Location is identifiable if the accuracy is above chance by more than ERRORS of its standard errors, hardly so if by
# less than CLEAR.
ERRORS, CLEAR = 2.0, 0.1
# Share of held-out spots that are nearer to the spots that were seen than a cell that counts as unlike them.
FAR_QUANTILE = 0.99


@dataclass
class HeldOut:
    """What held-out spots were given.

    Attributes:
        probabilities: of the regions, as the method gives them, by partition and method, shape (n_spots, n_regions).
        folds: fold in which each spot was held out.
        blocks: block of neighbouring spots, or the section, that a spot was held out with.
        distances: mean distance of each held-out spot to its nearest spots that were seen, in principal components.
    """

    probabilities: dict[tuple[str, str], np.ndarray]
    folds: np.ndarray
    blocks: np.ndarray
    distances: np.ndarray


@dataclass
class Choice:
    """The method that places cells in the regions of one partition.

    Attributes:
        method: its name.
        calibrator: of its probabilities, learned on all held-out spots.
        probabilities: of held-out spots, calibrated on other folds, shape (n_spots, n_regions).
        threshold: least highest probability of a cell that can be placed.
        identifiable: "yes", "hardly" or "no".
        scores: of each method, for the table.
    """

    method: str
    calibrator: dict[str, Any]
    probabilities: np.ndarray
    threshold: float
    identifiable: str
    scores: list[dict[str, Any]] = field(default_factory=list)


def folds_of(units: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each spot: whole blocks or sections, or single spots, shared out at random.

    Args:
        units: number of the block, section or spot that each spot is held out with.
    """
    names, codes = np.unique(units, return_inverse=True)
    n_folds = min(n_folds, len(names))
    order = np.random.default_rng(seed).permutation(len(names))
    of_unit = np.empty(len(names), dtype=int)
    of_unit[order] = np.arange(len(names)) % n_folds
    return of_unit[codes]


def units_of(spots: Spots, held_out: str) -> np.ndarray:
    """Return what each spot is held out with: its block, its section, or itself alone."""
    if held_out == "blocks":
        return blocks(spots.xy, spots.sections)
    if held_out == "sections":
        return np.unique(spots.sections, return_inverse=True)[1]
    return np.arange(len(spots.xy))


def hold_out(spots: Spots, parts: list[Partition], settings: Mapping[str, Any], seed: int, threads: int = 1) -> HeldOut:
    """Return what each method gives to spots that it has not seen.

    Args:
        spots: all.
        parts: partitions of the tissue.
        settings: the config's `spatial`.
    """
    units = units_of(spots, settings["held_out"])
    folds = folds_of(units, settings["folds"], seed)
    expression = log_normalized(spots.counts)
    found = {
        (part.name, method): np.zeros((len(folds), len(part.regions)))
        for part in parts
        for method in settings["methods"]
    }
    distances, seconds = np.zeros(len(folds)), dict.fromkeys(settings["methods"], 0.0)
    for fold in np.unique(folds):
        seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        features = fit_features(spots.take(seen), settings["n_genes"])
        training = Training(features.apply(expression[seen]), seed, settings["epochs"], threads)
        x = features.apply(expression[unseen])
        distances[unseen] = far_from(training.x, x, principal_components(training.x), threads)
        for part, method in _pairs(parts, settings["methods"]):
            started = time.monotonic()
            fit, apply = METHODS[method]
            arrays = fit(training, part.codes[seen], len(part.regions))
            found[part.name, method][unseen] = apply(arrays, x, threads)
            seconds[method] += time.monotonic() - started
        print(f"fold {fold + 1}: {len(unseen)} spots held out", flush=True)
    for method, taken in seconds.items():
        print(f"{method}: {taken:.1f} s in all folds")
    return HeldOut(found, folds, units, distances)


def _pairs(parts: list[Partition], methods: list[str]) -> Iterator[tuple[Partition, str]]:
    return ((part, method) for part in parts for method in methods)


def far_from(spots: np.ndarray, x: np.ndarray, components: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return the mean distance of cells to their K nearest spots in principal components, shape (n_cells,)."""
    from refatlas.neighbors.exact_index import ExactIndex

    index = ExactIndex.build(spots.astype(np.float64) @ components.T)
    found: np.ndarray = index.search(x.astype(np.float64) @ components.T, K, threads)[1].mean(axis=1)
    return found


def choose(part: Partition, held: HeldOut, spots: Spots, settings: Mapping[str, Any]) -> Choice:
    """Return the method with the lowest log loss on held-out spots, after calibration on other folds.

    Args:
        part: the partition.
        held: of `hold_out`.
        spots: all.
        settings: the config's `spatial`.
    """
    known = part.codes >= 0
    truth = part.codes[known]
    corrected, scores = {}, []
    for method in settings["methods"]:
        p = held.probabilities[part.name, method]
        corrected[method] = cross_calibrated(p, part.codes, held.folds)
        scores.append({"method": method, **_scores(corrected[method][known], truth, held.blocks[known])})
        scores[-1] |= _distances(corrected[method], part, spots, known)
    best = min(scores, key=lambda row: row["log_loss"])
    chance = _chance(truth, held.folds[known], len(part.regions))
    identifiable = identifiability(best["accuracy"], best["accuracy_se"], chance["chance"])
    p = corrected[best["method"]]
    for row in scores:
        row |= {"partition": part.name, "chosen": row is best, "identifiable": identifiable} | chance
    calibrator = fit_temperature(held.probabilities[part.name, best["method"]][known], truth)
    threshold = placing_threshold(p[known], truth, settings["quantile"])
    return Choice(best["method"], calibrator, p, threshold, identifiable, scores)


def cross_calibrated(p: np.ndarray, codes: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return probabilities at the temperature that was learned on the spots of the other folds.

    Args:
        p: shape (n_spots, n_regions). codes: region of each spot, -1 for none. folds: of the spots.
    """
    found = np.zeros_like(p)
    for fold in np.unique(folds):
        others, own = (folds != fold) & (codes >= 0), folds == fold
        found[own] = calibrated(p[own], fit_temperature(p[others], codes[others]))
    return found


def placing_threshold(p: np.ndarray, truth: np.ndarray, quantile: float) -> float:
    """Return the quantile of the highest probability of the held-out spots that were placed rightly; 1 if none was."""
    right = p.argmax(axis=1) == truth
    return float(np.quantile(p[right].max(axis=1), quantile)) if right.any() else 1.0


def identifiability(accuracy: float, error: float, chance: float) -> str:
    """Return whether location can be told from expression: "yes", "hardly" or "no".

    Args:
        accuracy: of held-out spots. error: its standard error. chance: accuracy of the most frequent region for all.
    """
    if accuracy - chance <= ERRORS * error:
        return "no"
    return "hardly" if accuracy - chance < CLEAR else "yes"


def _scores(p: np.ndarray, truth: np.ndarray, units: np.ndarray) -> dict[str, Any]:
    right = p.argmax(axis=1) == truth
    recalls = [right[truth == code].mean() for code in np.unique(truth)]
    return {
        "n_spots": len(truth),
        "n_regions": p.shape[1],
        "accuracy": float(right.mean()),
        "accuracy_se": standard_error(right, units),
        "balanced_accuracy": float(np.mean(recalls)),
        "log_loss": log_loss(p, truth),
        "confidence": float(p.max(axis=1).mean()),
    }


def standard_error(values: np.ndarray, units: np.ndarray) -> float:
    """Return the standard error of a mean over spots whose blocks are drawn, not the spots (a clustered error).

    Args:
        values: of the spots. units: block of each.
    """
    away = values - values.mean()
    _, codes = np.unique(units, return_inverse=True)
    sums = np.bincount(codes, weights=away)
    n = len(sums)
    return float(np.sqrt(n / max(n - 1, 1) * np.square(sums).sum()) / len(values))


def _chance(truth: np.ndarray, folds: np.ndarray, n_regions: int) -> dict[str, float]:
    """Return accuracy and log loss of the shares of the regions alone, as learned on the other folds."""
    losses, shares_right = np.zeros(len(truth)), np.bincount(truth, minlength=n_regions).max() / len(truth)
    for fold in np.unique(folds):
        own = folds == fold
        shares = (np.bincount(truth[~own], minlength=n_regions) + 1) / ((~own).sum() + n_regions)
        losses[own] = -np.log(shares[truth[own]])
    return {"chance": float(shares_right), "log_loss_chance": float(losses.mean())}


def _distances(p: np.ndarray, part: Partition, spots: Spots, known: np.ndarray) -> dict[str, float | None]:
    """Return the mean distance of expected from true coordinates, and that of the middle of the section from these."""
    xy, _, sections = expected_place(p, part)
    there = known & (sections.astype(str) == spots.sections) & np.isfinite(xy).all(axis=1)
    if not there.any():
        return {"distance": None, "distance_chance": None}
    middle = np.zeros_like(xy)
    for section in np.unique(spots.sections):
        own = spots.sections == section
        middle[own] = spots.xy[own].mean(axis=0)
    distance, chance = (np.linalg.norm(place - spots.xy, axis=1)[there].mean() for place in (xy, middle))
    return {"distance": float(distance), "distance_chance": float(chance)}


SCORE_COLUMNS = (
    "partition", "method", "chosen", "n_spots", "n_regions", "accuracy", "accuracy_se", "chance", "balanced_accuracy",
    "log_loss", "log_loss_chance", "confidence", "distance", "distance_chance", "identifiable",
)  # fmt: skip


def score_table(choices: list[Choice]) -> pd.DataFrame:
    """Return one row per partition and method."""
    return pd.DataFrame([row for choice in choices for row in choice.scores], columns=list(SCORE_COLUMNS))


def held_out_table(parts: list[Partition], choices: list[Choice], spots: Spots, held: HeldOut) -> pd.DataFrame:
    """Return one row per partition and spot: its region, and what the chosen method gave it without having seen it."""
    tables = []
    for part, choice in zip(parts, choices, strict=True):
        p, rows = choice.probabilities, np.flatnonzero(part.codes >= 0)
        regions = np.array(part.regions, dtype=object)
        tables.append(
            pd.DataFrame(
                {
                    "partition": part.name,
                    "spot": spots.names[rows],
                    "x": spots.xy[rows, 0],
                    "y": spots.xy[rows, 1],
                    "section": spots.sections[rows],
                    "region": regions[part.codes[rows]],
                    "given": regions[p[rows].argmax(axis=1)],
                    "probability": p[rows].max(axis=1).round(6),
                    "probability_of_region": p[rows, part.codes[rows]].round(6),
                    "fold": held.folds[rows] + 1,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)
