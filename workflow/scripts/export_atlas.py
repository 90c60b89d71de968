"""Writes one model's atlas: reference and queries together, for scanpy and cellxgene.

in:  counts.h5ad of reference and queries; their cells, latent spaces and UMAPs; the queries' labels.csv and labels.parquet
out: {model}.h5ad: raw counts of the selected genes in X; obs has dataset, batch, origin, label (the author's in the reference, the model's in
     queries), confidence and status; obsm has X_latent and X_umap
"""

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from refatlas.jobs import read_csv, run_job, whole
from refatlas.labels import pick
from refatlas.store import read_counts


def reference_cells(counts: ad.AnnData) -> pd.DataFrame:
    """Return the obs of the reference's part."""
    obs = counts.obs[["dataset", "batch", *(["label"] if "label" in counts.obs else [])]].astype(object)
    return obs.assign(origin="reference", confidence=np.nan, status="reference")


def query_cells(query: str, counts: ad.AnnData, labels: pd.DataFrame, delivered: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the obs of one query's part, with this model's label and confidence, and the delivered status."""
    found = pick(labels, "knn").loc[counts.obs_names]
    status = delivered.set_axis(cells.index)["status"].loc[counts.obs_names]
    obs = pd.DataFrame({"dataset": query, "batch": counts.obs["batch"].astype(str), "origin": "query"}, index=counts.obs_names)
    return obs.assign(label=found["label"], confidence=found["confidence"], status=status)


def write_atlas(path: str, first: ad.AnnData, others: list[str], obs: pd.DataFrame, obsm: dict[str, np.ndarray]) -> None:
    """Write the atlas, adding one query's counts after the other so that no more than one part is in memory."""
    obs = obs.copy()
    for column in obs.select_dtypes(object).columns:
        obs[column] = obs[column].astype("category")
    with whole(path) as part:
        ad.AnnData(first.X, obs=obs.iloc[: first.n_obs], var=first.var).write_h5ad(part, compression="lzf")
        with h5py.File(part, "a") as file:
            stored = ad.io.sparse_dataset(file["X"])
            for other in others:
                stored.append(read_counts(other).X)
            del file["obs"], file["obsm"]
            ad.io.write_elem(file, "obs", obs)
            ad.io.write_elem(file, "obsm", obsm)


def main(smk) -> None:
    reference = read_counts(smk.input.reference)
    obs, latents, umaps = [reference_cells(reference)], [pd.read_parquet(smk.input.latent)], [pd.read_parquet(smk.input.umap)]
    for i, query in enumerate(smk.params.queries):
        labels, cells = pd.read_parquet(smk.input.query_labels[i]), pd.read_parquet(smk.input.query_cells[i])
        obs.append(query_cells(query, read_counts(smk.input.queries[i]), labels, read_csv(smk.input.delivered[i]), cells))
        latents.append(pd.read_parquet(smk.input.query_latents[i]))
        umaps.append(pd.read_parquet(smk.input.query_umaps[i]))
    everything = pd.concat(obs)
    obsm = {key: pd.concat(parts).loc[everything.index].to_numpy(np.float32) for key, parts in (("X_latent", latents), ("X_umap", umaps))}
    write_atlas(smk.output.atlas, reference, list(smk.input.queries), everything, obsm)
    print(f"{len(everything)} cells × {reference.n_vars} genes, {len(smk.params.queries)} queries")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
