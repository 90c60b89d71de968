"""Maps a query onto a reference model by surgery.

in:  the reference's model.pt and counts.h5ad; the query's counts.h5ad, which has no labels
out: model.pt (of the query) and its checksum, latent.parquet, training.csv, classifier.parquet (the model's own labels; no rows if it has no classifier),
     fit.parquet (how well the model explains each cell; of the baseline also how far its neighbourhood diverges from the reference), mapping.json
"""

import time

import pandas as pd

from refatlas.divergence import divergence_from_reference
from refatlas.errors import InputError
from refatlas.jobs import run_job, write_json, write_table
from refatlas.labels import empty_table, label_table
from refatlas.models import MODEL_TYPES
from refatlas.models.checkpoints import checkpoints_of
from refatlas.models.interface import train_again_if_not_finite
from refatlas.models.saved import load_model, save_model
from refatlas.predictive import masking_shift, misfit
from refatlas.store import latent_table, read_counts


def require_same_genes(reference, query) -> None:
    """Raise an InputError unless a query has the reference's genes in their order: models take genes by position."""
    if not query.var_names.equals(reference.var_names):
        raise InputError("the query's genes are not the reference's in their order; run build_query again")


def classifier_table(model, counts) -> pd.DataFrame:
    """Return the labels of the model's own classifier, in the table that all sources write."""
    probabilities = model.predict(counts)
    if probabilities is None:
        return empty_table()
    return label_table(counts.obs_names, "classifier", [str(c) for c in probabilities.columns], probabilities.to_numpy())


def late_fall(training, n_epochs: int = 10) -> float:
    """Return the share by which surgery's loss fell in its last epochs; 0 where nothing was trained."""
    if training.monitor is None or training.history.empty:
        return 0.0
    losses = training.history[training.monitor].to_numpy()
    before = losses[-min(n_epochs + 1, len(losses))]
    return float((before - losses[-1]) / abs(before))


def mapping_facts(reference, mapped, counts, seconds: float) -> dict:
    """Return plain facts of one mapping."""
    training = mapped.training
    return {
        "n_cells": counts.n_obs,
        "query_batches": sorted(counts.obs["batch"].astype(str).unique()),
        "reference_batches": reference.batches(),
        "epochs": len(training.history),
        "final_loss": training.final_loss(),
        "converged": training.converged,
        "late_fall": late_fall(training),
        "mean_shift": training.mean_shift,
        "device": training.device,
        "seconds": round(seconds, 2),
        "notes": training.notes,
    }


def main(smk) -> None:
    spec = {**smk.params.spec, "seed": smk.params.seed, "threads": smk.threads}
    checkpoints, kind = checkpoints_of(smk, spec), spec["type"]
    # Of the reference, some 20,000 cells are read at most.
    reference_counts, counts = read_counts(smk.input.reference, MODEL_TYPES[kind].from_disk), read_counts(smk.input.query)
    require_same_genes(reference_counts, counts)
    reference = load_model(kind, smk.input.model, reference_counts)
    started = time.monotonic()
    mapped = train_again_if_not_finite(lambda spec: reference.map_query(counts.copy(), spec), {**spec, "checkpoints": checkpoints})
    latent = mapped.latent(counts.copy())
    seconds = time.monotonic() - started
    save_model(mapped, smk.output.model)
    write_table(latent_table(latent, counts), smk.output.latent)
    write_table(mapped.training.history, smk.output.training)
    write_table(classifier_table(mapped, counts.copy()), smk.output.classifier)
    fit = pd.DataFrame({"misfit": misfit(mapped, counts, smk.params.seed)}, index=pd.Index(counts.obs_names, name="cell"))
    if smk.params.divergence:
        fit["divergence"] = divergence_from_reference(reference, reference_counts, counts, latent, smk.params.seed, smk.threads)
    write_table(fit, smk.output.fit)
    facts = mapping_facts(reference, mapped, counts, seconds)
    facts["masking_shift"] = masking_shift(reference, reference_counts, counts.var["measured"].to_numpy(), smk.params.seed)
    write_json(facts, smk.output.mapping)
    checkpoints.remove()


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
