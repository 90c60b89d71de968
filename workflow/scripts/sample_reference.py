"""Writes the sample of the reference: the cells whose counts the jobs of a query read, so that none reads all.

in:  counts.h5ad or labelled_counts.h5ad of the reference; with bundle.counts: simulated, the baseline's latent.parquet
out: sample.h5ad or labelled_sample.h5ad: the same for these cells, or counts simulated from them; uns has the
     rows of each draw
"""

from refatlas.evaluate.reference_sample import write_sample
from refatlas.jobs.run import run_job


def main(smk) -> None:
    n_cells = write_sample(smk.input.counts, smk.output.sample, smk.params.seed, smk.input.get("latent"))
    print(f"{n_cells} cells")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
