"""Trains one model on the reference, or takes one that was made elsewhere.

in:  counts.h5ad of the split; for a model with init_from, the model that it starts from; the pretrained model, if the config names one
out: model.pt and its checksum, training.csv (one row an epoch), latent.parquet (of every reference cell), training.md (the record, to read)
"""

import platform
import time
from importlib.metadata import version
from pathlib import Path

from refatlas.errors import InputError, listed
from refatlas.jobs import run_job, write_table, write_text
from refatlas.models import MODEL_TYPES
from refatlas.models.interface import train_again_if_not_finite
from refatlas.models.pretrained import read_saved
from refatlas.models.saved import load_model, save_model
from refatlas.store import latent_table, read_counts


def load_base(base_type: str | None, file: str | None, counts):
    """Return the model that training starts from, or None."""
    return load_model(base_type, file, counts.copy()) if file else None


def require_labels(name: str, kind: str, counts) -> None:
    """Raise an InputError if a type that needs labels finds fewer than two in the reference."""
    if not MODEL_TYPES[kind].needs_labels:
        return
    labels = counts.obs["label"].dropna().unique() if "label" in counts.obs else []
    if len(labels) < 2:
        raise InputError(f"config: models: {name}: type {kind} needs at least two labels in the reference, found {listed(labels)}; set label_key, or take a model without labels")


def require_proteins(name: str, kind: str, counts) -> None:
    """Raise an InputError if a type that needs proteins finds none in the reference."""
    if MODEL_TYPES[kind].needs_proteins and "proteins" not in counts.obsm:
        raise InputError(
            f"config: models: {name}: type {kind} needs proteins, and no cell of the reference has any; set protein_key for datasets that have them, or leave the model out"
        )


def record(name: str, spec: dict, counts, training, seconds: float, artifacts: list[str]) -> str:
    """Return the log of a training in Markdown."""
    loss = training.final_loss()
    batches = counts.obs["batch"].value_counts()
    settings = "\n".join(f"- {section}: " + ", ".join(f"{k} {v}" for k, v in values.items()) for section, values in spec.items() if isinstance(values, dict))
    facts = {
        "type": spec["type"],
        "cells": f"{counts.n_obs:,}",
        "genes": f"{counts.n_vars:,}",
        "batches": f"{len(batches)}: " + listed([f"{b} ({n:,})" for b, n in batches.items()], 20),
        "labels": str(counts.obs["label"].nunique()) if "label" in counts.obs else "none",
        "epochs": str(len(training.history)),
        "final loss": "none (closed form)" if loss is None else f"{loss:.3f} ({training.monitor})",
        "converged": "yes" if training.converged else "no: the loss was still falling when the epochs ended; raise max_epochs",
        "device": training.device,
        "seconds": f"{seconds:.1f}",
        "versions": ", ".join(f"{package} {version(package)}" for package in ("scvi-tools", "scarches", "torch", "anndata", "scikit-learn"))
        + f", Python {platform.python_version()}",
        "artifacts": ", ".join(artifacts),
    }
    # Names of batches are the users': no column and no element of HTML begins in them.
    rows = "\n".join(f"| {key} | {value.replace('|', chr(92) + '|').replace('<', '&lt;')} |" for key, value in facts.items())
    notes = "".join(f"\n- {note}" for note in training.notes)
    return f"# Training of {name}\n\n| | |\n|---|---|\n{rows}\n\n## Settings\n{settings}\n- seed: {spec['seed']}\n" + (f"\n## Notes{notes}\n" if notes else "")


def main(smk) -> None:
    counts = read_counts(smk.input.counts)
    spec = {**smk.params.spec, "seed": smk.params.seed, "threads": smk.threads}
    name, kind = smk.wildcards.model, smk.params.spec["type"]
    require_labels(name, kind, counts)
    require_proteins(name, kind, counts)
    started = time.monotonic()

    def fit(spec):
        if smk.input.get("pretrained"):
            saved = read_saved(smk.input.pretrained, spec["pretrained"]["sha256"])
            return MODEL_TYPES[kind].load_class().from_pretrained(saved, counts, smk.input.pretrained)
        base = load_base(MODEL_TYPES[kind].init_from, smk.input.get("base"), counts)
        return MODEL_TYPES[kind].load_class().fit(counts, spec, base)

    model = train_again_if_not_finite(fit, spec)
    seconds = time.monotonic() - started
    save_model(model, smk.output.model)
    write_table(model.training.history, smk.output.training)
    write_table(latent_table(model.latent(counts), counts), smk.output.latent)
    artifacts = [Path(path).name for path in (smk.output.model, smk.output.training, smk.output.latent)]
    shown = {key: spec[key] for key in ("type", "seed", "pretrained")} if smk.input.get("pretrained") else spec
    write_text(record(name, shown, counts, model.training, seconds, artifacts), smk.output.record)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
