"""Tuning of a model by held-out transfer: one trial, the choice among trials, and what was gained.

A trial is judged by the labels that weighted kNN on its latent space gives to held-out batches, never by the ELBO.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refatlas.errors import InputError
from refatlas.evaluate.label_scores import N_BINS, score_labels
from refatlas.neighbors.exact_index import ExactIndex
from refatlas.transfer.label_table import pick
from refatlas.transfer.weighted_knn import weighted_knn_table

if TYPE_CHECKING:
    from anndata import AnnData

    from refatlas.models.interface import Model

N_RESAMPLES = 1000
# Of intervals.
LEVEL = 0.95
DONE, FAILED, REPEATED = "done", "failed", "repeated"
COLUMNS = ["batch", "truth", "label", "confidence"]
SCORES = ("macro_f1", "ece", "accuracy")


def transferred_labels(
    model: "Model", mapped: "Model", counts: "AnnData", query: "AnnData", labels: pd.Series, k: int, threads: int
) -> pd.DataFrame:
    """Return the labels that weighted kNN gives to held-out cells, as `transfer_labels` does: label and confidence.

    Args:
        model: trained on the counts.
        mapped: the same model with the query mapped to it.
        counts: of the reference.
        query: counts of the held-out cells.
        labels: of the reference's cells; cells without one take no part.
        k: number of neighbours.
        threads: CPU threads.

    Raises:
        FloatingPointError: a latent space has values that are not finite.
    """
    latent, of_query = model.latent(counts), mapped.latent(query.copy())
    if not (np.isfinite(latent).all() and np.isfinite(of_query).all()):
        raise FloatingPointError("the latent space has values that are not finite")
    known = labels.loc[counts.obs_names].dropna()
    reference = latent[counts.obs_names.get_indexer(known.index)]
    neighbors, distances = ExactIndex.build(reference).search(of_query, k, threads)
    return pick(weighted_knn_table(known, neighbors, distances, query.obs_names), "knn")


def scored_cells(found: pd.DataFrame, cells: pd.DataFrame, known: set[str]) -> pd.DataFrame:
    """Return the held-out cells that can be scored: those of a label that the reference has.

    Args:
        found: label and confidence, indexed by cell.
        cells: batch and true label of held-out cells.
        known: labels of the reference.

    Returns:
        batch, truth, label and confidence, indexed by cell in the order of their names.

    Raises:
        InputError: there are none.
    """
    table = found.join(cells[["batch", "label"]].rename(columns={"label": "truth"}))
    table = table[table["truth"].isin(known)]
    if table.empty:
        raise InputError(
            "config: evaluation: folds: no held-out cell has a label of the reference that trials are trained on; hold"
            " out other batches"
        )
    return table[COLUMNS].astype({"batch": str, "truth": str, "label": str}).sort_index(kind="stable")


def scores_of(table: pd.DataFrame) -> dict[str, float]:
    """Return macro-F1, ECE and accuracy of labels, of `scored_cells`."""
    found = score_labels(table["truth"], table["label"], table["confidence"], set(table["truth"]))
    return {name: found[name] for name in SCORES}


@dataclass
class Trial:
    """One trial as its job wrote it.

    Attributes:
        number: of the trial; 0 has the settings of the configuration.
        facts: status, reason, settings, scores, and what it cost.
        cells: of `scored_cells`; None of a trial without scores.
    """

    number: int
    facts: dict[str, Any]
    cells: pd.DataFrame | None


class Resamples:
    """Bootstrap resamples of cells within their batches, the same for all that is compared (paired).

    Args:
        cells: of `scored_cells`.
        seed: of the draws.
        n: number of resamples.
    """

    def __init__(self, cells: pd.DataFrame, seed: int, n: int = N_RESAMPLES) -> None:
        self.index, self.truth = cells.index, pd.Categorical(cells["truth"])
        self.batches = [np.flatnonzero(cells["batch"] == batch) for batch in sorted(set(cells["batch"]))]
        self.seed, self.n = seed, n

    def counts(self) -> Iterator[np.ndarray]:
        """Yield how often each cell is drawn in each resample, shape (n_cells,)."""
        random = np.random.default_rng(self.seed)
        for _ in range(self.n):
            drawn = [part[random.integers(0, len(part), len(part))] for part in self.batches]
            yield np.bincount(np.concatenate(drawn), minlength=len(self.index))

    def scores(self, tables: Sequence[pd.DataFrame], calibration: bool = False) -> np.ndarray:
        """Return macro-F1 of each table in each resample, shape (n_tables, n); with `calibration`, macro-F1 and ECE
        of each, shape (n_tables, n, 2).

        Args:
            tables: of `scored_cells`, of the same cells.

        Raises:
            ValueError: the cells are others.
        """
        if any(not table.index.equals(self.index) for table in tables):
            raise ValueError("tables of different cells cannot be compared")
        codes = np.asarray(self.truth.codes, dtype=np.int64)
        labels = [pd.Categorical(t["label"], categories=self.truth.categories).codes.astype(np.int64) for t in tables]
        confidence = [table["confidence"].to_numpy() for table in tables]
        found = np.empty((len(tables), self.n, 2 if calibration else 1))
        for i, weights in enumerate(self.counts()):
            for j, given in enumerate(labels):
                found[j, i, 0] = weighted_macro_f1(codes, given, weights)
                if calibration:
                    found[j, i, 1] = weighted_calibration_error(codes == given, confidence[j], weights)
        return found if calibration else found[..., 0]


def weighted_macro_f1(truth: np.ndarray, label: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean F1 of the labels that are true of any cell with weight.

    Args:
        truth: code of each cell's true label, from 0.
        label: code of the given label; negative for one that is true of no cell.
        weights: of the cells, such as how often each was drawn.
    """
    n, inside, right = int(truth.max()) + 1, label >= 0, truth == label
    true = np.bincount(truth, weights, n)
    given = np.bincount(label[inside], weights[inside], n)
    hits = np.bincount(truth[right], weights[right], n)
    present = true > 0
    return float((2 * hits[present] / (true + given)[present]).mean())


def weighted_calibration_error(correct: np.ndarray, confidence: np.ndarray, weights: np.ndarray) -> float:
    """Return `expected_calibration_error` of cells with weights, such as how often each was drawn.

    Args:
        correct: whether each label is correct, shape (n_cells,).
        confidence: of each label, shape (n_cells,).
        weights: of the cells.
    """
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gaps = np.bincount(bins, weights * (correct - confidence), N_BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def choose(trials: Sequence[Trial], names: Sequence[str], seed: int) -> tuple[int, pd.DataFrame]:
    """Return the number of the chosen trial, and one row for each trial.

    Of the trials whose macro-F1 is within one standard error of the highest, and whose interval of the gain in macro-F1
    over the settings of the configuration is above 0, that with the lowest ECE; the earlier one of equals. Without any,
    these settings are kept. The standard error is that of the difference from the highest, over paired resamples of
    cells within batches. If trial 0 failed, there is nothing to gain over, and nothing to keep.

    Args:
        trials: all, in order.
        names: of the settings that are tried, as section.setting, for the rows.
        seed: of the resamples.

    Raises:
        InputError: all trials failed.
    """
    done = [trial for trial in trials if trial.facts["status"] == DONE]
    if not done:
        raise InputError(
            f"all trials failed, the first with: {trials[0].facts['reason']}; check the counts for extreme cells, or"
            " choose another space in config: tune"
        )
    drawn = Resamples(done[0].cells, seed).scores([trial.cells for trial in done])
    scores = [trial.facts["scores"] for trial in done]
    top = int(np.argmax([score["macro_f1"] for score in scores]))
    errors = (drawn - drawn[top]).std(axis=1, ddof=1)
    tied = [i for i, s in enumerate(scores) if scores[top]["macro_f1"] - s["macro_f1"] <= errors[i]]
    candidates = tied
    rows = pd.DataFrame([_row(trial, names) for trial in trials]).set_index("trial")
    numbers = [trial.number for trial in done]
    rows.loc[numbers, "standard_error"] = errors
    rows["tied"] = rows.index.isin([numbers[i] for i in tied])
    if numbers[0] == 0:
        low, high = np.quantile(drawn - drawn[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
        rows.loc[numbers, ["gain_low", "gain_high"]] = np.column_stack([low, high])
        rows.loc[numbers, "gain"] = [score["macro_f1"] - scores[0]["macro_f1"] for score in scores]
        # A better calibrated trial whose gain is not proven must not stand in the way of one whose gain is.
        candidates = [i for i in tied if low[i] > 0] or [0]
    winner = min(candidates, key=lambda i: (scores[i]["ece"], i))
    rows["chosen"] = rows.index == numbers[winner]
    return numbers[winner], rows.reset_index()


def _row(trial: Trial, names: Sequence[str]) -> dict[str, Any]:
    facts = trial.facts
    scores = facts["scores"] or dict.fromkeys(SCORES, np.nan)
    fixed = {"trial": trial.number, "status": facts["status"], "reason": facts["reason"]}
    cost = {name: facts[name] for name in ("epochs", "seconds")}
    nothing = dict.fromkeys(("standard_error", "gain", "gain_low", "gain_high"), np.nan)
    shown = {name: facts["settings"][name.split(".")[0]][name.split(".")[1]] for name in names}
    return {**fixed, **shown, **{name: scores[name] for name in SCORES}, **nothing, **cost}


def gain(defaults: pd.DataFrame, tuned: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return what the chosen settings gain over those of the configuration: macro-F1, ECE and accuracy.

    The interval is that of paired bootstrap resamples of cells within batches, by percentiles.

    Args:
        defaults, tuned: labels by either settings, of `scored_cells`, of the same cells.
        seed: of the resamples.

    Returns:
        Of each score: defaults, tuned, gain (tuned - defaults), and low and high of macro-F1 and ECE; "batches",
        macro-F1 of each batch.
    """
    before, after = scores_of(defaults), scores_of(tuned)
    drawn = Resamples(defaults, seed).scores([defaults, tuned], calibration=True)
    low, high = np.quantile(drawn[1] - drawn[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    ends = {name: {"low": float(low[i]), "high": float(high[i])} for i, name in enumerate(("macro_f1", "ece"))}
    found: dict[str, Any] = {
        name: {"defaults": before[name], "tuned": after[name], "gain": after[name] - before[name], **ends.get(name, {})}
        for name in SCORES
    }
    found["batches"] = {
        batch: {
            "n_cells": len(part),
            "defaults": scores_of(part)["macro_f1"],
            "tuned": scores_of(tuned.loc[part.index])["macro_f1"],
        }
        for batch, part in defaults.groupby("batch")
    }
    return found


def verdict_on_gain(found: Mapping[str, Any]) -> str:
    """Return in words what the interval of the gain in macro-F1 says."""
    if found["low"] > 0:
        return "better than the settings of the configuration, beyond what the cells leave open"
    if found["high"] < 0:
        return "worse than the settings of the configuration, beyond what the cells leave open"
    return "no better and no worse than the settings of the configuration, as far as these cells can tell"


def gain_facts(
    best: dict[str, Any],
    tuned_on: dict[str, Any],
    judged_on: dict[str, Any],
    tables: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame] | None,
    seed: int,
    failed: str = "",
) -> dict[str, Any]:
    """Return the content of gain.json.

    Args:
        best: best.json.
        tuned_on, judged_on: fold.json of the split of tuning, and of the fold whose batches took no part.
        tables: scored cells by the settings of the configuration; labels.parquet by the chosen ones; the held-out
            cells with their known labels. None if the settings of the configuration were kept, or failed.
        seed: of the resamples.
        failed: why a training with the settings of the configuration failed on these batches; "" if it did not.
    """
    facts = {
        "trial": best["trial"],
        "settings": best["settings"],
        "chosen_on": tuned_on["held_out"],
        "judged_on": judged_on["held_out"],
        "simulated": judged_on["simulated"],
        "covers": "cells drawn again within these batches; not other batches, nor other random numbers of a training",
    }
    if failed:
        verdict = f"training with the settings of the configuration failed, so that nothing can be compared: {failed}"
        return {**facts, "scores": None, "verdict": verdict}
    if tables is None:
        return {**facts, "scores": None, "verdict": "the settings of the configuration are kept: nothing is gained"}
    defaults, labels, cells = tables
    tuned = scored_cells(pick(labels, "knn"), cells, set(defaults["truth"]))
    found = gain(defaults, tuned, seed)
    resampled = {"n_cells": len(defaults), "n_resamples": N_RESAMPLES, "level": LEVEL}
    return {**facts, **resampled, "scores": found, "verdict": verdict_on_gain(found["macro_f1"])}
