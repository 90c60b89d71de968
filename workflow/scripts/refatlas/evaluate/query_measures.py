"""Measures that compare a query, or the cells that a fold holds out, with the reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.evaluate.mixing import MIN_BATCH_CELLS, batch_mixing, mixing, novel_groups
from refatlas.io.atomic import read_json
from refatlas.io.model_counts import read_counts
from refatlas.io.row_reader import take_rows
from refatlas.models.interface import Model
from refatlas.models.model_files import load_model
from refatlas.models.registry import BASELINE
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer.evidence import ModelFiles
from refatlas.transfer.recorded_rows import rows_of

N_CELLS = 1000
MAX_GROUPED = 20_000


def measure(
    counts: str,
    reference: str,
    cells: pd.DataFrame,
    delivered: pd.DataFrame,
    models: ModelFiles,
    baseline: str,
    seed: int,
) -> dict[str, Any]:
    """Return the measures of a query, or of held-out cells, and print those of all cells.

    Args:
        counts: path of the query's counts.h5ad.
        reference: path of the reference's counts.h5ad, or of the sample of them.
        cells: the query's cells.parquet.
        delivered: its delivered.parquet.
        models: of each model, paths of the latent.parquet of the reference ("reference_latent") and
            of the query ("latent"), fit.parquet ("fit") and mapping.json ("mapping"); further kinds
            are ignored.
        baseline: path of the baseline's model.pt of the reference.
        seed: seed of all random draws.

    Returns:
        The content of measures.json: "query", measures of all cells by name; "batches", the same of
        each batch with at least MIN_BATCH_CELLS cells, as if it were a query; "absent_labels",
        labels of the reference that no cell has.
    """
    query = read_counts(counts)
    sample, labels = draw_reference(reference, seed)
    cells, delivered = cells.loc[query.obs_names], delivered.loc[query.obs_names]
    mapped = {model: _read_model(files, sample.obs_names, query.obs_names) for model, files in models.items()}
    measures = QueryMeasures(sample, query, cells, delivered, mapped, load_model(BASELINE, baseline), seed)
    found: dict[str, Any] = {
        "query": measures.of(np.ones(len(cells), dtype=bool)),
        "batches": {
            batch: measures.of((cells["batch"] == batch).to_numpy())
            for batch, n in cells["batch"].value_counts().items()
            if n >= MIN_BATCH_CELLS
        },
        "absent_labels": sorted(labels - set(delivered["label"])),
    }
    for name, value in found["query"].items():
        print(f"{name}: {value if value is None else round(value, 4)}")
    return found


def without_unseen(cells: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return held-out cells, of which those whose label the reference lacks are not kept.

    They are what a verdict must notice, and would otherwise pass for usual.

    Args:
        cells: cells.parquet of held-out cells.
        reference: path of the reference's counts.h5ad.
    """
    stored = ad.read_h5ad(reference, backed="r")
    known: pd.Series = stored.obs["label"]
    seen = cells["label"].isin(known.dropna().astype(str).unique()) | cells["label"].isna()
    stored.file.close()
    return cells.assign(keep=cells["keep"] & seen)


def draw_reference(path: str, seed: int) -> tuple[ad.AnnData, set[str]]:
    """Return some cells of the reference, and the labels of all.

    Only the counts of the drawn cells are read into memory.

    Args:
        path: of the reference's counts, or of the sample of them.
        seed: seed of the draw.
    """
    stored = read_counts(path, True)
    drawn = rows_of(stored, "measured", lambda: measured_rows(stored.n_obs, seed))
    labels: pd.Series = stored.obs["label"]
    x: Any = stored.X
    obs: Any = stored.obs.iloc[drawn]
    cells = ad.AnnData(take_rows(x, drawn).astype(np.float32), obs=obs, var=stored.var)
    return cells, set(labels.dropna().astype(str))


def measured_rows(n_cells: int, seed: int) -> np.ndarray:
    """Return the rows of the reference cells that queries are measured against, of so many."""
    return np.sort(np.random.default_rng(seed).permutation(n_cells)[: 2 * N_CELLS])


@dataclass
class MappedModel:
    """Results of one model on the drawn reference cells and on the query.

    Attributes:
        reference: latent space of the drawn reference cells, shape (n_reference, n_latent).
        query: latent space of the query, shape (n_cells, n_latent).
        deviance_ratio: of each query cell, shape (n_cells,).
        mapping: mapping.json.
    """

    reference: np.ndarray
    query: np.ndarray
    deviance_ratio: np.ndarray
    mapping: dict[str, Any]


def _read_model(files: Mapping[str, str], reference: pd.Index, query: pd.Index) -> MappedModel:
    return MappedModel(
        pd.read_parquet(files["reference_latent"]).loc[reference].to_numpy(),
        pd.read_parquet(files["latent"]).loc[query].to_numpy(),
        pd.read_parquet(files["fit"]).loc[query, "deviance_ratio"].to_numpy(),
        read_json(files["mapping"]),
    )


def log_ratio(query: np.ndarray, reference: np.ndarray) -> float:
    """Return log2 of the ratio of two medians; medians below 1 count as 1."""
    return float(np.log2(max(np.median(query), 1)) - np.log2(max(np.median(reference), 1)))


def profile_correlation(query: sparse.csr_matrix, reference: sparse.csr_matrix) -> float:
    """Return the correlation of log1p mean expression, each scaled to 10,000 counts; 0 if one is constant.

    Args:
        query, reference: counts of the genes that both measured.
    """
    means = [np.asarray(x.sum(axis=0)).ravel() for x in (query, reference)]
    logs = [np.log1p(1e4 * mean / max(mean.sum(), 1)) for mean in means]
    if min(log.std() for log in logs) == 0:
        return 0.0
    return float(np.corrcoef(*logs)[0, 1])


def doublet_scores(
    baseline: Model, query: sparse.csr_matrix, reference: ad.AnnData, seed: int, k: int = 30
) -> np.ndarray:
    """Return the share of simulated doublets among each query cell's nearest neighbours, shape (n_cells,).

    The neighbours are searched among reference cells and as many simulated doublets, in the
    baseline's latent space. A doublet is the sum of two reference cells with different labels,
    thinned to half of its counts, so that it is as deep as a cell. In Scrublet (Wolock 2019),
    doublets are simulated from the query itself; a query that consists of doublets would not stand
    out there.

    Args:
        baseline: model of the reference.
        query: counts of the query.
        reference: counts of reference cells, with labels.
        seed: seed of the simulation.
        k: number of neighbours.
    """
    random, labels = np.random.default_rng(seed), reference.obs["label"].astype(str).to_numpy()
    counts: Any = reference.X
    pairs = random.integers(0, reference.n_obs, (20 * N_CELLS, 2))
    pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]][: reference.n_obs]
    if len(pairs) == 0:
        return np.zeros(query.shape[0])
    doublets = (counts[pairs[:, 0]] + counts[pairs[:, 1]]).tocsr()
    doublets.data = random.binomial(doublets.data.astype(np.int64), 0.5).astype(np.float32)
    spaces = [baseline.latent(ad.AnnData(x)) for x in (counts, doublets, query)]
    neighbors, _ = nearest_neighbors(np.vstack(spaces[:2]), spaces[2], k)
    return (neighbors >= reference.n_obs).mean(axis=1)


@dataclass
class QueryMeasures:
    """Measures of any part of a query's cells.

    Attributes:
        reference: counts of some reference cells, with labels.
        counts: of the query.
        cells: its cells.parquet, in the order of the counts.
        delivered: its delivered.parquet, in the same order.
        models: results of each model.
        baseline: model of the reference.
        seed: seed of all random draws.
    """

    reference: ad.AnnData
    counts: ad.AnnData
    cells: pd.DataFrame
    delivered: pd.DataFrame
    models: Mapping[str, MappedModel]
    baseline: Model
    seed: int

    def __post_init__(self) -> None:
        x: Any = self.counts.X
        self.measured = self.counts.var["measured"].to_numpy()
        self.doublets = doublet_scores(self.baseline, x, self.reference, self.seed)

    def of(self, part: np.ndarray) -> dict[str, Any]:
        """Return the measures of the cells where `part` is true, without those of low quality."""
        good = part & self.cells["keep"].to_numpy()
        if not good.any():
            return {"n_cells": int(part.sum()), "low_quality": 1.0}
        return {
            "n_cells": int(part.sum()),
            "low_quality": float(1 - good.sum() / part.sum()),
            **self._of_counts(good),
            "confidence": float(self.delivered["confidence"][good].mean()),
            **self._of_novelty(good),
            **self._of_models(good),
        }

    def _drawn(self, good: np.ndarray, n_cells: int) -> np.ndarray:
        """Return the rows of at most `n_cells` of these cells, drawn at random, in order."""
        return np.sort(np.random.default_rng(self.seed).permutation(np.flatnonzero(good))[:n_cells])

    def _of_counts(self, good: np.ndarray) -> dict[str, float]:
        counts: Any = self.counts.X
        reference_counts: Any = self.reference.X
        query, reference = counts[good][:, self.measured], reference_counts[:, self.measured]
        return {
            "gene_overlap": float(self.measured.mean()),
            "masking_shift": max(model.mapping["masking_shift"] for model in self.models.values()),
            "late_fall": max(model.mapping["late_fall"] for model in self.models.values()),
            "depth": log_ratio(np.asarray(query.sum(axis=1)), np.asarray(reference.sum(axis=1))),
            "detected_genes": log_ratio(query.getnnz(axis=1), reference.getnnz(axis=1)),
            "profile": profile_correlation(query, reference),
            "doublets": float(np.mean(self.doublets[good])),
        }

    def _of_novelty(self, good: np.ndarray) -> dict[str, float | None]:
        """Return the share of novel cells, and of those among others; None without novelty scores."""
        if not self.delivered["novelty"][good].notna().all():
            return {"novel": None, "novel_group": None}
        novel, rows = self.delivered["novel"], self._drawn(good, MAX_GROUPED)
        return {
            "novel": float(novel[good].mean()),
            "novel_group": novel_groups(novel.to_numpy()[rows], self.models[BASELINE].query[rows]),
        }

    def _of_models(self, good: np.ndarray) -> dict[str, float | None]:
        rows = self._drawn(good, N_CELLS)
        found: dict[str, float | None] = {}
        reference_labels = self.reference.obs["label"].astype(str).to_numpy()
        labels = self.delivered["label"].to_numpy(dtype=str)[rows]
        batches = self.cells["batch"].to_numpy(dtype=str)[rows]
        for name, model in self.models.items():
            found[f"deviance_ratio:{name}"] = float(np.log2(np.median(model.deviance_ratio[good])))
            found[f"mixing:{name}"] = mixing(model.reference, reference_labels, model.query[rows], labels, self.seed)
            found[f"batch_mixing:{name}"] = batch_mixing(model.query[rows], batches)
        return found
