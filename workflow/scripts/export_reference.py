"""Writes the reference's h5ad: all its cells with their labels, clusters and places in all models.

in:  the datasets' own files, their scan.json and cells.parquet; the counts of the reference;
     latent.parquet and umap.parquet of each model, clusters.parquet and cluster_stability.csv of
     those that are clustered
out: reference.h5ad: X raw counts of the selected genes; obs has dataset, batch, labels at all
     levels, cluster_{model}, and the datasets' own columns; obsm has X_{model} and X_umap_{model} of
     each model, and X_umap; uns has refatlas: version, datasets and notes
"""

from refatlas.annotate.ontology import read_term_table
from refatlas.io.fingerprints import read_fingerprints, require_unchanged
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.report.reference_file import reference_obs, write_reference_file


def main(smk) -> None:
    i, keep = smk.input, smk.params.keep_columns
    unchanged = read_fingerprints(by_name(i, "scan").values())
    clusters = by_name_and_kind(i, "clusters", "stability")
    terms = read_term_table(i.terms) if i.get("terms") else None
    obs, notes = reference_obs(i.counts, clusters, smk.params.rows, by_name(i, "cells"), keep, terms)
    print(*notes, sep="\n", end="\n" if notes else "")
    spaces = {"latents": by_name(i, "latent"), "umaps": by_name(i, "umap"), "shown": smk.params.shown}
    write_reference_file(smk.output.cells, obs, i.counts, spaces, notes)
    require_unchanged(unchanged)
    print(f"{len(obs)} cells, {obs.shape[1]} columns, {len(spaces['latents'])} models")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
