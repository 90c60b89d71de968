"""Trains a model of cells with paired T-cell receptors on the reference.

in:  counts.h5ad of the split; the receptors of the datasets' cells
out: model.pt, its checksum and model.json, training.csv (one row per epoch), latent.parquet (of the reference cells
     with a pair alone), training.md (the record, to read)
"""

import time
from pathlib import Path

from refatlas.io.atomic import write_table, write_text
from refatlas.io.cell_tables import latent_table
from refatlas.io.model_counts import read_counts
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.models.checkpoints import open_checkpoints
from refatlas.models.interface import JobContext
from refatlas.models.model_files import save_model
from refatlas.models.training import fit_reference, training_report
from refatlas.receptors.encoding import with_pairs


def main(smk) -> None:
    name, settings, seed, out = smk.wildcards.receptor_model, smk.params.settings, smk.params.seed, smk.output
    receptors = by_name(smk.input, "receptors").values()
    counts = with_pairs(read_counts(smk.input.counts), receptors, settings["model"]["max_length"])
    checkpoints = open_checkpoints(out.model, settings, seed, smk.input, smk.resources.checkpoint_seconds)
    started = time.monotonic()
    model = fit_reference(counts, settings, JobContext(seed, smk.threads, checkpoints), smk.input.counts)
    seconds = time.monotonic() - started
    save_model(model, out.model, settings)
    write_table(model.training.history, out.training)
    write_table(latent_table(model.latent(counts), counts), out.latent)
    artifacts = [Path(path).name for path in (out.model, out.training, out.latent)]
    write_text(training_report(name, settings, seed, counts, model.training, seconds, artifacts), out.record)
    checkpoints.remove()


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
