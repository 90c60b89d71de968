"""Writes the atlas: the reference and all queries in one h5ad, joined on disk.

in:  reference.h5ad; the h5ad and the counts.h5ad of each query
out: atlas.h5ad: X raw counts of the selected genes; obs has origin, dataset (or query), batch,
     labels at all levels, confidence, status, batch_verdict and cluster_{model}; obsm is that of the
     reference and of the queries
"""

from refatlas.jobs.inputs import by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.report.atlas_file import atlas_obs, write_atlas


def main(smk) -> None:
    queries = by_name_and_kind(smk.input, "file", "counts")
    obs = atlas_obs(smk.input.reference, queries, smk.params.levels, smk.params.clustered)
    write_atlas(smk.output.atlas, smk.input.reference, queries, obs)
    print(f"{len(obs)} cells, {len(queries)} queries")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
