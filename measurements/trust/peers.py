"""Runs CellTypist, SingleR and Symphony on the pairs of the benchmark of trust (see PROTOCOL.md).

usage: PEERS/bin/python measurements/trust/peers.py DATA OUT [--half HALF] [--seed SEED] [--only TEXT]
    DATA   folder of the files that pairs.py names
    OUT    CSV to append to, one row for each pair and method
    HALF   development (default), final or all
    SEED   of the pairs (default 0)
    TEXT   run only the pairs whose name contains it

PEERS is a Python 3.12 environment with the packages of envs/peers.txt. CellTypist does not train with the version of
scikit-learn that the workflow has, so the peers have an environment of their own.

All methods get the genes that reference and query share, as log1p of counts per 10,000 over these genes. A method that
fails on a pair leaves its grades empty and its error in the last column. The seconds of celltypist_voting do not
include the training, which counts for celltypist. Each pair is printed when it is done, and the mean grades of each
method at the end.
"""

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata as ad
import celltypist
import numpy as np
import pandas as pd
import scanpy as sc
import singler
import symphonypy
from pairs import Pair, pairs, query, reference
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

GRADES = ["accuracy", "macro_f1", "auroc_unseen"]
# What the peers raise where they cannot do a pair: too few genes or cells, or a matrix that has no inverse.
ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass
class Task:
    """A pair's reference and query: shared genes, log1p of counts per 10,000 in X."""

    reference: ad.AnnData
    query: ad.AnnData

    @cached_property
    def celltypist_model(self) -> celltypist.Model:
        """Return CellTypist's model of the reference."""
        return celltypist.train(
            self.reference,
            labels="label",
            feature_selection=False,
            n_jobs=1,
            max_iter=200,
            check_expression=False,
            use_SGD=False,
        )


def make_task(cells: ad.AnnData, new: ad.AnnData) -> Task:
    """Return the task of a reference and a query with counts in X."""
    genes = cells.var_names[cells.var_names.isin(new.var_names)]
    normalized = []
    for counts in (cells, new):
        part = counts[:, genes].copy()
        # singler reads only sparse matrices with sorted indices.
        part.X.sort_indices()
        sc.pp.normalize_total(part, target_sum=1e4)
        sc.pp.log1p(part)
        normalized.append(part)
    return Task(*normalized)


def run_celltypist(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return CellTypist's labels and their probabilities."""
    found = celltypist.annotate(task.query.copy(), model=task.celltypist_model)
    return found.predicted_labels["predicted_labels"].to_numpy(dtype=object), found.probability_matrix.max(axis=1)


def run_celltypist_voting(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return CellTypist's labels after majority voting and their probabilities; 50 cells or fewer have no vote."""
    found = celltypist.annotate(task.query.copy(), model=task.celltypist_model, majority_voting=True)
    column = "majority_voting" if "majority_voting" in found.predicted_labels else "predicted_labels"
    labels = found.predicted_labels[column].to_numpy(dtype=object)
    columns = found.probability_matrix.columns.get_indexer(labels)
    return labels, found.probability_matrix.to_numpy()[np.arange(len(labels)), columns]


def run_singler(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return SingleR's labels and how far their score is above the median of all labels' scores.

    Markers are found by AUC, which is the Wilcoxon test that SingleR recommends for single-cell references. The
    difference from the median is what SingleR prunes labels by; it is taken before fine-tuning.
    """
    genes = list(task.reference.var_names)
    found = singler.annotate_single(
        task.query.X.T.tocsc(),
        task.reference.X.T.tocsc(),
        ref_labels=list(task.reference.obs["label"]),
        test_features=genes,
        ref_features=genes,
        train_args={"marker_method": "auc"},
    )
    labels, known = np.array(found["best"], dtype=object), list(found["scores"].column_names)
    scores = np.column_stack([found["scores"][label] for label in known])
    best = scores[np.arange(len(labels)), pd.Index(known).get_indexer(labels)]
    return labels, best - np.median(scores, axis=1)


def run_symphony(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return Symphony's labels, by 5 nearest neighbors, and minus its Mahalanobis distance of cells to clusters.

    Harmony runs on a reference of one batch too: without it, symphonypy 0.2.4 corrects queries by centroids that are
    not weighted by their number of cells, which moves the queries off the reference.
    """
    cells, new = task.reference.copy(), task.query.copy()
    sc.pp.highly_variable_genes(cells, batch_key="batch", n_top_genes=min(2000, cells.n_vars))
    cells = cells[:, cells.var["highly_variable"]].copy()
    sc.pp.scale(cells, max_value=10)
    sc.pp.pca(cells, n_comps=30, zero_center=False)
    symphonypy.pp.harmony_integrate(cells, key="batch")
    symphonypy.tl.map_embedding(new, cells, key="batch")
    symphonypy.tl.per_cell_confidence(new, cells)
    symphonypy.tl.transfer_labels_kNN(new, cells, "label", query_labels="found", n_neighbors=5)
    return new.obs["found"].to_numpy(dtype=object), -new.obs["symphony_per_cell_dist"].to_numpy()


METHODS: dict[str, Callable[[Task], tuple[np.ndarray, np.ndarray]]] = {
    "celltypist": run_celltypist,
    "celltypist_voting": run_celltypist_voting,
    "singler": run_singler,
    "symphony": run_symphony,
}


def grade(truth: np.ndarray, seen: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> dict[str, float]:
    """Return accuracy and macro-F1 of seen cells and AUROC of 1 - confidence for unseen ones; NaN where undefined.

    Args:
        truth: label of each cell whose label is known.
        seen: whether the reference has it.
        labels: what the method says.
        confidence: how sure it is, on any scale.
    """
    grades = dict.fromkeys(GRADES, np.nan)
    if seen.any():
        right, given = truth[seen].astype(str), labels[seen].astype(str)
        grades["accuracy"] = accuracy_score(right, given)
        grades["macro_f1"] = f1_score(right, given, labels=sorted(set(right)), average="macro", zero_division=0)
    if seen.any() and not seen.all() and np.isfinite(confidence).all():
        grades["auroc_unseen"] = roc_auc_score(~seen, -confidence)
    return grades


def run_method(task: Task, method: str) -> dict[str, Any]:
    """Return grades, seconds and error of one method."""
    known = task.query.obs["label"].notna().to_numpy()
    truth = task.query.obs["label"].to_numpy(dtype=object)[known]
    seen = np.isin(truth.astype(str), task.reference.obs["label"].unique().astype(str))
    grades, error, started = dict.fromkeys(GRADES, np.nan), "", time.monotonic()
    try:
        labels, confidence = METHODS[method](task)
        seconds = time.monotonic() - started
        grades = grade(truth, seen, labels[known], np.asarray(confidence)[known])
    except ERRORS as problem:
        seconds, error = time.monotonic() - started, f"{type(problem).__name__}: {problem}"
    return {"method": method, "n_seen": int(seen.sum()), **grades, "seconds": round(seconds, 2), "error": error}


def run_pair(data: str, pair: Pair, seed: int) -> pd.DataFrame:
    """Return the rows of one pair, one for each method."""
    task = make_task(reference(data, pair, seed), query(data, pair, seed))
    return pd.DataFrame([{**vars(pair), "seed": seed, **run_method(task, method)} for method in METHODS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--half", choices=["development", "final", "all"], default="development")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", message="'multi_class' was deprecated", category=FutureWarning)
    chosen = [pair for pair in pairs() if args.half in (pair.half, "all") and args.only in pair.name]
    if not chosen:
        parser.error(f"no pair of half {args.half} has {args.only!r} in its name; pairs.py lists them")
    done = []
    for pair in chosen:
        rows = run_pair(args.data, pair, args.seed)
        rows.to_csv(args.out, mode="a", header=not args.out.exists(), index=False)
        done.append(rows)
        accuracy = ", ".join(f"{row.method} {row.accuracy:.3f}" for row in rows.itertuples())
        print(f"{pair.name} ({args.seed}): accuracy {accuracy}, {rows['seconds'].sum():.1f} s", flush=True)
    print(pd.concat(done).groupby("method", sort=False)[[*GRADES, "seconds"]].mean().round(3).to_string())


if __name__ == "__main__":
    main()
