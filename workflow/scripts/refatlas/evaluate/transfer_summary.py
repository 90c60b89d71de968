"""Scores of label transfer over all queries and folds, with intervals over batches."""

import numpy as np
import pandas as pd
from scipy import stats

KEY = ["split", "query", "model", "source", "level"]
MEANS = ["accuracy", "macro_f1", "ece", "ece_calibrated", "aurc", "coverage", "set_size"]
INTERVALS = ("accuracy", "macro_f1")
# How the rows over all folds are named.
ALL_FOLDS = {"split": "folds", "query": "all held-out batches"}


def interval(values: pd.Series) -> tuple[float, float]:
    """Return the 95 % interval of the mean over batches by Student's t, cut to 0 … 1.

    Both ends are NaN for fewer than two batches.
    """
    values = values.dropna()
    if len(values) < 2:
        return np.nan, np.nan
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
    return max(values.mean() - half, 0.0), min(values.mean() + half, 1.0)


def with_intervals(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per query and source, preceded by one row per source over all folds.

    The rows over all folds ("folds") are means over the held-out batches, each counting once.

    Args:
        scores: rows of scores.csv of all queries and folds (see `score_sources`).

    Returns:
        The same columns without batch, with n_batches and the ends of the 95 % intervals of
        accuracy and macro-F1 over batches.
    """
    batches = scores[scores["batch"] != "all"]
    in_folds = batches[batches["split"].str.startswith("fold_")]
    by_source = in_folds.groupby(KEY[2:], sort=False)
    means, sizes = by_source[MEANS].mean().reset_index(), by_source[["n_cells", "n_seen"]].sum().reset_index()
    means = means.assign(**ALL_FOLDS).merge(sizes, on=KEY[2:])
    rows = pd.concat([means, scores[scores["batch"] == "all"]], ignore_index=True).drop(columns="batch")
    ends = _interval_table(batches, in_folds)
    columns = [*KEY, "n_batches", *scores.columns.drop([*KEY, "batch"]), *ends.columns[len(KEY) + 1 :]]
    return rows.merge(ends, on=KEY, how="left")[columns]


def _interval_table(batches: pd.DataFrame, in_folds: pd.DataFrame) -> pd.DataFrame:
    """Return number of batches and ends of the intervals of each query and source, and over all folds."""
    groups = [
        *batches.groupby(KEY),
        *(((*ALL_FOLDS.values(), *key), part) for key, part in in_folds.groupby(KEY[2:])),
    ]
    ends = [f"{name}_{end}" for name in INTERVALS for end in ("low", "high")]
    rows = [(*key, len(part), *(end for name in INTERVALS for end in interval(part[name]))) for key, part in groups]
    return pd.DataFrame(rows, columns=[*KEY, "n_batches", *ends])
