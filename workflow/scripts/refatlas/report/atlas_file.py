"""The atlas file of one model: reference and queries together, for scanpy and cellxgene."""

from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from refatlas.io.atomic import atomic_path, read_csv
from refatlas.io.model_counts import read_counts
from refatlas.transfer.label_table import pick


def atlas_cells(
    reference: ad.AnnData,
    latent: str,
    umap: str,
    queries: dict[str, dict[str, str]],
    clusters: pd.Series | None = None,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return obs and obsm of an atlas: cells of the reference, then those of each query.

    obs has dataset, batch, origin, label, confidence, status, batch_verdict, knn_label and knn_confidence, and of
    the reference cluster; obsm has X_latent and X_umap, as float32.

    Args:
        reference: counts of the reference.
        latent: latent.parquet of the reference.
        umap: umap.parquet of the reference.
        queries: by query, the paths of its counts, latent, umap and cells, and if the reference
            has labels, of labels (labels.parquet of the model) and delivered (labels.csv).
    """
    parts = [reference_obs(reference.obs), *(query_obs(name, files) for name, files in queries.items())]
    if clusters is not None:
        parts[0]["cluster"] = clusters.loc[parts[0].index].astype(str)
    obs = pd.concat(parts)
    places = {
        "X_latent": [latent, *(files["latent"] for files in queries.values())],
        "X_umap": [umap, *(files["umap"] for files in queries.values())],
    }
    obsm = {
        key: pd.concat(map(pd.read_parquet, paths)).loc[obs.index].to_numpy(np.float32) for key, paths in places.items()
    }
    return obs, obsm


def reference_obs(obs: pd.DataFrame) -> pd.DataFrame:
    """Return the obs of the reference's cells: their own labels, which have no confidence."""
    columns = ["dataset", "batch", *(["label"] if "label" in obs else [])]
    own = obs[columns].astype(object)
    return own.assign(
        origin="reference",
        confidence=np.nan,
        status="reference",
        batch_verdict="reference",
        knn_label=np.nan,
        knn_confidence=np.nan,
    )


def query_obs(query: str, files: dict[str, str]) -> pd.DataFrame:
    """Return the obs of a query's cells.

    Label, confidence and status are those delivered; knn_label and knn_confidence are the model's
    own weighted kNN.
    """
    counted = _read_obs(files["counts"])
    obs = pd.DataFrame(
        {"dataset": query, "batch": counted["batch"].astype(str), "origin": "query"}, index=counted.index
    )
    if "delivered" not in files:
        return obs.assign(status="not labelled")
    cells = pd.read_parquet(files["cells"])
    # Both have one row per cell, in the order of the user's file.
    delivered = read_csv(files["delivered"]).set_axis(cells.index).loc[counted.index]
    knn = pick(pd.read_parquet(files["labels"]), "knn").loc[counted.index]
    return obs.assign(
        label=delivered["label"],
        confidence=delivered["confidence"],
        status=delivered["status"],
        batch_verdict=delivered["batch_verdict"],
        knn_label=knn["label"],
        knn_confidence=knn["confidence"],
    )


def _read_obs(path: str) -> pd.DataFrame:
    """Return the obs of an h5ad file, without reading its counts."""
    with h5py.File(path, "r") as file:
        obs: Any = ad.io.read_elem(file["obs"])
        return obs


def write_atlas(
    path: str, reference: ad.AnnData, queries: dict[str, str], obs: pd.DataFrame, obsm: dict[str, np.ndarray]
) -> None:
    """Write an atlas file.

    Counts of queries are appended one after the other, so that one is in memory at a time.

    Args:
        queries: counts.h5ad of each query, in the order of `obs`.
        obs: of `atlas_cells`. obsm: likewise.
    """
    obs = obs.copy()
    for column in obs.select_dtypes(object).columns:
        obs[column] = obs[column].astype("category")
    with atomic_path(path) as part:
        ad.AnnData(reference.X, obs=obs.iloc[: reference.n_obs], var=reference.var).write_h5ad(part, compression="lzf")
        with h5py.File(part, "a") as file:
            counts: Any = ad.io.sparse_dataset(file["X"])
            for query in queries.values():
                counts.append(read_counts(query).X)
            del file["obs"], file["obsm"]
            ad.io.write_elem(file, "obs", obs)
            ad.io.write_elem(file, "obsm", obsm)
