"""How a query, or the cells that a fold holds out, compare with the reference that they were mapped
onto.
"""

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.models.registry import BASELINE
from refatlas.neighbors.exact_index import nearest
from refatlas.neighbors.lisi import lisi

N_CELLS = 1000
MIN_BATCH_CELLS = 30
NEIGHBORS = 90
# A cell is inside of a group of novel cells if this share of it and its nearest cells is novel.
GROUP = 20
GROUP_SHARE = 0.8
MAX_GROUPED = 20_000


def draw_reference(path: str, seed: int, n_cells: int = 2 * N_CELLS) -> tuple[ad.AnnData, set[str]]:
    """Return some cells of the reference, without reading the others' counts into memory, and the
    labels of all.
    """
    stored = ad.read_h5ad(path, backed="r")
    drawn = np.sort(np.random.default_rng(seed).permutation(stored.n_obs)[:n_cells])
    cells = stored[drawn].to_memory()
    cells.X = cells.X.astype(np.float32)
    labels = set(stored.obs["label"].dropna().astype(str))
    stored.file.close()
    return cells, labels


def log_ratio(query: np.ndarray, reference: np.ndarray) -> float:
    """Return log2 of the ratio of two medians; 0 counts as 1."""
    return float(np.log2(max(np.median(query), 1)) - np.log2(max(np.median(reference), 1)))


def profile_correlation(query: sparse.csr_matrix, reference: sparse.csr_matrix) -> float:
    """Return the correlation of log1p mean expression, each scaled to 10,000 counts, over the genes
    that both measured.
    """
    means = [np.asarray(x.sum(axis=0)).ravel() for x in (query, reference)]
    logs = [np.log1p(1e4 * mean / max(mean.sum(), 1)) for mean in means]
    if min(log.std() for log in logs) == 0:
        return 0.0
    return float(np.corrcoef(*logs)[0, 1])


def doublet_scores(linear, query: sparse.csr_matrix, reference: ad.AnnData, seed: int, k: int = 30) -> np.ndarray:
    """Return the share of simulated doublets among each cell's nearest neighbours, who are half
    doublets and half cells of the reference.

    A doublet is the sum of two reference cells of different labels (as in Wolock 2019, whose
    doublets are of the query itself: a query that is nothing but doublets
    would not stand out there). Half of its counts are kept, so that it is as deep as a cell.
    Neighbours are those in the baseline's principal components.
    """
    random, labels = np.random.default_rng(seed), reference.obs["label"].astype(str).to_numpy()
    pairs = random.integers(0, reference.n_obs, (20 * N_CELLS, 2))
    pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]][: reference.n_obs]
    if len(pairs) == 0:
        return np.zeros(query.shape[0])
    doublets = (reference.X[pairs[:, 0]] + reference.X[pairs[:, 1]]).tocsr()
    doublets.data = random.binomial(doublets.data.astype(np.int64), 0.5).astype(np.float32)
    spaces = [linear.latent(ad.AnnData(x)) for x in (reference.X, doublets, query)]
    neighbors, _ = nearest(np.vstack(spaces[:2]), spaces[2], k)
    return (neighbors >= reference.n_obs).mean(axis=1)


def mixing(reference: np.ndarray, labels: np.ndarray, query: np.ndarray, given: np.ndarray, seed: int) -> float | None:
    """Return how well query cells mix with reference cells of the label that they were given: 0 not
    at all, 1 fully; None for too few cells.

    The mapping LISI (Zappia 2025): LISI over reference and query, of query cells alone, scaled to 0
    … 1. As many reference cells of each label as query
    cells are drawn, so that neither sizes nor compositions count.
    """
    random, rows, columns = np.random.default_rng(seed), [], []
    for label in np.unique(given):
        ours, theirs = np.flatnonzero(given == label), np.flatnonzero(labels == label)
        n = min(len(ours), len(theirs))
        rows.append(random.choice(theirs, n, replace=False))
        columns.append(random.choice(ours, n, replace=False))
    ours, theirs = query[np.concatenate(columns)], reference[np.concatenate(rows)]
    if len(ours) < MIN_BATCH_CELLS:
        return None
    groups = np.repeat([0, 1], [len(ours), len(theirs)])
    neighbors, distances = nearest(np.vstack([ours, theirs]), ours, min(NEIGHBORS, len(groups) - 1) + 1)
    return float(lisi(distances[:, 1:], groups[neighbors[:, 1:]]).mean() - 1)


def batch_mixing(query: np.ndarray, batches: np.ndarray) -> float | None:
    """Return how well the query's own batches mix (query LISI, Zappia 2025), scaled to 0 … 1; None
    for a single batch.
    """
    names, codes = np.unique(batches, return_inverse=True)
    if len(names) < 2 or len(query) < MIN_BATCH_CELLS:
        return None
    neighbors, distances = nearest(query, query, min(NEIGHBORS, len(query) - 1) + 1)
    return float((lisi(distances[:, 1:], codes[neighbors[:, 1:]]).mean() - 1) / (len(names) - 1))


def novel_groups(novel: np.ndarray, positions: np.ndarray) -> float | None:
    """Return the share of cells that lie among novel cells: a type that the reference lacks is many
    side by side, where usual novel cells are scattered.

    Args:
        novel: whether each cell is. positions: in the baseline's latent space, shape (n_cells,
            n_latent). None for fewer cells than MIN_BATCH_CELLS.
    """
    if len(novel) < MIN_BATCH_CELLS:
        return None
    neighbors, _ = nearest(positions, positions, GROUP)
    return float((novel[neighbors].mean(axis=1) >= GROUP_SHARE).mean())


class Measurer:
    """What is measured of any part of the query's cells.

    Args:
        reference: a sample of it. counts: of the query. delivered: of the query. models: latent
            spaces (of the sample and the query), fit and mapping of each model.
    """

    def __init__(
        self,
        reference: ad.AnnData,
        counts: ad.AnnData,
        cells: pd.DataFrame,
        delivered: pd.DataFrame,
        models: dict[str, dict],
        linear,
        seed: int,
    ) -> None:
        self.reference, self.counts, self.cells, self.delivered, self.models, self.seed = (
            reference,
            counts,
            cells,
            delivered,
            models,
            seed,
        )
        self.measured = counts.var["measured"].to_numpy()
        self.doublets = doublet_scores(linear, counts.X, reference, seed)

    def measure(self, part: np.ndarray) -> dict:
        """Return the measures of the cells where `part` is true, low-quality ones left out."""
        good = part & self.cells["keep"].to_numpy()
        if not good.any():
            return {"n_cells": int(part.sum()), "low_quality": 1.0}
        query, reference = self.counts.X[good][:, self.measured], self.reference.X[:, self.measured]
        delivered = self.delivered[good]
        drawn = np.flatnonzero(good)
        drawn = np.sort(np.random.default_rng(self.seed).permutation(drawn)[:N_CELLS])
        labels = self.reference.obs["label"].astype(str).to_numpy()
        given = self.delivered["label"].to_numpy(dtype=str)[drawn]
        found = {
            "n_cells": int(part.sum()),
            "low_quality": float(1 - good.sum() / part.sum()),
            "gene_overlap": float(self.measured.mean()),
            "masking_shift": max(parts["mapping"]["masking_shift"] for parts in self.models.values()),
            "late_fall": max(parts["mapping"]["late_fall"] for parts in self.models.values()),
            "depth": log_ratio(np.asarray(query.sum(axis=1)), np.asarray(reference.sum(axis=1))),
            "detected_genes": log_ratio(query.getnnz(axis=1), reference.getnnz(axis=1)),
            "profile": profile_correlation(query, reference),
            "doublets": float(np.mean(self.doublets[good])),
            "confidence": float(delivered["confidence"].mean()),
            "novel": None,
            "novel_group": None,
        }
        if delivered["novelty"].notna().all():
            found["novel"] = float(delivered["novel"].mean())
            many = np.sort(np.random.default_rng(self.seed).permutation(np.flatnonzero(good))[:MAX_GROUPED])
            found["novel_group"] = novel_groups(
                self.delivered["novel"].to_numpy()[many], self.models[BASELINE]["query"][many]
            )
        for model, parts in self.models.items():
            found[f"deviance_ratio:{model}"] = float(
                np.log2(np.median(parts["fit"]["deviance_ratio"].to_numpy()[good]))
            )
            found[f"mixing:{model}"] = mixing(parts["reference"], labels, parts["query"][drawn], given, self.seed)
            found[f"batch_mixing:{model}"] = batch_mixing(
                parts["query"][drawn], self.cells["batch"].to_numpy(dtype=str)[drawn]
            )
        return found
