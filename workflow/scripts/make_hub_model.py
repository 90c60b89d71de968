"""Writes a reference model in the format of scvi-hub.

in:  model.pt of a type of scvi-tools, and the counts of the reference
out: hub/: model.pt, adata.h5ad (the latent posterior of the cells, no counts),
     _scvi_required_metadata.json, README.md
"""

from pathlib import Path

from refatlas.io.model_counts import read_counts
from refatlas.jobs.run import run_job
from refatlas.models.model_files import load_model


def main(smk) -> None:
    # It imports scvi-tools, which takes 10 to 30 s.
    from refatlas.publish.hub_model import write_hub_model

    counts = read_counts(smk.input.counts)
    model = load_model(smk.params.type, smk.input.model, counts)
    write_hub_model(model, smk.params.name, Path(smk.output.folder))
    print(f"model {smk.params.name}, {counts.n_obs} cells without counts")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
