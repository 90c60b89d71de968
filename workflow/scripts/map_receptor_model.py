"""Maps the cells of a query that have a pair onto a model of paired T-cell receptors, by surgery.

in:  the reference's model.pt; the query's counts.h5ad, which has no labels; the receptors of its cells
out: model.pt (of the query), its checksum and model.json, latent.parquet (of the cells with a pair alone),
     training.csv, mapping.json
"""

import time

from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import latent_table
from refatlas.io.model_counts import read_counts
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.models.checkpoints import open_checkpoints
from refatlas.models.interface import JobContext
from refatlas.models.mapping import mapping_facts
from refatlas.models.model_files import load_model, save_model
from refatlas.models.training import map_to_reference
from refatlas.receptors.encoding import with_pairs


def main(smk) -> None:
    settings, seed, out = smk.params.settings, smk.params.seed, smk.output
    revision, seconds = smk.params.revision, smk.resources.checkpoint_seconds
    checkpoints = open_checkpoints(out.model, settings, seed, smk.input, revision, seconds)
    counts = read_counts(smk.input.query)
    reference = load_model(settings["type"], smk.input.model, counts)
    counts = with_pairs(counts, by_name(smk.input, "receptors").values(), reference.extra["model"]["max_length"])
    started = time.monotonic()
    mapped = map_to_reference(reference, counts, settings, JobContext(seed, smk.threads, checkpoints))
    latent, seconds = mapped.latent(counts), time.monotonic() - started
    save_model(mapped, out.model, settings)
    write_table(latent_table(latent, counts), out.latent)
    write_table(mapped.training.history, out.training)
    write_json(mapping_facts(reference, mapped, counts, seconds), out.mapping)
    checkpoints.remove()


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
