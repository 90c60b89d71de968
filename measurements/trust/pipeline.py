"""One pair of the benchmark of trust, by the baseline's sources, in memory: evidence, labels, verdict.

The functions are those that the jobs call; only the reading and writing of files is left out.
"""

import contextlib
import io
import pickle
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse

from refatlas.evaluate.simulated_counts import simulated_counts
from refatlas.models.interface import JobContext
from refatlas.models.linear import Linear
from refatlas.prepare.folds import plan_fold
from refatlas.prepare.simulated_batches import simulate_batches
from refatlas.transfer.hidden_labels import hidden_label_measures
from refatlas.transfer.label_table import label_table, probabilities
from refatlas.transfer.model_fit import deviance_ratio, masking_shift
from refatlas.transfer.neighborhood_shift import shift_from_reference
from refatlas.transfer.query_match import MatchedQuery, drawn_reference, match_query
from refatlas.transfer.reference_index import ReferenceIndex, index_cells
from refatlas.transfer.weighted_knn import logistic_table, outlier_factors, weighted_knn_labels
from trust import pairs as graded

SETTINGS = {"model": {"n_latent": 30, "C": 0.1, "max_cells": 50_000}}
N_GENES = 2000
# Pairs of seed 0 are kept here between runs; delete it after a change of what they hold.
KEPT = Path(tempfile.gettempdir()) / "trust_runs"
K = 50
# Whether queries are compared with simulated counts (bundle.counts), not with those of cells.
SIMULATED = False


@dataclass
class Fitted:
    """A reference with the baseline fitted to it.

    Attributes:
        counts: cells × selected genes, with batch and label in obs.
        model: the baseline.
        index: of its latent space.
        latent: of the reference, shape (n_cells, n_latent).
    """

    counts: ad.AnnData
    model: Linear
    index: ReferenceIndex
    latent: np.ndarray


@dataclass
class Mapped:
    """A query, or held-out cells, mapped onto a fitted reference.

    Attributes:
        counts: with the reference's genes; var has `measured`.
        cells: as cells.parquet: batch, label (None where unknown), keep.
        labels: label table of all sources.
        measures: distance, deviance_ratio and neighborhood_shift of each cell.
        latent: shape (n_cells, n_latent).
        masking_shift: see `model_fit.masking_shift`.
        matched: results of the matched baseline.
        hidden: its measures of held-out cells with a hidden label; no rows for a query.
    """

    counts: ad.AnnData
    cells: pd.DataFrame
    labels: pd.DataFrame
    measures: pd.DataFrame
    latent: np.ndarray
    masking_shift: float
    matched: MatchedQuery
    hidden: pd.DataFrame


@dataclass
class Run:
    """A pair with everything that calibration, delivery and verdict read.

    Attributes:
        reference: fitted to all cells.
        folds: of each fold, the reference fitted without its held-out cells, and these cells mapped onto it.
        query: mapped onto the reference.
    """

    reference: Fitted
    folds: list[tuple[Fitted, Mapped]]
    query: Mapped


def selected_genes(counts: ad.AnnData) -> np.ndarray:
    """Return the genes that the workflow would select: seurat_v3 by batch, without tiny batches."""
    sizes = counts.obs["batch"].value_counts()
    large = counts.obs["batch"].isin(sizes.index[sizes >= 50]).to_numpy()
    part = counts[large].copy() if large.any() else counts.copy()
    if not large.any():
        part.obs["batch"] = "all"
    sc.pp.filter_genes(part, min_cells=1)
    if part.n_vars <= N_GENES:
        return part.var_names.to_numpy()
    sc.pp.highly_variable_genes(part, n_top_genes=N_GENES, flavor="seurat_v3", batch_key="batch")
    return part.var_names[part.var["highly_variable"]].to_numpy()


def fit(counts: ad.AnnData) -> Fitted:
    """Return the baseline fitted to a reference."""
    model = Linear.fit(counts, SETTINGS, JobContext())
    latent = model.latent(counts)
    compared = simulated_counts(counts, latent, 0) if SIMULATED else counts
    return Fitted(compared, model, index_cells(latent, counts.obs["label"], 0), latent)


def map_cells(fitted: Fitted, counts: ad.AnnData, hide: bool = False) -> Mapped:
    """Return evidence on the cells of a query, or on held-out cells, whose labels are hidden in turn."""
    latent, index = fitted.model.latent(counts), fitted.index
    classifier = fitted.model.predict(counts)
    tables = [
        weighted_knn_labels(index, latent, counts.obs_names, K, 1),
        logistic_table(index.logistic, latent, counts.obs_names),
        label_table(counts.obs_names, "classifier", list(classifier.columns), classifier.to_numpy()),
    ]
    measures = {
        "distance": outlier_factors(index.sample, latent),
        "deviance_ratio": deviance_ratio(fitted.model, counts, 0),
        "neighborhood_shift": shift_from_reference(fitted.model, fitted.counts, counts, latent, 0),
    }
    cells = counts.obs[["batch", "label"]].assign(keep=True)
    measured, batches = counts.var["measured"].to_numpy(), counts.obs["batch"].to_numpy(dtype=str)
    reference, names = drawn_reference(fitted.counts, 0)
    truth = counts.obs["label"].to_numpy(dtype=object)
    hidden = hidden_label_measures(reference, names, counts.X, truth, batches, measured, 0) if hide else pd.DataFrame()
    return Mapped(
        counts,
        cells,
        pd.concat(tables, ignore_index=True),
        pd.DataFrame(measures, index=counts.obs_names),
        latent,
        masking_shift(fitted.model, fitted.counts, measured, 0),
        match_query(reference, names, counts.X, batches, measured, 0),
        hidden,
    )


def aligned(counts: ad.AnnData, genes: np.ndarray) -> ad.AnnData:
    """Return counts of these genes; those that are missing are zero, and `measured` in var says which are not."""
    place = pd.Index(genes).get_indexer(counts.var_names)
    found = np.flatnonzero(place >= 0)
    move = sparse.csr_matrix(
        (np.ones(len(found), dtype=np.float32), (found, place[found])), (counts.n_vars, len(genes))
    )
    measured = np.isin(np.arange(len(genes)), place)
    var = pd.DataFrame({"measured": measured}, index=genes)
    return ad.AnnData((counts.X @ move).tocsr(), obs=counts.obs.copy(), var=var)


def fitted_folds(counts: ad.AnnData, n_folds: int, seed: int) -> list[tuple[Fitted, Mapped]]:
    """Return the folds that the workflow would make, as many as the reference has units for."""
    cells, found = counts.obs[["batch", "label"]], []
    n_batches = cells["batch"].nunique()
    n = min(n_folds, n_batches) if n_batches > 1 else n_folds
    for fold in range(n):
        plan = {"fold": fold, "n_folds": n}
        roles, summary = plan_fold(cells, plan, "batch", 0)
        train, held = counts[(roles == "train").to_numpy()].copy(), counts[(roles == "held_out").to_numpy()].copy()
        if summary["simulated"]:
            held.X, batches = simulate_batches(held.X, [seed, fold])
            held.obs["batch"] = [f"simulated {fold} {batch}" for batch in batches]
        held.obs_names = [f"fold {fold} {name}" for name in held.obs_names]
        held.var["measured"] = True
        fitted = fit(train)
        found.append((fitted, map_cells(fitted, held, hide=True)))
    return found


@lru_cache(maxsize=2)
def fitted_reference(data: str, pair: graded.Pair, seed: int, n_folds: int) -> tuple[Fitted, list]:
    """Return a pair's reference and its folds; kept, because neighbouring pairs share them."""
    counts = graded.reference(data, pair, seed)
    counts = counts[:, selected_genes(counts)].copy()
    # As `unit: auto` names it, each cell belongs to one dataset.
    counts.obs_names = [f"reference:{name}" for name in counts.obs_names]
    return fit(counts), fitted_folds(counts, n_folds, seed)


def run(data: str, pair: graded.Pair, seed: int, n_folds: int, folder: Path | None) -> Run:
    """Return a pair's evidence, kept in a folder if one is given."""
    path = folder / f"{hash_of(pair)}_{seed}_{n_folds}.pickle" if folder else None
    if path and path.exists():
        return pickle.loads(path.read_bytes())
    base = graded.Pair("", "", pair.reference, "", "", pair.hide, pair.noise)
    with contextlib.redirect_stdout(io.StringIO()):
        reference, folds = fitted_reference(data, base, seed, n_folds)
        query = map_cells(reference, aligned(graded.query(data, pair, seed), reference.counts.var_names.to_numpy()))
    found = Run(reference, folds, query)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(found))
    return found


def hash_of(pair: graded.Pair) -> int:
    """Return a number for a pair that is the same in every process."""
    import zlib

    return zlib.crc32(pair.name.encode())


def source_probabilities(mapped: Mapped, known: list[str]) -> dict[str, np.ndarray]:
    """Return the probabilities of each source, shape (n_cells, n_labels)."""
    names: Any = mapped.labels["source"].unique()
    return {
        f"linear:{name}": probabilities(mapped.labels, name, known).loc[mapped.cells.index].to_numpy() for name in names
    }
