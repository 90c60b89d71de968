"""Trains one model on the reference, or takes a pretrained one.

in:  counts.h5ad of the split; for a model with init_from, the model that it starts from; the
     pretrained model, if the config names one, in folds what it knows; of a tuned model, best.json
out: model.pt, its checksum and model.json, training.csv (one row per epoch), latent.parquet (of
     every reference cell), training.md (the record, to read)
"""

import time

from refatlas.io.model_counts import read_counts
from refatlas.io.row_reader import on_disk
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.models.checkpoints import open_checkpoints
from refatlas.models.embedding import attach_embedding
from refatlas.models.interface import JobContext
from refatlas.models.registry import MODEL_TYPES
from refatlas.models.saved_models import with_programs
from refatlas.models.search_space import tuned_settings
from refatlas.models.training import fit_reference, require_labels, require_proteins, write_trained
from refatlas.remote.fetched import data_files
from refatlas.resources import stays_on_disk


def main(smk) -> None:
    name, seed, files, out = smk.wildcards.model, smk.params.seed, smk.input, smk.output
    settings = tuned_settings(smk.params.settings, files.get("tuned"))
    kind, gpus = settings["type"], settings.get("gpus", 1)
    allowed = "never" if gpus > 1 else smk.params.from_disk
    counts = read_counts(files.counts, stays_on_disk(name, kind, files.counts, allowed, smk.resources.mem_mb // gpus))
    if MODEL_TYPES[kind].made_elsewhere:
        attach_embedding(counts, by_name(files, "embedding"))
    # Other cells are held out where counts are read from disk.
    identity = {**settings, "from_disk": on_disk(counts.X)}
    revision, seconds = smk.params.revision, smk.resources.checkpoint_seconds
    checkpoints = open_checkpoints(out.model, identity, seed, files, revision, seconds)
    require_labels(name, kind, counts)
    require_proteins(name, kind, counts)
    started, job = time.monotonic(), JobContext(seed, max(smk.threads // gpus, 1), checkpoints)
    start = with_programs(settings, files.get("known"))
    pretrained = data_files(files.get("pretrained", []))
    model = fit_reference(counts, start, job, files.counts, files.get("base"), pretrained)
    write_trained(model, counts, name, settings, seed, started, out)
    checkpoints.remove()


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
