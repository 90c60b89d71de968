"""Prints the grades of the benchmark of trust, of one version or of two side by side.

usage: .venv/bin/python measurements/trust/summarize.py CSV [BEFORE] [PEERS]
    CSV     of grade_pairs.py
    BEFORE  of grade_pairs.py of another version, on the same pairs
    PEERS   of peers.py, on the same pairs

Means over pairs with a 95 % interval by bootstrap over pairs, the errors of the verdict, grades by family of pairs, and
the mean macro-F1 of each source and peer on the pairs that all of them have.
"""

import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

GRADES = [
    "accuracy",
    "macro_f1",
    "ece",
    "ece_worst_label",
    "log_loss",
    "brier",
    "coverage_90",
    "coverage_worst_label_90",
    "coverage_worst_batch_90",
    "set_size_90",
    "coverage_98",
    "coverage_worst_label_98",
    "auroc_novelty",
    "auroc_logistic",
    "found",
    "false_novel",
    "false_novel_worst_label",
]
KEY = ["reference", "query", "damage", "hide", "noise", "seed"]
# Estimates are graded on pairs with at least so many seen cells.
MIN_SEEN = 30


def interval(values: np.ndarray, statistic: Callable[[np.ndarray], float], draws: int = 2000) -> str:
    """Return a statistic over pairs with its 95 % interval by bootstrap, as text.

    Args:
        values: one row per pair.
        statistic: of the rows; NaN where it is undefined.
    """
    random = np.random.default_rng(0)
    found = [statistic(values[random.integers(0, len(values), len(values))]) for _ in range(draws)]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return f"{statistic(values):.3f} ({low:.3f}, {high:.3f})"


def mean_of(table: pd.DataFrame, column: str) -> str:
    """Return the mean of a grade over the pairs that have it."""
    values = table[column].dropna().to_numpy()
    return f"{interval(values, np.mean)}, {len(values)}" if len(values) else ""


def verdict_auroc(rows: np.ndarray) -> float:
    """Return the AUROC of 1 - estimated accuracy for a graded accuracy below 0.8, of rows of both."""
    low = rows[:, 1] < 0.8
    return float(roc_auc_score(low, -rows[:, 0])) if 0 < low.sum() < len(low) else np.nan


def verdict_rows(table: pd.DataFrame) -> dict[str, str]:
    """Return the grades of verdict and estimate as text."""
    judged = table[(table["n_seen"] >= MIN_SEEN) | (table["n_seen"] == 0)]
    found = {
        "AUROC of the verdict": interval(judged[["estimate", "graded_accuracy"]].to_numpy(dtype=float), verdict_auroc),
        "fail at 0.9 or more": f"{table['false_fail'].sum()} of {(table['graded_accuracy'] >= 0.9).sum()}",
        "pass below 0.75": f"{table['false_pass'].sum()} of {(table['graded_accuracy'] < 0.75).sum()}",
    }
    if table["estimate_low"].isna().all():
        return found
    seen = table[table["n_seen"] >= MIN_SEEN]
    away = (seen["estimate"] - seen["graded_accuracy"]).abs().to_numpy()
    inside = seen["graded_accuracy"].between(seen["estimate_low"], seen["estimate_high"]).to_numpy(dtype=float)
    ece, false_novel = (seen[name].dropna() for name in ("ece_worst_label", "false_novel_worst_label"))
    return found | {
        "estimate within 0.05": interval((away <= 0.05).astype(float), np.mean),
        "accuracy inside the interval of 90 %": interval(inside, np.mean),
        "share with ECE by label of at most 0.08": interval((ece <= 0.08).to_numpy(float), np.mean),
        "share with false novel by label of at most 0.1": interval((false_novel <= 0.1).to_numpy(float), np.mean),
    }


def sources_table(table: pd.DataFrame, peers: pd.DataFrame | None) -> pd.Series:
    """Return the mean macro-F1 of the delivered labels, each source and each peer."""
    columns = [name for name in table if name.endswith("_macro_f1")]
    named = table.fillna({"damage": "", "hide": ""}).set_index(KEY)
    scores = named[["macro_f1", *columns]].rename(columns={"macro_f1": "delivered"})
    scores["best source"] = named[columns].max(axis=1)
    if peers is not None:
        wide = peers.fillna({"damage": "", "hide": ""}).pivot_table(index=KEY, columns="method", values="macro_f1")
        scores = scores.join(wide)
    shown = scores.dropna()
    print(
        f"\n{len(shown)} pairs; delivered within 0.005 of the best source:"
        f" {interval((shown['delivered'] >= shown['best source'] - 0.005).to_numpy(float), np.mean)}"
    )
    for name in shown.columns[shown.columns.str.endswith("classifier_macro_f1")]:
        print(f"delivered more than {name}: {interval((shown['delivered'] - shown[name]).to_numpy(), np.mean)}")
    return shown.mean()


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    table = pd.read_csv(sys.argv[1])
    versions = {"after": table}
    if len(sys.argv) > 2:
        versions = {"before": pd.read_csv(sys.argv[2]), "after": table}
    grades = pd.DataFrame({name: {g: mean_of(t, g) for g in GRADES} | verdict_rows(t) for name, t in versions.items()})
    print(grades.fillna("").to_markdown())
    families = ["accuracy", "macro_f1", "ece", "auroc_novelty", "false_novel", "estimate"]
    for name, version in versions.items():
        verdicts = pd.crosstab(version["family"], version["verdict"])
        print(f"\n{name}\n\n{version.groupby('family')[families].mean().round(3).join(verdicts).to_markdown()}")
    peers = pd.read_csv(sys.argv[3]) if len(sys.argv) > 3 else None
    print(f"\n{sources_table(table, peers).round(3).rename('mean macro-F1').to_frame().to_markdown()}")


if __name__ == "__main__":
    main()
