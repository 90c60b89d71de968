"""Training a reference model and mapping a query, as the workflow's jobs do it, and its record."""

import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refatlas.errors import InputError, listed
from refatlas.io.atomic import write_table, write_text
from refatlas.io.cell_tables import latent_table
from refatlas.io.model_counts import shallow_copy
from refatlas.io.row_reader import on_disk
from refatlas.models.interface import JobContext, Model, Settings, Training, train_again_if_not_finite
from refatlas.models.model_files import load_model, save_model
from refatlas.models.multi_gpu import fit_on_multiple_gpus
from refatlas.models.registry import MODEL_TYPES
from refatlas.models.saved_models import read_pretrained
from refatlas.models.typed_counts import cell_column

if TYPE_CHECKING:
    from anndata import AnnData

PACKAGES = ("scvi-tools", "scarches", "torch", "anndata", "scikit-learn")


def require_labels(name: str, kind: str, counts: "AnnData") -> None:
    """Raise an InputError if a type that needs labels finds fewer than two in the reference."""
    if not MODEL_TYPES[kind].needs_labels:
        return
    labels = cell_column(counts, "label").dropna().unique() if "label" in counts.obs else []
    if len(labels) < 2:
        raise InputError(
            f"config: models: {name}: type {kind} needs at least two labels in the reference, found {listed(labels)};"
            " set label_key, or use a model that needs no labels"
        )


def require_proteins(name: str, kind: str, counts: "AnnData") -> None:
    """Raise an InputError if a type that needs proteins finds none in the reference."""
    if MODEL_TYPES[kind].needs_proteins and "proteins" not in counts.obsm:
        raise InputError(
            f"config: models: {name}: type {kind} needs proteins, and no cell of the reference has any; set protein_key"
            " for datasets that have them, or leave the model out"
        )


def fit_reference(
    counts: "AnnData",
    settings: Settings,
    job: JobContext,
    counts_file: str,
    base_file: str | None = None,
    pretrained_files: list[str] | None = None,
    again: bool = True,
) -> Model:
    """Return a reference model, trained or pretrained.

    If the loss is not finite, training starts once more with lower learning rates.

    Args:
        counts: of the reference.
        settings: of the model.
        job: seed, threads and checkpoints.
        counts_file: that the counts were read from, for training on several GPUs.
        base_file: the model that init_from names, or None.
        pretrained_files: of the saved model that is used instead of training, or None.
        again: whether to start once more; without it, a loss that is not finite is a FloatingPointError.

    Raises:
        InputError: a file or setting is not valid, or the loss is never finite.
    """
    kind = settings["type"]
    model_class = MODEL_TYPES[kind].load_class()

    def fit(settings: Settings) -> Model:
        if pretrained_files:
            where, saved = read_pretrained(kind, pretrained_files, settings["pretrained"]["sha256"])
            return model_class.from_pretrained(saved, counts, where)
        if settings.get("gpus", 1) > 1:
            return fit_on_multiple_gpus(kind, counts_file, counts, settings, job)
        base_type = MODEL_TYPES[kind].init_from
        base = load_model(base_type, base_file, shallow_copy(counts)) if base_type and base_file else None
        return model_class.fit(counts, settings, job, base)

    model = train_again_if_not_finite(fit, settings, job.checkpoints, again)
    model.training.notes += job.checkpoints.notes
    return model


def map_to_reference(
    reference: Model, counts: "AnnData", settings: Settings, job: JobContext, again: bool = True
) -> Model:
    """Return a model that a query was mapped to; the counts do not change.

    If the loss is not finite, surgery starts once more with lower learning rates, unless `again` is false.

    Raises:
        InputError: the loss is never finite.
    """
    return train_again_if_not_finite(
        lambda settings: reference.map_query(counts.copy(), settings, job), settings, job.checkpoints, again
    )


def write_trained(
    model: Model, counts: "AnnData", name: str, settings: Settings, seed: int, started: float, out: Any
) -> None:
    """Write a trained model, its losses by epoch, the latent space of its cells, and the record.

    Args:
        counts: of its cells. settings: of the model. started: time.monotonic() when training started.
        out: the job's outputs: model, training, latent, record.
    """
    seconds = time.monotonic() - started
    save_model(model, out.model, settings)
    write_table(model.training.history, out.training)
    write_table(latent_table(model.latent(counts), counts), out.latent)
    artifacts = [Path(path).name for path in (out.model, out.training, out.latent)]
    write_text(training_report(name, settings, seed, counts, model.training, seconds, artifacts), out.record)


def training_report(
    name: str,
    settings: Settings,
    seed: int,
    counts: "AnnData",
    training: Training,
    seconds: float,
    artifacts: list[str],
) -> str:
    """Return the record of a training as Markdown.

    Args:
        name: of the model.
        settings: of the model. If it is pretrained, those of training do not apply.
        seed: of the training.
        counts: of the reference.
        training: of the model.
        seconds: that it took.
        artifacts: names of the files that the job wrote.
    """
    applied = {name: settings[name] for name in ("type", "pretrained")} if settings.get("pretrained") else settings
    facts = _facts(settings["type"], counts, training) | {
        "seconds": f"{seconds:.1f}",
        "versions": ", ".join(
            [*(f"{package} {version(package)}" for package in PACKAGES), f"Python {platform.python_version()}"]
        ),
        "artifacts": ", ".join(artifacts),
    }
    # Names of batches are the user's: they must not start a column or an element of HTML.
    rows = "\n".join(
        f"| {key} | {value.replace('|', chr(92) + '|').replace('<', '&lt;')} |" for key, value in facts.items()
    )
    sections = "\n".join(
        f"- {section}: " + ", ".join(f"{k} {v}" for k, v in values.items())
        for section, values in applied.items()
        if isinstance(values, dict)
    )
    notes = "".join(f"\n- {note}" for note in training.notes)
    return f"# Training of {name}\n\n| | |\n|---|---|\n{rows}\n\n## Settings\n{sections}\n- seed: {seed}\n" + (
        f"\n## Notes{notes}\n" if notes else ""
    )


def _facts(kind: str, counts: "AnnData", training: Training) -> dict[str, str]:
    loss = training.final_loss()
    batches = counts.obs["batch"].value_counts()
    return {
        "type": kind,
        "cells": f"{counts.n_obs:,}",
        "genes": f"{counts.n_vars:,}",
        "batches": f"{len(batches)}: " + listed([f"{b} ({n:,})" for b, n in batches.items()], 20),
        "labels": str(counts.obs["label"].nunique()) if "label" in counts.obs else "none",
        "epochs": str(len(training.history)),
        "final loss": "none (closed form)" if loss is None else f"{loss:.3f} ({training.monitor})",
        "converged": (
            "yes" if training.converged else "no: the loss was still falling when the epochs ended; raise max_epochs"
        ),
        "device": training.device,
        "counts": "read from disk" if on_disk(counts.X) else "in memory",
    }
