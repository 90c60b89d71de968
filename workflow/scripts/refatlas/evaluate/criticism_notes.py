"""What posterior predictive checks say of a query: its distance from training cells, and that of held-out batches.

A note explains a verdict, and does not decide it. No measure has a limit of its own: how far a sound model's
replicates are from the counts depends on the data, so a query is compared with batches that were held out and
mapped as it was, each relative to the training cells of the reference that it was mapped onto.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from refatlas.evaluate.checks import FALSE_ALARMS, MIN_BATCHES
from refatlas.evaluate.criticism import ALL, MIN_CELLS
from refatlas.evaluate.tables import stack_tables
from refatlas.io.atomic import read_csv

# Measures that are judged, in words, and the side on which they are bad.
JUDGED = {
    "cv_gene_correlation": ("correlation of observed and replicated coefficients of variation of genes", -1),
    "cv_gene_error": ("mean error of replicated coefficients of variation of genes", 1),
    "zero_fraction_error": ("mean error of the replicated share of zeros of genes", 1),
    "calibration_error": ("calibration error of predictive intervals", 1),
    "fold_change_correlation": ("correlation of observed and replicated fold changes between labels", -1),
    "reconstruction": ("reconstruction loss of a cell", 1),
    "kl": ("KL divergence of a cell", 1),
}
# Cells that a model was trained on.
TRAINED = ("training", "reference")
MEANING = "the model replicates the counts of the query worse than those of held-out batches"
REMEDY = (
    "see report/criticism.html; check that gene names belong to their counts, tissue and protocol; expect states that"
    " the reference lacks"
)


def criticism_notes(query: pd.DataFrame, usual: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a note for each model, of the measure in which the query is furthest towards or beyond a limit.

    Args:
        query: criticism.csv of a query, of all models.
        usual: criticism.csv of the evaluation: training cells of all references, and held-out cells.
    """
    notes = []
    for model, rows in query[query["features"] == "rna"].groupby("model", sort=False):
        known = usual[(usual["model"] == model) & (usual["features"] == "rna")]
        notes.append(_note(str(model), compared(rows, known)))
    return notes


def compared(query: pd.DataFrame, usual: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each judged measure of a query that one model mapped, beside what is usual; the furthest first.

    Args:
        query: its rows of criticism.csv. usual: the rows of this model in the evaluation's criticism.csv.

    Returns:
        measure, words, value (of the query, the mean over its batches), trained (the same of the training cells),
        difference, held_out (differences of held-out batches), limit (of the difference; None if fewer than
        MIN_BATCHES batches were held out), and excess: how far the difference is beyond the worst held-out batch, in
        multiples of the distance from their mean to the limit.
    """
    trained = usual[usual["cells"].isin(TRAINED)]
    held = usual[(usual["cells"] == "held-out") & (usual["batch"] != ALL)]
    of_split = dict(iter(trained.groupby("split")))
    found = []
    for measure, (words, side) in JUDGED.items():
        own, base = _over_batches(query, measure), _over_batches(of_split["reference"], measure)
        away = [
            row[measure] - _over_batches(of_split[row["split"]], measure)
            for row in held.to_dict("records")
            if row["split"] in of_split
        ]
        away = [value for value in away if np.isfinite(value)]
        if np.isfinite(own - base):
            row = {"measure": measure, "words": words, "side": side, "value": own, "trained": base}
            found.append({**row, "difference": own - base, "held_out": away, **_limit(own - base, away, side)})
    return sorted(found, key=lambda row: -row["excess"])


def _over_batches(rows: pd.DataFrame, measure: str) -> float:
    """Return the mean of a measure over batches, weighted by their cells: few cells of a batch have noisier measures
    than all cells together, so like is compared with like.
    """
    batches = rows[rows["batch"] != ALL]
    batches = batches[batches[measure].notna()]
    if batches.empty:
        return np.nan
    return float(np.average(batches[measure], weights=batches["n_cells"]))


def _limit(difference: float, held_out: Sequence[float], side: int) -> dict[str, Any]:
    """Return the limit of a further batch: the worst held-out one, or the end of the prediction interval beyond it."""
    from scipy.stats import t

    if len(held_out) < MIN_BATCHES:
        return {"limit": None, "excess": -np.inf}
    values, n = side * np.array(held_out), len(held_out)
    quantile = t.ppf(1 - FALSE_ALARMS / len(JUDGED), n - 1)
    half = float(quantile * values.std(ddof=1) * np.sqrt(1 + 1 / n))
    limit = max(values.max(), values.mean() + half)
    width = max(limit - values.mean(), 1e-12)
    return {"limit": side * limit, "excess": float((side * difference - limit) / width)}


def _note(model: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the entry of one model among the reasons and checks of a verdict."""
    name = {"check": f"criticism_{model}", "unusual": False, "value": None, "usual": [None, None], "held_out": []}
    if not rows:
        lacking = f"no batch of the query, or none of the reference, has {MIN_CELLS} cells that were checked"
        return {**name, "meaning": f"posterior predictive checks by {model}: {lacking}", "remedy": ""}
    row = rows[0]
    ends = [None if row["limit"] is None else round(row["limit"], 4)] * 2
    ends[0 if row["side"] > 0 else 1] = None
    found = {
        **name,
        "unusual": row["excess"] > 0,
        "value": round(row["difference"], 4),
        "usual": ends,
        "held_out": [round(value, 4) for value in row["held_out"]],
    }
    numbers = (
        f"posterior predictive checks by {model}: {row['words']} is {row['value']:.4g} in the query and"
        f" {row['trained']:.4g} in training cells of the reference"
    )
    if row["limit"] is None:
        return {
            **found,
            "meaning": f"{numbers}; {len(row['held_out'])} batches were held out, too few to say what is usual",
            "remedy": "",
        }
    beyond = [other["words"] for other in rows if other["excess"] > 0]
    if not beyond:
        return {**found, "meaning": f"{numbers}; all measures are as in held-out batches", "remedy": ""}
    return {**found, "meaning": f"{MEANING}. {_sentence(numbers)}. Beyond: {'; '.join(beyond)}", "remedy": REMEDY}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def with_criticism(verdict: Mapping[str, Any], queries: Mapping[str, str], usual: str | None) -> dict[str, Any]:
    """Return a verdict with a note for each criticized model among its reasons and checks; nothing else changes.

    Args:
        verdict: of `assess`.
        queries: path of criticism.csv of the query, by model; empty without criticism.
        usual: path of criticism.csv of the evaluation; None without criticism.
    """
    if not queries or usual is None:
        return dict(verdict)
    notes = criticism_notes(stack_tables(queries.values()), read_csv(usual))
    return {**verdict, "reasons": [*verdict["reasons"], *notes], "checks": [*verdict["checks"], *notes]}
