"""Names of clusters suggested from marker genes of cell types."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from refatlas.annotate.marker_scores import (
    SetScores,
    gene_evidence,
    lead_by_own_genes,
    least_lead,
    score_sets,
    share_genes,
)
from refatlas.annotate.suggestion_rows import HIGH, LOW, MAX_CANDIDATES, MODERATE, suggestion_table
from refatlas.errors import listed

# Grouping of markers.parquet by the datasets' labels, which have names.
OF_LABELS = "label"
EVIDENCE = "markers"
# A gene with this evidence is said to be up: the cluster has half of the expression of the highest one.
UP = 0.5
SHOWN_GENES = 6
# With a lower score, a type is no candidate.
LEAST_SCORE = 0.01
# Least score, z above genes of similar expression, number of genes that are up, and margin of a sure suggestion, and
# of one that is moderately sure. A score of 0.4 is that of five genes of its own with an evidence of 0.64.
SURE = {HIGH: (0.4, 3.0, 3, 0.1), MODERATE: (0.25, 2.0, 2, 0.05)}


def suggest_from_markers(markers: pd.DataFrame, sets: pd.DataFrame) -> pd.DataFrame:
    """Return the likeliest cell types of each cluster by their marker genes, best first.

    Scores are those of `score_sets`; candidates below LEAST_SCORE are left out. The best is sure (HIGH) if
    it reaches the least values of SURE; if it stays first when any single gene is left out; and if it
    also leads each candidate that it shares genes with by the genes that only one of the two has. It
    is moderately sure if it reaches the lower values and leads by own genes, else LOW.

    Args:
        markers: of `marker_table`; groupings other than that of labels are used.
        sets: of `match_marker_sets`.

    Returns:
        As of `suggestion_table`; n is the number of the set's genes that were measured.
    """
    rows: list[dict[str, Any]] = []
    if sets["key"].notna().any():
        for grouping, part in markers.groupby("grouping", observed=True, sort=False):
            if grouping != OF_LABELS:
                scores = score_sets(sets, gene_evidence(part))
                rows += [{"resolution": str(grouping), **row} for row in _rows(scores, sets)]
    return suggestion_table(rows)


def _rows(scores: SetScores, sets: pd.DataFrame) -> Iterator[dict[str, Any]]:
    genes = _gene_names(sets)
    by_label = dict(iter(sets.groupby("label", sort=False)))
    for group, name in enumerate(scores.groups):
        values = scores.score[:, group]
        order = [int(i) for i in np.argsort(-values, kind="stable") if values[i] >= LEAST_SCORE]
        for rank, i in enumerate(order[:MAX_CANDIDATES], start=1):
            others = [k for k in order if k != i]
            support, against = _texts(scores, i, group, by_label[scores.labels[i]], genes)
            yield {
                "cluster": name,
                "evidence": EVIDENCE,
                "label": scores.labels[i],
                "score": values[i],
                "rank": rank,
                "support": support,
                "against": against,
                "n": _n_measured(scores, i, group),
                "margin": values[i] - (values[others[0]] if others else 0),
                "sure": _how_sure(scores, order, group) if rank == 1 else "",
            }


def _gene_names(sets: pd.DataFrame) -> list[str]:
    """Return the table's names of the genes, in the order of the scores."""
    return list(sets.dropna(subset="key").drop_duplicates("key")["gene"])


def _n_measured(scores: SetScores, label: int, group: int) -> int:
    return int(((scores.weights[label] > 0) & ~np.isnan(scores.gene_evidence[:, group])).sum())


def _how_sure(scores: SetScores, order: list[int], group: int) -> str:
    first, rivals = order[0], order[1:MAX_CANDIDATES]
    score = scores.score[:, group]
    up = (scores.weights[first] > 0) & (scores.gene_evidence[:, group] >= UP)
    margin = score[first] - (score[rivals[0]] if rivals else 0)
    reached = (score[first], scores.z[first, group], up.sum(), margin)
    relatives = [rival for rival in rivals if share_genes(scores, first, rival)]
    by_own = all(lead_by_own_genes(scores, first, rival, group) > 0 for rival in relatives)
    stable = all(least_lead(scores, first, rival, group) > 0 for rival in rivals)
    for sure, least in SURE.items():
        if by_own and (stable or sure != HIGH) and all(a >= b for a, b in zip(reached, least, strict=True)):
            return sure
    return LOW


def _texts(scores: SetScores, label: int, group: int, own: pd.DataFrame, genes: list[str]) -> tuple[str, str]:
    """Return what speaks for and against a label, as text."""
    evidence, weights = scores.gene_evidence[:, group], scores.weights[label]
    strongest = np.argsort(-np.nan_to_num(evidence), kind="stable")
    up = [genes[i] for i in strongest if weights[i] > 0 and evidence[i] >= UP]
    low = [genes[i] for i in strongest if weights[i] > 0 and evidence[i] < UP]
    unexpected = [genes[i] for i in strongest if weights[i] < 0 and evidence[i] >= UP]
    n_present = int((~own["absent"]).sum())
    n_measured = _n_measured(scores, label, group)
    support = f"{len(up)} of {n_measured} genes up" + (f": {listed(up, SHOWN_GENES)}" if up else "")
    if n_present > n_measured:
        support += f" ({n_present - n_measured} further genes not measured)"
    against = [f"not up: {listed(low, SHOWN_GENES)}"] if low else []
    against += [f"up, but should be absent: {listed(unexpected, SHOWN_GENES)}"] if unexpected else []
    return support, "; ".join(against)
