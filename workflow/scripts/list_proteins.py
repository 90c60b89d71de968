"""Lists which proteins the batches of the reference measured, for queries, which read a sample of its cells alone.

in:  counts.h5ad of the reference
out: measured_proteins.parquet, one row for each batch and protein: batch, cells, protein, measured
"""

from refatlas.io.atomic import write_table
from refatlas.io.model_counts import read_counts
from refatlas.jobs.run import run_job
from refatlas.models.denoised_proteins import known_table


def main(smk) -> None:
    found = known_table(read_counts(smk.input.counts, from_disk=True))
    write_table(found, smk.output.proteins)
    print(f"{found['batch'].nunique()} batches, {found['protein'].nunique()} proteins")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
