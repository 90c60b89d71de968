"""Gives labels to a query by the baseline fitted anew to the reference as the query measured it, and
measures how unlike the reference each cell is and how well the labels of each batch agree.

in:  counts.h5ad of the reference, with labels, and of the query; cells.parquet of the query, for the
     quality of its cells
out: labels.parquet: the sources "classifier", "knn" and "logistic"; measures.parquet: the novelty
     measures of each cell, the label that it is given, and whether it is kept; agreement.json:
     measures of the labels of all kept cells ("") and of each batch
"""

import pandas as pd

from refatlas.io.atomic import write_json, write_table
from refatlas.io.model_counts import read_counts
from refatlas.jobs.run import run_job
from refatlas.prepare.gene_overlap import require_same_genes
from refatlas.transfer.query_match import match_to_reference


def main(smk) -> None:
    i, out = smk.input, smk.output
    reference, query = read_counts(i.reference, True), read_counts(i.query)
    require_same_genes(reference, query)
    kept = pd.read_parquet(i.cells, columns=["keep"])["keep"]
    found = match_to_reference(reference, query, smk.params.seed, smk.threads, kept)
    write_table(found.label_table(query.obs_names), out.labels)
    write_table(found.measures_table(query.obs_names), out.measures)
    write_json({"depth_ratio": found.depth_ratio, "agreement": found.agreement}, out.agreement)
    print(f"{query.n_obs} cells; median depth is {found.depth_ratio:.2f} times the reference's")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
