"""Scores of all queries and folds in one table, with intervals over batches."""

import numpy as np
import pandas as pd
from scipy import stats

from refatlas.io.atomic import read_csv

KEY = ["split", "query", "model", "source", "level"]
MEANS = ["accuracy", "macro_f1", "ece", "ece_calibrated", "aurc", "coverage", "set_size"]


def gathered(paths: list[str]) -> pd.DataFrame:
    """Return the rows of all tables; those without rows lend only their columns."""
    tables = [read_csv(path) for path in paths]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def interval(values: pd.Series) -> tuple[float, float]:
    """Return the 95 % interval of the mean over batches by Student's t, cut to 0 … 1; NaN for fewer
    than two.
    """
    values = values.dropna()
    if len(values) < 2:
        return np.nan, np.nan
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
    return max(values.mean() - half, 0.0), min(values.mean() + half, 1.0)


def with_intervals(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each query and source, with the interval of accuracy and macro-F1 over its
    batches, and first those of all folds together.

    The latter ("folds") are means over the held-out batches, each counting once.
    """
    batches = scores[scores["batch"] != "all"]
    in_folds = batches[batches["split"].str.startswith("fold_")]
    means = (
        in_folds.groupby(KEY[2:], sort=False)[MEANS]
        .mean()
        .reset_index()
        .assign(split="folds", query="all held-out batches")
    )
    sizes = in_folds.groupby(KEY[2:], sort=False)[["n_cells", "n_seen"]].sum().reset_index()
    rows = pd.concat([means.merge(sizes, on=KEY[2:]), scores[scores["batch"] == "all"]], ignore_index=True).drop(
        columns="batch"
    )
    found = []
    for key, part in [
        *batches.groupby(KEY),
        *((("folds", "all held-out batches", *key), part) for key, part in in_folds.groupby(KEY[2:])),
    ]:
        limits = {
            f"{name}_{end}": value
            for name in ("accuracy", "macro_f1")
            for end, value in zip(("low", "high"), interval(part[name]), strict=True)
        }
        found.append(dict(zip(KEY, key, strict=True)) | {"n_batches": len(part)} | limits)
    limits = pd.DataFrame(
        found, columns=[*KEY, "n_batches", "accuracy_low", "accuracy_high", "macro_f1_low", "macro_f1_high"]
    )
    return rows.merge(limits, on=KEY, how="left")[
        [*KEY, "n_batches", *scores.columns.drop([*KEY, "batch"]), *limits.columns[-4:]]
    ]
