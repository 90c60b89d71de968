"""Maps a query onto a reference model by architecture surgery.

in:  the reference's model.pt and counts.h5ad; the query's counts.h5ad, which has no labels
out: model.pt (of the query), its checksum and model.json, latent.parquet, training.csv,
     classifier.parquet (the model's own labels; no rows if it has no classifier), fit.parquet (how
     well the model explains each cell; of the baseline also how far the expression of its
     neighbourhood is shifted), mapping.json
"""

import time

from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import latent_table
from refatlas.io.model_counts import read_counts
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.models.cell_fit import fit_table, with_neighborhood_shift
from refatlas.models.checkpoints import open_checkpoints
from refatlas.models.embedding import attach_embedding
from refatlas.models.interface import JobContext
from refatlas.models.mapping import classifier_table, mapping_facts
from refatlas.models.model_files import load_model, save_model
from refatlas.models.registry import BASELINE, MODEL_TYPES
from refatlas.models.training import map_to_reference
from refatlas.prepare.gene_overlap import require_same_genes
from refatlas.transfer.model_fit import masking_shift


def main(smk) -> None:
    settings, seed, out = smk.params.settings, smk.params.seed, smk.output
    kind = settings["type"]
    revision, seconds = smk.params.revision, smk.resources.checkpoint_seconds
    checkpoints = open_checkpoints(out.model, settings, seed, smk.input, revision, seconds)
    # Of the reference, at most some 20,000 cells are read.
    reference_counts = read_counts(smk.input.reference, MODEL_TYPES[kind].from_disk)
    counts = read_counts(smk.input.query)
    if MODEL_TYPES[kind].made_elsewhere:
        attach_embedding(counts, by_name(smk.input, "embedding"))
    require_same_genes(reference_counts, counts)
    reference = load_model(kind, smk.input.model, reference_counts)
    started = time.monotonic()
    mapped = map_to_reference(reference, counts, settings, JobContext(seed, smk.threads, checkpoints))
    latent, seconds = mapped.latent(counts.copy()), time.monotonic() - started
    save_model(mapped, out.model, settings)
    write_table(latent_table(latent, counts), out.latent)
    write_table(mapped.training.history, out.training)
    write_table(classifier_table(mapped, counts.copy()), out.classifier)
    fit = fit_table(mapped, counts, seed)
    if smk.wildcards.model == BASELINE:
        fit = with_neighborhood_shift(fit, reference, reference_counts, counts, latent, seed, smk.threads)
    write_table(fit, out.fit)
    moved = _moved_by_missing_genes(kind, reference, reference_counts, counts, seed)
    write_json({**mapping_facts(reference, mapped, counts, seconds), "masking_shift": moved}, out.mapping)
    checkpoints.remove()


def _moved_by_missing_genes(kind, reference, reference_counts, counts, seed):
    """Return the masking shift; 0 where the latent space was made elsewhere, of genes that are not known here."""
    if MODEL_TYPES[kind].made_elsewhere:
        return 0.0
    return masking_shift(reference, reference_counts, counts.var["measured"].to_numpy(), seed)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
