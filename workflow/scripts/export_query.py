"""Writes a query's own h5ad: the cells of the user's file in its order, with labels and places.

in:  the query's own files, its check.json, cells.parquet and counts.h5ad; latent.parquet and
     umap.parquet of each model; labels.csv and verdict.json, if the reference has labels
out: {name}.h5ad: X raw counts, of the selected genes or of all; obs has the user's columns and
     those of labels.csv; obsm has X_{model} and X_umap_{model} of each model, and X_umap; uns has
     refatlas: version, query, verdict and notes
"""

import pandas as pd

from refatlas.io.fingerprints import read_fingerprints, require_unchanged
from refatlas.io.raw_counts import open_row
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.report.query_file import query_facts, query_obs, write_query_file


def main(smk) -> None:
    i, unchanged = smk.input, read_fingerprints([smk.input.check])
    file, names = open_row(smk.params.row), pd.read_parquet(i.cells, columns=["batch"]).index
    obs, notes = query_obs(file.cells, i.get("labels"))
    spaces = {"latents": by_name(i, "latent"), "umaps": by_name(i, "umap"), "shown": smk.params.shown}
    facts = query_facts(smk.wildcards.name, i.get("verdict"), notes)
    every = file if smk.params.genes == "all" else None
    n_genes = write_query_file(smk.output.cells, obs, names, i.counts, every, spaces, facts)
    require_unchanged(unchanged)
    print(*notes, f"{len(obs)} cells × {n_genes} genes, {obs.shape[1]} columns", sep="\n")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
