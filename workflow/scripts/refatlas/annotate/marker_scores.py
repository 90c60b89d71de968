"""How well groups of cells fit the marker genes of cell types, from the statistics of their genes.

A gene counts by how far its mean in a group lies above the lowest group, as a share of the highest: so
a type that is split into several clusters keeps its markers, which comparisons with all other cells
would weaken.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

# Added to the mean of the highest group, in log1p of counts per 10,000: genes that hardly any cell
# expresses count less.
LITTLE_EXPRESSION = 0.1
# A gene counts in full from this z of the test against other cells, in part below, and not at all below 0.
FULL_SCORE = 2.0
# Weight of unknown genes that speak for nothing, added to each set: sets with few genes score less.
UNKNOWN_GENES = 3.0
# Weight of a gene that must be absent and is expressed, as ambient RNA and doublets also bring it.
ABSENT_WEIGHT = 0.5
# Groups of genes of similar expression, with which those of a set are compared: at most, and with how many genes.
BINS, LEAST_BIN_GENES = 20, 50


class GroupedGenes(NamedTuple):
    """The evidence of each gene for each group of one grouping.

    Attributes:
        genes: their keys.
        groups: their names.
        evidence: 0 (as in the lowest group) to 1 (all expression above it is in this group), shape
            (n_genes, n_groups); missing where a gene was not measured.
        usual: mean of the evidence of genes of similar expression, shape (n_genes, n_groups).
        spread: its standard deviation, likewise.
    """

    genes: pd.Index
    groups: list[str]
    evidence: np.ndarray
    usual: np.ndarray
    spread: np.ndarray


class SetScores(NamedTuple):
    """Scores of sets of marker genes for groups.

    Attributes:
        labels: of the sets.
        groups: names of the groups.
        score: 0 to 1, shape (n_labels, n_groups).
        z: how far the genes of a set lie above genes of similar expression, in standard deviations, likewise.
        gene_evidence: of each gene of the sets, shape (n_genes, n_groups).
        weights: of each gene in each set: above 0 if it must be present, below if it must be absent, 0 if it is not
            in the set; shape (n_labels, n_genes).
    """

    labels: list[str]
    groups: list[str]
    score: np.ndarray
    z: np.ndarray
    gene_evidence: np.ndarray
    weights: np.ndarray


def gene_evidence(markers: pd.DataFrame) -> GroupedGenes:
    """Return the evidence of each gene for each group.

    Args:
        markers: rows of one grouping of `marker_table`.
    """
    genes, groups = (pd.Index(markers[name].astype(str).unique()) for name in ("gene", "group"))
    at = genes.get_indexer(markers["gene"].astype(str)), groups.get_indexer(markers["group"].astype(str))
    wide = {}
    for name in ("mean_in", "mean_out", "score", "batch_score"):
        wide[name] = np.full((len(genes), len(groups)), np.nan)
        wide[name][at] = markers[name].to_numpy(dtype=np.float64)
    mean, both = wide["mean_in"], np.hstack([wide["mean_in"], wide["mean_out"]])
    lowest, highest = np.nanmin(both, axis=1, keepdims=True), np.nanmax(both, axis=1, keepdims=True)
    test = np.where(np.isnan(wide["batch_score"]), wide["score"], wide["batch_score"])
    evidence = (mean - lowest) / (highest + LITTLE_EXPRESSION) * np.clip(test / FULL_SCORE, 0, 1)
    usual, spread = _of_similar_genes(evidence, highest[:, 0])
    return GroupedGenes(genes, list(groups), evidence, usual, spread)


def _of_similar_genes(evidence: np.ndarray, highest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the evidence over genes with a similar highest mean."""
    ranks = np.argsort(np.argsort(highest, kind="stable"), kind="stable")
    n_bins = int(np.clip(len(ranks) // LEAST_BIN_GENES, 1, BINS))
    bins = ranks * n_bins // len(ranks)
    known, values = ~np.isnan(evidence), np.nan_to_num(evidence)
    sums = np.zeros((3, n_bins, evidence.shape[1]))
    for total, part in zip(sums, (known, values, values**2), strict=True):
        np.add.at(total, bins, part)
    n = np.maximum(sums[0], 1)
    mean = sums[1] / n
    return mean[bins], np.sqrt(np.maximum(sums[2] / n - mean**2, 0))[bins]


def score_sets(sets: pd.DataFrame, grouped: GroupedGenes) -> SetScores:
    """Return the scores of sets for the groups of one grouping.

    A score is the weighted mean of the evidence of a set's genes and UNKNOWN_GENES, less that of
    genes that must be absent. A gene of n sets weighs 1 / √n.

    Args:
        sets: of `match_marker_sets`; genes without key were not measured and do not count.
        grouped: of `gene_evidence`. Genes that it lacks were measured, and no cell expresses them.
    """
    found = sets.dropna(subset="key").drop_duplicates(["label", "key"])
    labels, keys = (pd.Index(found[name].unique()) for name in ("label", "key"))
    at = labels.get_indexer(found["label"]), keys.get_indexer(found["key"])
    weights = np.zeros((len(labels), len(keys)))
    weights[at] = np.where(found["absent"], -1, 1)
    weights[weights < 0] = -ABSENT_WEIGHT
    weights = np.where(weights > 0, 1 / np.sqrt(np.maximum((weights > 0).sum(axis=0), 1)), weights)
    rows = grouped.genes.get_indexer(keys)
    values, usual, spread = (
        np.where(rows[:, None] >= 0, part[rows], 0.0) for part in (grouped.evidence, grouped.usual, grouped.spread)
    )
    present = np.maximum(weights, 0)
    excess = present @ np.nan_to_num(values - usual)
    noise = np.sqrt(present**2 @ np.where(np.isnan(values), 0, spread) ** 2)
    z = np.divide(excess, noise, out=np.zeros_like(excess), where=noise > 0)
    return SetScores(list(labels), grouped.groups, weighted_score(weights, values), z, values, weights)


def weighted_score(weights: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Return scores of sets from 0 to 1, shape (n_labels, n_groups).

    Args:
        weights: of `SetScores`.
        evidence: of the genes, shape (n_genes, n_groups); missing where a gene was not measured.
    """
    total = np.maximum(weights, 0) @ (~np.isnan(evidence)).astype(float)
    return np.clip(weights @ np.nan_to_num(evidence) / (total + UNKNOWN_GENES), 0, 1)


def least_lead(scores: SetScores, first: int, second: int, group: int) -> float:
    """Return how far the first of two sets stays ahead of the second in a group when any single gene is left out."""
    evidence, weights = scores.gene_evidence[:, [group]], scores.weights[[first, second]]
    leads = []
    for gene in np.flatnonzero(weights.any(axis=0)):
        left = weights.copy()
        left[:, gene] = 0
        a, b = weighted_score(left, evidence)[:, 0]
        leads.append(a - b)
    return float(min(leads))


def lead_by_own_genes(scores: SetScores, first: int, second: int, group: int) -> float:
    """Return how far a set is ahead of another in a group by the genes that only one of them has.

    Types of one lineage share most genes, such as CD3D in CD4 and CD8 T cells; only the others tell them apart. A gene
    that one must have and the other must not counts for both.
    """
    weights = scores.weights[[first, second]]
    weights = np.where(weights[0] == weights[1], 0, weights)
    a, b = weighted_score(weights, scores.gene_evidence[:, [group]])[:, 0]
    return float(a - b)


def share_genes(scores: SetScores, first: int, second: int) -> bool:
    """Return whether two sets have a gene in common that must be present in both."""
    return bool((scores.weights[[first, second]] > 0).all(axis=0).any())
