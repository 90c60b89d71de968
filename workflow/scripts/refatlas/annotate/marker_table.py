"""The table of all genes' statistics by group, and the markers among them."""

import numpy as np
import pandas as pd

from refatlas.annotate.rank_sums import MIN_CELLS, STATISTICS
from refatlas.errors import listed

# A marker differs within batches at this false discovery rate, and is higher in the group.
MAX_FDR = 0.05
MAX_MARKERS = 50
COLUMNS = [
    *("grouping", "group", "gene", "symbol", "score", "p_value", "fdr", "auc", "log2_fold_change"),
    *("share_in", "share_out", "mean_in", "mean_out"),
    *("batch_score", "batch_log2_fold_change", "n_batches", "n_batches_up"),
]


def marker_table(
    genes: pd.DataFrame, names: dict[str, list[str]], found: dict[str, np.ndarray], detected: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Return one row per grouping, group, and gene that is detected in a cell of the grouping.

    Args:
        genes: indexed by gene, with symbol.
        names: of the groups of each grouping.
        found: statistics of each grouping, shape (n_genes, n_groups, len(STATISTICS)).
        detected: number of cells in which each gene is detected, shape (n_genes,).

    Returns:
        score is Wilcoxon's z over all cells, corrected for ties, and p_value its two-sided p. auc is
        the probability that a cell of the group has a higher value than one of the rest. share is
        of cells with a count, mean of log1p of counts per 10,000, and log2_fold_change that of
        scanpy, of these means. batch_score is the z of van Elteren's test, Wilcoxon's within
        batches, and fdr its false discovery rate over the genes of a group (Benjamini and Hochberg
        1995). batch_log2_fold_change compares the group with a rest of the same composition by
        batch. n_batches are those that the two are based on, and in n_batches_up of them the
        group's mean is higher.
    """
    every_group = list(dict.fromkeys(group for groups in names.values() for group in groups))
    symbols, symbol_names = pd.factorize(genes["symbol"].fillna(genes.index.to_series()))
    parts = []
    for number, (grouping, groups) in enumerate(names.items()):
        rows = np.flatnonzero(detected[grouping])
        place, n = np.tile(rows, len(groups)), len(rows) * len(groups)
        codes = np.repeat([every_group.index(group) for group in groups], len(rows))
        part = {
            "grouping": pd.Categorical.from_codes(np.full(n, number), list(names)),
            "group": pd.Categorical.from_codes(codes, every_group),
            "gene": pd.Categorical.from_codes(place, genes.index),
            "symbol": pd.Categorical.from_codes(symbols[place], symbol_names),
        }
        part |= {name: found[grouping][rows, :, i].T.ravel() for i, name in enumerate(STATISTICS)}
        part |= {name: part[name].astype(np.int32) for name in ("n_batches", "n_batches_up")}
        part["p_value"] = two_sided(part["score"])
        part["fdr"] = np.concatenate([_fdr(scores) for scores in part["batch_score"].reshape(len(groups), -1)])
        parts.append(pd.DataFrame(part)[COLUMNS])
    return pd.concat(parts, ignore_index=True)


def two_sided(scores: np.ndarray) -> np.ndarray:
    """Return the two-sided p-values of standard normal scores, float32."""
    from scipy.special import ndtr

    return (2 * ndtr(-np.abs(scores.astype(np.float64)))).astype(np.float32)


def _fdr(scores: np.ndarray) -> np.ndarray:
    """Return the false discovery rate of each score, missing where the score is."""
    from scipy.stats import false_discovery_control

    rates, known = np.full(len(scores), np.nan, dtype=np.float32), ~np.isnan(scores)
    if known.any():
        rates[known] = false_discovery_control(two_sided(scores[known]))
    return rates


def select_markers(markers: pd.DataFrame, n_top: int = MAX_MARKERS) -> pd.DataFrame:
    """Return the markers of each group, the highest batch_score first.

    Args:
        markers: of `marker_table`.
        n_top: most genes of a group.

    Returns:
        The columns of `marker_table`, and before them rank, from 1.
    """
    is_marker = (markers["fdr"] < MAX_FDR) & (markers["batch_log2_fold_change"] > 0)
    chosen = markers[is_marker].sort_values("batch_score", ascending=False, kind="stable")
    chosen.insert(0, "rank", chosen.groupby(["grouping", "group"], observed=True).cumcount() + 1)
    chosen = chosen[chosen["rank"] <= n_top]
    return chosen.sort_values(["grouping", "group", "rank"]).reset_index(drop=True)


def report_markers(markers: pd.DataFrame, chosen: pd.DataFrame) -> None:
    """Print how many markers each grouping has, and which groups have none because of their batches.

    Args:
        markers: of `marker_table`.
        chosen: of `select_markers`.
    """
    for grouping, part in markers.groupby("grouping", observed=True, sort=False):
        groups = part.groupby("group", observed=True, sort=False)["n_batches"].max()
        n = int((chosen["grouping"] == grouping).sum())
        print(f"{grouping}: {n} markers of {len(groups)} groups among {part['gene'].nunique()} genes")
        if alone := list(groups.index[groups == 0]):
            print(
                f"  without markers, because no batch has {MIN_CELLS} cells of the group and of the rest:"
                f" {listed(alone)}"
            )
