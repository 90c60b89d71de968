"""Trains a model of cells with paired T-cell receptors on the reference.

in:  counts.h5ad of the split; the receptors of the datasets' cells
out: model.pt, its checksum and model.json, training.csv (one row per epoch), latent.parquet (of the reference cells
     with a pair alone), training.md (the record, to read)
"""

import time

from refatlas.io.model_counts import read_counts
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.models.checkpoints import open_checkpoints
from refatlas.models.interface import JobContext
from refatlas.models.training import fit_reference, write_trained
from refatlas.receptors.encoding import with_pairs


def main(smk) -> None:
    name, settings, seed, out = smk.wildcards.receptor_model, smk.params.settings, smk.params.seed, smk.output
    receptors = by_name(smk.input, "receptors").values()
    counts = with_pairs(read_counts(smk.input.counts), receptors, settings["model"]["max_length"])
    revision, seconds = smk.params.revision, smk.resources.checkpoint_seconds
    checkpoints = open_checkpoints(out.model, settings, seed, smk.input, revision, seconds)
    started = time.monotonic()
    model = fit_reference(counts, settings, JobContext(seed, smk.threads, checkpoints), smk.input.counts)
    write_trained(model, counts, name, settings, seed, started, out)
    checkpoints.remove()


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
