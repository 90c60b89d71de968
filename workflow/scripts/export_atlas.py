"""Writes one model's atlas: reference and queries together, for scanpy and cellxgene.

in:  counts.h5ad of reference and queries; their cells, latent spaces and UMAPs; the queries' labels.csv and labels.parquet
out: {model}.h5ad: raw counts of the selected genes in X; obs has dataset, batch, origin, label (the
author's in the reference, the model's in
     queries), confidence and status; obsm has X_latent and X_umap
"""

import numpy as np
import pandas as pd

from refatlas.io.atomic import read_csv
from refatlas.io.model_counts import read_counts
from refatlas.report.atlas_file import query_cells, reference_cells, write_atlas


def main(smk) -> None:
    reference = read_counts(smk.input.reference)
    obs, latents, umaps = (
        [reference_cells(reference)],
        [pd.read_parquet(smk.input.latent)],
        [pd.read_parquet(smk.input.umap)],
    )
    for i, query in enumerate(smk.params.queries):
        labels, cells = pd.read_parquet(smk.input.query_labels[i]), pd.read_parquet(smk.input.query_cells[i])
        obs.append(
            query_cells(query, read_counts(smk.input.queries[i]), labels, read_csv(smk.input.delivered[i]), cells)
        )
        latents.append(pd.read_parquet(smk.input.query_latents[i]))
        umaps.append(pd.read_parquet(smk.input.query_umaps[i]))
    everything = pd.concat(obs)
    obsm = {
        key: pd.concat(parts).loc[everything.index].to_numpy(np.float32)
        for key, parts in (("X_latent", latents), ("X_umap", umaps))
    }
    write_atlas(smk.output.atlas, reference, list(smk.input.queries), everything, obsm)
    print(f"{len(everything)} cells × {reference.n_vars} genes, {len(smk.params.queries)} queries")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
