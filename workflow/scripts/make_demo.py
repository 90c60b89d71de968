"""Writes the demo's data from a seed: three reference datasets and two queries, in the formats that
people have.

out: atlas_blood.h5ad (counts in a layer, log values in X, Ensembl ids with versions),
     atlas_marrow.h5 (10x h5, Ensembl ids with versions) and atlas_spleen/ (10x mtx, symbols), each
     with a table of cell columns; query_inflamed.h5ad (symbols; one type that the reference does
     not contain), query_panel.h5ad (Ensembl ids; a fifth of the genes missing)
"""

from refatlas.jobs.run import run_job
from refatlas.prepare.demo import write_demo


def main(smk) -> None:
    write_demo(dict(smk.output.items()), smk.params.seed)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
