"""Clusters one model's latent space of the reference at several resolutions, and says how stable clusters are.

in:  latent.parquet
out: clusters.parquet (one column per resolution, clusters numbered from 0 by size), tables of stability
     by resolution and by cluster, how clusters split from one resolution to the next, and a figure
"""

import pandas as pd

from refatlas.annotate.cluster_stability import stability
from refatlas.annotate.clustering import cluster_cells, cluster_tree
from refatlas.io.atomic import write_table
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.cluster_figures import plot_clusters


def main(smk) -> None:
    latent, s, seed, out = pd.read_parquet(smk.input.latent), smk.params.settings, smk.params.seed, smk.output
    values, k = latent.to_numpy(), s["n_neighbors"]
    found = cluster_cells(values, s["resolutions"], k, seed, smk.threads)
    clusters = pd.DataFrame({f"{resolution:g}": codes for resolution, codes in found.items()}, index=latent.index)
    summary, by_cluster = stability(values, found, k, s["repeats"], seed, smk.threads)
    print(summary.to_string(index=False))
    tree = cluster_tree(clusters)
    write_table(clusters, out.clusters)
    write_table(summary, out.stability)
    write_table(by_cluster, out.by_cluster)
    write_table(tree, out.tree)
    save_figure(plot_clusters(smk.wildcards.model, by_cluster, tree, summary), out.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
