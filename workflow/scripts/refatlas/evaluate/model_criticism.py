"""Posterior predictive checks of one trained model on the cells of its reference, or of a mapped one on its query."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from refatlas.evaluate.criticism import Criticism, criticize, feature_table
from refatlas.io.model_counts import read_counts
from refatlas.io.row_reader import take_rows
from refatlas.models.model_files import load_model
from refatlas.transfer.label_table import draw_evenly, pick


@dataclass(frozen=True)
class CriticismJob:
    """What is checked, and on how many cells.

    Attributes:
        kind: type of the model.
        file: its model.pt.
        counts: path of the counts that it was trained on or mapped to.
        max_cells: most cells of a part that are checked, drawn equally from all batches.
        n_samples: replicates of each cell.
        seed: seed of all draws.
    """

    kind: str
    file: str
    counts: str
    max_cells: int
    n_samples: int
    seed: int


def check_reference(job: CriticismJob, pretrained: bool) -> Iterator[tuple[str, AnnData, Criticism]]:
    """Yield the checks of training cells, and of validation cells if the model records some.

    Args:
        job: what is checked.
        pretrained: the model was not trained on these cells, so that what it records is of others.

    Yields:
        name of the part ("training", "validation", or "reference" where nothing is recorded), its drawn cells, and
        their checks.
    """
    from refatlas.models.replicates import trained_rows

    counts = read_counts(job.counts, True)
    parts = {"reference": np.arange(counts.n_obs)}
    if not pretrained:
        parts = trained_rows(
            load_model(job.kind, job.file, cells_of(counts, np.arange(min(counts.n_obs, 2)))), len(counts)
        )
    obs: Any = counts.obs
    labels = obs["label"] if "label" in obs else pd.Series(None, index=obs.index, dtype=object)
    for name, rows in parts.items():
        yield name, *_check(job, counts, rows, labels.astype(object))


def check_mapped(job: CriticismJob, labels: str | None) -> tuple[AnnData, Criticism]:
    """Return the drawn cells of a query, or of held-out cells, and their checks.

    Args:
        job: what is checked.
        labels: path of the label table whose labels by kNN are compared; None without labels.
    """
    counts = read_counts(job.counts, True)
    given = pick(pd.read_parquet(labels), "knn")["label"] if labels else pd.Series(dtype=object)
    return _check(job, counts, np.arange(counts.n_obs), given.reindex(counts.obs_names))


def _check(job: CriticismJob, counts: AnnData, rows: np.ndarray, labels: pd.Series) -> tuple[AnnData, Criticism]:
    from refatlas.models.replicates import feature_masks, replicated_blocks

    obs: Any = counts.obs
    batches = obs["batch"].astype(str).to_numpy()[rows]
    drawn = rows[draw_evenly(pd.factorize(batches)[0], job.max_cells, 1, job.seed)]
    cells = cells_of(counts, drawn)
    model = load_model(job.kind, job.file, cells.copy())
    found = criticize(
        replicated_blocks(model, job.n_samples, job.seed),
        batches=obs["batch"].astype(str).to_numpy()[drawn],
        labels=pd.factorize(labels.iloc[drawn], sort=True)[0],
        measured=feature_masks(cells),
        n_samples=job.n_samples,
        seed=job.seed,
    )
    return cells, found


def cells_of(counts: AnnData, rows: np.ndarray) -> AnnData:
    """Return some cells of counts that stay in their file, in memory.

    They have no labels, as a query's: the loss of scANVI differs with labels, and is to be comparable.
    """
    obs, matrix = counts.obs, counts.X
    cells: Any = AnnData(
        take_rows(matrix, rows).astype(np.float32),
        obs=pd.DataFrame(obs[["batch"]].iloc[rows]),
        var=counts.var,
        obsm={name: np.asarray(values)[rows] for name, values in counts.obsm.items()},
        uns=dict(counts.uns),
    )
    return cells


def features_of(cells: AnnData, found: Criticism) -> pd.DataFrame:
    """Return the table of all features, with kind and symbol."""
    var: Any = cells.var
    names = {"rna": (cells.var_names, var["symbol"].to_numpy() if "symbol" in var else cells.var_names)}
    if "protein_names" in cells.uns:
        names["proteins"] = (cells.uns["protein_names"], cells.uns["protein_names"])
    tables = []
    for kind in found.sums:
        sums, measured = found.whole(kind)
        ids, symbols = names[kind]
        table = feature_table(sums, list(map(str, ids)))
        table.insert(0, "symbol", list(map(str, symbols)))
        table.insert(0, "features", kind)
        tables.append(table.assign(measured=measured))
    return pd.concat(tables)
