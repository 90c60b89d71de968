"""Labels, novelty measures and evidence on the labels of a query, by the baseline matched to it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError
from refatlas.io.row_reader import take_rows
from refatlas.prepare.normalization import log_normalized
from refatlas.transfer.calibration import pool
from refatlas.transfer.label_agreement import Agreement, HalfClassifiers, source_agreement
from refatlas.transfer.label_table import draw_evenly, label_table
from refatlas.transfer.matched_reference import MAX_CELLS, MIN_PER_LABEL, MatchedReference
from refatlas.transfer.novelty_measures import AlignedCells, novelty_measures
from refatlas.transfer.query_alignment import batch_groups, label_means, shared_shift
from refatlas.transfer.recorded_rows import rows_of

if TYPE_CHECKING:
    import anndata as ad

# In a smaller batch, nothing is said of its labels.
MIN_BATCH_CELLS = 30


@dataclass
class MatchedQuery:
    """Results of the matched baseline on a query.

    Attributes:
        labels: names of the labels.
        probabilities: of the labels by each source, shape (n_cells, n_labels).
        pooled: probabilities by all of these sources, same shape.
        measures: novelty measures, one row per cell.
        agreement: measures of the labels of all cells ("") and of each batch, if there are MIN_BATCH_CELLS.
        kept: mask of the cells of good quality, from which depth, shift and agreement are taken.
        depth_ratio: see `MatchedReference`.
    """

    labels: np.ndarray
    probabilities: dict[str, np.ndarray]
    pooled: np.ndarray
    measures: pd.DataFrame
    agreement: dict[str, Agreement]
    kept: np.ndarray
    depth_ratio: float

    def given(self) -> np.ndarray:
        """Return the label that each cell is given by all sources together."""
        found: np.ndarray = self.labels[self.pooled.argmax(axis=1)]
        return found

    def label_table(self, cells: pd.Index) -> pd.DataFrame:
        """Return the label table of all sources (see `label_table`)."""
        return pd.concat(
            [label_table(cells, name, list(self.labels), p) for name, p in self.probabilities.items()],
            ignore_index=True,
        )

    def measures_table(self, cells: pd.Index) -> pd.DataFrame:
        """Return the novelty measures of each cell, the label that it is given, and whether it is of good quality."""
        return self.measures.set_axis(cells.rename("cell")).assign(given=self.given(), kept=self.kept)


def match_query(
    reference: sparse.csr_matrix,
    labels: np.ndarray,
    query: sparse.csr_matrix,
    batches: np.ndarray,
    measured: np.ndarray,
    seed: int,
    *,
    kept: np.ndarray | None = None,
    agreement: bool = True,
    max_cells: int = MAX_CELLS,
    threads: int = 1,
) -> MatchedQuery:
    """Return labels of query cells by the baseline after depth, genes and shared shift are matched.

    Args:
        reference: counts of labelled reference cells, shape (n_reference, n_genes).
        labels: of these cells.
        query: counts, shape (n_cells, n_genes).
        batches: batch of each query cell.
        measured: whether the query has each gene, shape (n_genes,).
        seed: seed of all draws.
        kept: mask of the cells of good quality (default: all). The others, such as empty droplets, are labelled too,
            but say nothing of depth, shift and agreement, unless no cell is of good quality.
        agreement: whether to measure the agreement of labels.
        max_cells: most reference cells to fit to.
        threads: number of threads.

    Raises:
        InputError: half of the cells or more have no count in the measured genes.
    """
    counts = query[:, measured].tocsr()
    good = np.ones(len(batches), dtype=bool) if kept is None or not kept.any() else kept
    depth = _median_depth(counts[good])
    matched = MatchedReference.fit(reference[:, measured].tocsr(), labels, depth, seed, max_cells)
    expression = log_normalized(counts)
    shifts = batch_shifts(matched, expression, batches, good)
    cells = aligned(matched, expression, batches, shifts, threads)
    found = _agreement(matched, cells, shifts, good, seed) if agreement else {}
    measures = novelty_measures(matched, cells, threads)
    return MatchedQuery(matched.labels, cells.probabilities, cells.pooled, measures, found, good, matched.depth_ratio)


def _median_depth(counts: sparse.csr_matrix) -> float:
    """Return the median of the cells' counts, which must not be 0."""
    depth = float(np.median(np.asarray(counts.sum(axis=1))))
    if depth == 0:
        raise InputError(
            f"at least half of the query's {counts.shape[0]} cells have no count in the {counts.shape[1]} selected"
            " genes that it has measured: they cannot be compared with the reference; look whether the genes fit, and"
            " leave empty cells out, for example by qc.min_counts"
        )
    return depth


def match_to_reference(
    reference: "ad.AnnData", query: "ad.AnnData", seed: int, threads: int = 1, kept: pd.Series | None = None
) -> MatchedQuery:
    """Return labels of a query's cells as `match_query` does, by at most MAX_CELLS cells of the reference.

    Args:
        reference: counts, with label in obs, or the sample of them; they may be on disk.
        query: counts of the same genes, with batch in obs and measured in var.
        seed: seed of all draws.
        threads: number of threads.
        kept: whether each of the query's cells is of good quality, by name (default: all are).
    """
    counts, labels = drawn_reference(reference, seed)
    x: Any = query.X
    measured: pd.Series = query.var["measured"]
    batches: pd.Series = query.obs["batch"]
    good = None if kept is None else kept.loc[query.obs_names].to_numpy(dtype=bool)
    return match_query(
        counts, labels, x, batches.to_numpy(dtype=str), measured.to_numpy(dtype=bool), seed, kept=good, threads=threads
    )


def drawn_reference(reference: "ad.AnnData", seed: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return counts and labels of at most MAX_CELLS labelled reference cells, drawn evenly from the labels.

    Args:
        reference: counts, with label in obs; they may be on disk.
        seed: seed of the draw.
    """
    obs: Any = reference.obs
    rows = rows_of(reference, "matched", lambda: matched_rows(obs, seed))
    counts: Any = reference.X
    return take_rows(counts, rows), obs["label"].iloc[rows].to_numpy(dtype=object).astype(str)


def matched_rows(obs: pd.DataFrame, seed: int) -> np.ndarray:
    """Return the rows of the cells that `drawn_reference` draws; none without labels."""
    if "label" not in obs:
        return np.zeros(0, dtype=int)
    codes = pd.factorize(obs["label"].to_numpy(dtype=object))[0]
    rows = np.flatnonzero(codes >= 0)
    return draw_evenly(codes, MAX_CELLS, MIN_PER_LABEL, seed) if len(rows) > MAX_CELLS else rows


def batch_shifts(
    reference: MatchedReference, expression: sparse.csr_matrix, batches: np.ndarray, kept: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the mask of the cells of each batch, and the shift of its kept cells, shape (n_genes,)."""
    means, sizes = label_means(reference.expression, reference.codes, len(reference.labels))
    scores = reference.gene_scores(expression, np.zeros(expression.shape[1]))
    codes, confidence = scores.argmax(axis=1), _confidence(scores)
    return [
        (mask, shared_shift(expression[rows], codes[rows], confidence[rows], means, sizes))
        for mask, rows in batch_groups(batches, codes, kept)
    ]


def _confidence(scores: np.ndarray) -> np.ndarray:
    from scipy.special import softmax

    found: np.ndarray = softmax(scores, axis=1).max(axis=1)
    return found


def aligned(
    reference: MatchedReference,
    expression: sparse.csr_matrix,
    batches: np.ndarray,
    shifts: list[tuple[np.ndarray, np.ndarray]],
    threads: int = 1,
) -> AlignedCells:
    """Return the query's cells after the shift of each batch is taken off."""
    n_cells, n_labels = len(batches), len(reference.labels)
    latent = np.zeros((n_cells, reference.latent.shape[1]), dtype=np.float32)
    scores = np.zeros((n_cells, n_labels))
    sources: dict[str, np.ndarray] = {}
    for mask, shift in shifts:
        latent[mask] = reference.project(expression[mask], shift)
        scores[mask] = reference.gene_scores(expression[mask], shift)
        for name, p in reference.probabilities(expression[mask], shift, latent[mask], threads).items():
            sources.setdefault(name, np.zeros((n_cells, n_labels)))[mask] = p
    equal = np.full(len(sources), 1 / len(sources))
    return AlignedCells(expression, latent, scores, sources, pool(list(sources.values()), equal), batches)


def _agreement(
    reference: MatchedReference,
    cells: AlignedCells,
    shifts: list[tuple[np.ndarray, np.ndarray]],
    kept: np.ndarray,
    seed: int,
) -> dict[str, Agreement]:
    """Return the measures of the labels of the kept cells, under "", and of each batch with enough of them."""
    halves = HalfClassifiers.fit(reference, seed)
    n_cells, n_labels = cells.pooled.shape
    found = [np.zeros((n_cells, n_labels)) for _ in halves.genes]
    for mask, shift in shifts:
        for p, part in zip(found, halves.probabilities(cells.expression[mask], shift), strict=True):
            p[mask] = part
    masks = {"": kept} | {str(name): kept & (cells.batches == name) for name in np.unique(cells.batches)}
    parts = {name: mask for name, mask in masks.items() if mask.sum() >= MIN_BATCH_CELLS}
    return {
        name: source_agreement(cells, part, seed)
        | halves.agreement(cells.expression[part], [p[part] for p in found], seed)
        for name, part in parts.items()
    }
