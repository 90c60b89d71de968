"""Posterior predictive checks: the counts of cells against counts that a model replicates for them.

Everything is a running sum over blocks of cells, so that no more than one block is dense. Coefficients of
variation and zero fractions are those of scvi.criticism. Coverage is not: scvi-tools takes quantiles of a
few samples, whose intervals hold far more than they should where most counts are zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

# Widths of predictive intervals: twenty, of which these have a column.
LEVELS = np.arange(1, 21) / 20
SHOWN_LEVELS = (0.5, 0.8, 0.95)
# Least cells of a batch that has a row, and of a label that is compared with the others.
MIN_CELLS, MIN_LABELLED = 100, 20
# Coverage is of features that this share of the cells has, if there are as many: a count that is nearly always
# zero tells nothing of an interval.
MIN_DETECTED, MIN_FEATURES = 0.1, 10
# Genes with the largest fold changes of a label; the depth that fold changes are of.
N_TOP, DEPTH = 50, 1e4
ALL = "all"
MEASURES = (
    "cv_gene_correlation",
    "cv_gene_error",
    "cv_cell_correlation",
    "cv_cell_error",
    "zero_fraction_correlation",
    "zero_fraction_error",
    *(f"coverage_{level:.0%}".rstrip("%") for level in SHOWN_LEVELS),
    "calibration_error",
    "fold_change_correlation",
    "fold_change_error",
    "top_genes_kept",
    "reconstruction",
    "kl",
)
COLUMNS = ("model", "cells", "split", "batch", "features", "n_cells", "n_samples", "n_labels", *MEASURES)


@dataclass
class Sums:
    """Running sums over cells of one batch, for one kind of features.

    Attributes:
        n_cells: cells so far.
        observed: of counts, their squares and their zeros, shape (3, n_features).
        replicated: the same of replicates, shape (3, n_features, n_samples).
        inside: of each feature, cells whose count lies in the intervals of LEVELS, and in no narrower one,
            shape (n_features, n_levels).
        cell_cv: coefficients of variation of cells, observed and replicated, one pair of arrays per block.
        labelled: cells of each label, shape (n_labels,).
        expression: sums of log-normalised counts by label, observed and of the first replicate, shape
            (2, n_labels, n_features).
        losses: sums of reconstruction loss and KL divergence.
    """

    observed: np.ndarray
    replicated: np.ndarray
    inside: np.ndarray
    labelled: np.ndarray
    expression: np.ndarray
    n_cells: int = 0
    losses: np.ndarray = field(default_factory=lambda: np.zeros(2))
    cell_cv: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def empty(cls, n_features: int, n_samples: int, n_labels: int) -> "Sums":
        """Return the sums over no cell."""
        return cls(
            np.zeros((3, n_features)),
            np.zeros((3, n_features, n_samples)),
            np.zeros((n_features, len(LEVELS)), dtype=np.int64),
            np.zeros(n_labels, dtype=np.int64),
            np.zeros((2, n_labels, n_features)),
        )

    def add(
        self,
        observed: np.ndarray,
        replicated: np.ndarray,
        labels: np.ndarray,
        losses: np.ndarray,
        random: np.random.Generator,
    ) -> None:
        """Add a block of cells.

        Args:
            observed: counts, shape (n_cells, n_features).
            replicated: shape (n_cells, n_features, n_samples).
            labels: codes, negative for no label, shape (n_cells,).
            losses: reconstruction loss and KL divergence, shape (2, n_cells).
            random: breaks ties of ranks.
        """
        self.n_cells += len(observed)
        for found, values in ((self.observed, observed), (self.replicated, replicated)):
            found[0] += values.sum(axis=0, dtype=np.float64)
            found[1] += np.square(values, dtype=np.float64).sum(axis=0)
            found[2] += (values == 0).sum(axis=0)
        self.inside += counts_inside(observed, replicated, random)
        self.cell_cv.append(np.stack([variation(observed), _mean(variation(replicated))]))
        self.losses += losses.sum(axis=1, dtype=np.float64)
        groups = (labels == np.arange(len(self.labelled))[:, None]).astype(np.float32)
        self.labelled += groups.sum(axis=1).astype(np.int64)
        if len(groups):
            self.expression += np.stack([groups @ log_normalized(x) for x in (observed, replicated[:, :, 0])])

    def plus(self, other: "Sums") -> "Sums":
        """Return the sums over the cells of both."""
        names = ("observed", "replicated", "inside", "labelled", "expression", "n_cells", "losses")
        parts = {name: getattr(self, name) + getattr(other, name) for name in names}
        return Sums(**parts, cell_cv=[*self.cell_cv, *other.cell_cv])


def counts_inside(observed: np.ndarray, replicated: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return how many cells' counts need which interval of LEVELS, by feature, shape (n_features, n_levels).

    The rank of a count among its replicates, with ties broken at random, is uniform if the count is one of them
    (Czado, Gneiting & Held 2009): so intervals hold what they should whatever the number of replicates.
    """
    n_features, n_samples = replicated.shape[1:]
    below = (replicated < observed[:, :, None]).sum(axis=2, dtype=np.int32)
    ties = (replicated == observed[:, :, None]).sum(axis=2, dtype=np.int32)
    rank = (below + random.random(observed.shape, dtype=np.float32) * (ties + 1)) / (n_samples + 1)
    level = np.minimum((np.abs(2 * rank - 1) * len(LEVELS)).astype(np.int64), len(LEVELS) - 1)
    place = np.arange(n_features) * len(LEVELS) + level
    return np.bincount(place.ravel(), minlength=n_features * len(LEVELS)).reshape(n_features, -1)


def variation(counts: np.ndarray) -> np.ndarray:
    """Return the coefficient of variation over the second axis; not a number where all counts are zero."""
    mean = counts.mean(axis=1, dtype=np.float64)
    squares = np.square(counts, dtype=np.float64).mean(axis=1)
    return _variation(mean, squares)


def _variation(mean: np.ndarray, squares: np.ndarray) -> np.ndarray:
    spread = np.sqrt(np.maximum(squares - mean**2, 0))
    return np.divide(spread, mean, out=np.full_like(mean, np.nan), where=mean > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return means over the last axis without missing values; missing where all are."""
    n = np.isfinite(values).sum(axis=-1)
    return np.divide(np.nansum(values, axis=-1), n, out=np.full(n.shape, np.nan), where=n > 0)


def log_normalized(counts: np.ndarray) -> np.ndarray:
    """Return log(1 + counts per 10,000) of dense counts, shape (n_cells, n_features)."""
    return np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * np.float32(DEPTH))


def feature_table(sums: Sums, names: Sequence[str]) -> pd.DataFrame:
    """Return observed and replicated coefficient of variation, mean and zero fraction of each feature, and coverage.

    Args:
        sums: over cells. names: of the features.
    """
    n = max(sums.n_cells, 1)
    (mean, squares, zero), (means, many_squares, zeros) = sums.observed / n, sums.replicated / n
    found = {
        "mean_observed": mean,
        "mean_replicated": means.mean(axis=1),
        "cv_observed": _variation(mean, squares),
        "cv_replicated": _mean(_variation(means, many_squares)),
        "zero_fraction_observed": zero,
        "zero_fraction_replicated": zeros.mean(axis=1),
    }
    coverage = sums.inside.cumsum(axis=1) / n
    found |= {f"coverage_{level:.0%}".rstrip("%"): coverage[:, i] for i, level in _shown()}
    return pd.DataFrame(found, index=pd.Index(names, name="feature"))


def _shown() -> Iterable[tuple[int, float]]:
    return [(round(level * len(LEVELS)) - 1, level) for level in SHOWN_LEVELS]


def coverage_curve(sums: Sums, measured: np.ndarray) -> np.ndarray:
    """Return which share of counts lies in the intervals of LEVELS, over detected features, shape (n_levels,).

    Args:
        sums: over cells. measured: features that were measured, boolean.
    """
    detected = measured & (1 - sums.observed[2] / max(sums.n_cells, 1) >= MIN_DETECTED)
    chosen = detected if detected.sum() >= MIN_FEATURES else measured
    inside = sums.inside[chosen].sum(axis=0)
    return inside.cumsum() / max(inside.sum(), 1)


def measures(sums: Sums, measured: np.ndarray) -> dict[str, float]:
    """Return the measures of one group of cells.

    Args:
        sums: over its cells.
        measured: features that were measured, boolean; the others do not count.
    """
    table, curve = feature_table(sums, [str(i) for i in range(len(measured))])[measured], coverage_curve(sums, measured)
    cv_cell = np.concatenate(sums.cell_cv, axis=1)
    found: dict[str, float] = {}
    for name, (a, b) in {
        "cv_gene": (table["cv_observed"].to_numpy(), table["cv_replicated"].to_numpy()),
        "cv_cell": (cv_cell[0], cv_cell[1]),
        "zero_fraction": (table["zero_fraction_observed"].to_numpy(), table["zero_fraction_replicated"].to_numpy()),
    }.items():
        found |= {f"{name}_correlation": correlation(a, b), f"{name}_error": mean_error(a, b)}
    found |= {f"coverage_{level:.0%}".rstrip("%"): float(curve[i]) for i, level in _shown()}
    found["calibration_error"] = float(np.abs(curve - LEVELS).mean())
    losses = sums.losses / max(sums.n_cells, 1)
    return found | fold_changes_kept(sums, measured) | dict(zip(("reconstruction", "kl"), losses, strict=True))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation over pairs without missing values; missing without variation."""
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and a.std() > 0 and b.std() > 0 else np.nan


def mean_error(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean absolute difference over pairs without missing values."""
    known = np.isfinite(a) & np.isfinite(b)
    return float(np.abs(a[known] - b[known]).mean()) if known.any() else np.nan


def fold_changes_kept(sums: Sums, measured: np.ndarray) -> dict[str, float]:
    """Return how well replicates keep the fold changes between each label and the others, means over labels.

    A fold change is the difference of mean log-normalised counts. Missing with fewer than two labels of
    MIN_LABELLED cells.

    Args:
        sums: over cells. measured: features that were measured, boolean.
    """
    compared = np.flatnonzero((sums.labelled >= MIN_LABELLED) & (sums.labelled.sum() - sums.labelled >= MIN_LABELLED))
    names = ("fold_change_correlation", "fold_change_error", "top_genes_kept")
    if len(compared) < 2:
        return dict.fromkeys(names, np.nan) | {"n_labels": 0}
    n_top, rows = min(N_TOP, max(int(measured.sum()) // 10, 1)), []
    for label in compared:
        rest = sums.labelled.sum() - sums.labelled[label]
        own, others = sums.expression[:, label], sums.expression.sum(axis=1) - sums.expression[:, label]
        observed, replicated = (own / sums.labelled[label] - others / rest)[:, measured]
        tops = [set(np.argsort(-np.abs(change), kind="stable")[:n_top]) for change in (observed, replicated)]
        kept = len(tops[0] & tops[1]) / n_top
        rows.append((correlation(observed, replicated), mean_error(observed, replicated), kept))
    return dict(zip(names, np.array(rows).mean(axis=0).tolist(), strict=True)) | {"n_labels": len(compared)}


@dataclass
class Criticism:
    """The checks of some cells by one model.

    Attributes:
        sums: by kind of features and batch.
        measured: features that were measured, likewise.
        n_samples: replicates of each cell.
    """

    sums: dict[str, dict[str, Sums]]
    measured: dict[str, dict[str, np.ndarray]]
    n_samples: int

    def whole(self, kind: str) -> tuple[Sums, np.ndarray]:
        """Return the sums over all cells, and which features all of their batches measured."""
        parts = list(self.sums[kind].values())
        total = parts[0]
        for part in parts[1:]:
            total = total.plus(part)
        return total, np.logical_and.reduce(list(self.measured[kind].values()))

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for all cells and one for each batch of MIN_CELLS cells, for each kind of features."""
        found = []
        for kind, batches in self.sums.items():
            groups = {ALL: self.whole(kind)}
            groups |= {
                batch: (sums, self.measured[kind][batch])
                for batch, sums in batches.items()
                if sums.n_cells >= MIN_CELLS
            }
            found += [
                {"batch": batch, "features": kind, "n_cells": sums.n_cells, "n_samples": self.n_samples}
                | measures(sums, measured)
                for batch, (sums, measured) in groups.items()
                if measured.any()
            ]
        return found


def criticize(
    blocks: Iterable[Any],
    batches: np.ndarray,
    labels: np.ndarray,
    measured: dict[str, dict[str, np.ndarray]],
    n_samples: int,
    seed: int,
) -> Criticism:
    """Return the checks of cells.

    Args:
        blocks: of `refatlas.models.replicates`.
        batches: of all cells, text, shape (n_cells,).
        labels: codes, negative for no label, shape (n_cells,).
        measured: which features were measured, by kind and batch.
        n_samples: replicates of each cell.
        seed: seed of the ties that are broken.
    """
    random, n_labels = np.random.default_rng(seed), int(labels.max(initial=-1)) + 1
    sums = {
        # Fold changes are of genes.
        kind: {b: Sums.empty(len(mask), n_samples, n_labels if kind == "rna" else 0) for b, mask in masks.items()}
        for kind, masks in measured.items()
    }
    for block in blocks:
        losses, found = np.stack([block.reconstruction, block.kl]), batches[block.rows]
        for batch in dict.fromkeys(found):
            own = found == batch
            for kind, of_batch in sums.items():
                of_batch[batch].add(
                    block.observed[kind][own],
                    block.replicated[kind][own],
                    labels[block.rows[own]],
                    losses[:, own],
                    random,
                )
    return Criticism(sums, measured, n_samples)


def criticism_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as the table criticism.csv."""
    return pd.DataFrame(list(rows)).reindex(columns=list(COLUMNS)).round(6)
