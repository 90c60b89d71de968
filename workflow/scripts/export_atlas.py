"""Writes one model's atlas: reference and queries together, for scanpy and cellxgene.

in:  counts.h5ad of reference and queries; their latent spaces and UMAPs; cells, labels.parquet and
     labels.csv of the queries
     clusters.parquet and cluster_stability.csv of the model, if there are clusters
out: {model}.h5ad: raw counts of the selected genes in X; obs has dataset, batch, origin, label,
     confidence, status and batch_verdict (in the reference its own label, in queries the delivered ones),
     cluster (of the reference, at the suggested resolution),
     knn_label and knn_confidence (the model's own); obsm has X_latent and X_umap
"""

from refatlas.io.cell_tables import suggested_clusters
from refatlas.io.model_counts import read_counts
from refatlas.jobs.inputs import by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.report.atlas_file import atlas_cells, write_atlas


def main(smk) -> None:
    reference = read_counts(smk.input.reference)
    queries = by_name_and_kind(smk.input, "counts", "latent", "umap", "labels", "cells", "delivered")
    clusters = suggested_clusters(smk.input.clusters, smk.input.stability) if smk.input.get("clusters") else None
    obs, obsm = atlas_cells(reference, smk.input.latent, smk.input.umap, queries, clusters)
    counts = {name: files["counts"] for name, files in queries.items()}
    write_atlas(smk.output.atlas, reference, counts, obs, obsm)
    print(f"{len(obs)} cells × {reference.n_vars} genes, {len(queries)} queries")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
