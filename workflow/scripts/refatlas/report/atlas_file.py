"""One model's atlas: reference and queries together, for scanpy and cellxgene."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from refatlas.io.atomic import atomic_path
from refatlas.io.model_counts import read_counts
from refatlas.transfer.label_table import pick


def reference_cells(counts: ad.AnnData) -> pd.DataFrame:
    """Return the obs of the reference's part."""
    obs = counts.obs[["dataset", "batch", *(["label"] if "label" in counts.obs else [])]].astype(object)
    return obs.assign(origin="reference", confidence=np.nan, status="reference")


def query_cells(
    query: str, counts: ad.AnnData, labels: pd.DataFrame, delivered: pd.DataFrame, cells: pd.DataFrame
) -> pd.DataFrame:
    """Return the obs of one query's part, with this model's label and confidence, and the delivered
    status.
    """
    found = pick(labels, "knn").loc[counts.obs_names]
    status = delivered.set_axis(cells.index)["status"].loc[counts.obs_names]
    obs = pd.DataFrame(
        {"dataset": query, "batch": counts.obs["batch"].astype(str), "origin": "query"}, index=counts.obs_names
    )
    return obs.assign(label=found["label"], confidence=found["confidence"], status=status)


def write_atlas(
    path: str, first: ad.AnnData, others: list[str], obs: pd.DataFrame, obsm: dict[str, np.ndarray]
) -> None:
    """Write the atlas, adding one query's counts after the other so that no more than one part is
    in memory.
    """
    obs = obs.copy()
    for column in obs.select_dtypes(object).columns:
        obs[column] = obs[column].astype("category")
    with atomic_path(path) as part:
        ad.AnnData(first.X, obs=obs.iloc[: first.n_obs], var=first.var).write_h5ad(part, compression="lzf")
        with h5py.File(part, "a") as file:
            stored = ad.io.sparse_dataset(file["X"])
            for other in others:
                stored.append(read_counts(other).X)
            del file["obs"], file["obsm"]
            ad.io.write_elem(file, "obs", obs)
            ad.io.write_elem(file, "obsm", obsm)
