"""Maps a query onto a reference model by surgery.

in:  the reference's model.pt and counts.h5ad; the query's counts.h5ad, which has no labels
out: model.pt (of the query) and its checksum, latent.parquet, training.csv, classifier.parquet (the
model's own labels; no rows if it has no classifier),
     fit.parquet (how well the model explains each cell; of the baseline also how far its
     neighbourhood diverges from the reference), mapping.json
"""

import time

import pandas as pd

from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import latent_table
from refatlas.io.model_counts import read_counts
from refatlas.models.checkpoints import checkpoints_of
from refatlas.models.interface import train_again_if_not_finite
from refatlas.models.mapping import classifier_table, mapping_facts
from refatlas.models.model_files import load_model, save_model
from refatlas.models.registry import MODEL_TYPES
from refatlas.prepare.gene_overlap import require_same_genes
from refatlas.transfer.model_fit import deviance_ratio, masking_shift
from refatlas.transfer.neighborhood_shift import shift_from_reference


def main(smk) -> None:
    spec = {**smk.params.spec, "seed": smk.params.seed, "threads": smk.threads}
    checkpoints, kind = checkpoints_of(smk, spec), spec["type"]
    # Of the reference, some 20,000 cells are read at most.
    reference_counts, counts = (
        read_counts(smk.input.reference, MODEL_TYPES[kind].from_disk),
        read_counts(smk.input.query),
    )
    require_same_genes(reference_counts, counts)
    reference = load_model(kind, smk.input.model, reference_counts)
    started = time.monotonic()
    mapped = train_again_if_not_finite(
        lambda spec: reference.map_query(counts.copy(), spec), {**spec, "checkpoints": checkpoints}
    )
    latent = mapped.latent(counts.copy())
    seconds = time.monotonic() - started
    save_model(mapped, smk.output.model)
    write_table(latent_table(latent, counts), smk.output.latent)
    write_table(mapped.training.history, smk.output.training)
    write_table(classifier_table(mapped, counts.copy()), smk.output.classifier)
    fit = pd.DataFrame(
        {"deviance_ratio": deviance_ratio(mapped, counts, smk.params.seed)},
        index=pd.Index(counts.obs_names, name="cell"),
    )
    if smk.params.divergence:
        fit["neighborhood_shift"] = shift_from_reference(
            reference, reference_counts, counts, latent, smk.params.seed, smk.threads
        )
    write_table(fit, smk.output.fit)
    facts = mapping_facts(reference, mapped, counts, seconds)
    facts["masking_shift"] = masking_shift(
        reference, reference_counts, counts.var["measured"].to_numpy(), smk.params.seed
    )
    write_json(facts, smk.output.mapping)
    checkpoints.remove()


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
