"""What a reference model is trained from, what its training needs, and the record of it."""

import platform
from importlib.metadata import version

from refatlas.errors import InputError, listed
from refatlas.io.model_counts import sharing
from refatlas.io.row_reader import on_disk
from refatlas.models.model_files import load_model
from refatlas.models.registry import MODEL_TYPES


def load_base(base_type: str | None, file: str | None, counts):
    """Return the model that training starts from, or None."""
    return load_model(base_type, file, sharing(counts)) if file else None


def require_labels(name: str, kind: str, counts) -> None:
    """Raise an InputError if a type that needs labels finds fewer than two in the reference."""
    if not MODEL_TYPES[kind].needs_labels:
        return
    labels = counts.obs["label"].dropna().unique() if "label" in counts.obs else []
    if len(labels) < 2:
        raise InputError(
            f"config: models: {name}: type {kind} needs at least two labels in the reference, found {listed(labels)};"
            " set label_key, or take a model without labels"
        )


def require_proteins(name: str, kind: str, counts) -> None:
    """Raise an InputError if a type that needs proteins finds none in the reference."""
    if MODEL_TYPES[kind].needs_proteins and "proteins" not in counts.obsm:
        raise InputError(
            f"config: models: {name}: type {kind} needs proteins, and no cell of the reference has any; set protein_key"
            " for datasets that have them, or leave the model out"
        )


def record(name: str, spec: dict, counts, training, seconds: float, artifacts: list[str]) -> str:
    """Return the log of a training in Markdown."""
    loss = training.final_loss()
    batches = counts.obs["batch"].value_counts()
    settings = "\n".join(
        f"- {section}: " + ", ".join(f"{k} {v}" for k, v in values.items())
        for section, values in spec.items()
        if isinstance(values, dict)
    )
    facts = {
        "type": spec["type"],
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
        "seconds": f"{seconds:.1f}",
        "versions": (
            ", ".join(
                f"{package} {version(package)}"
                for package in ("scvi-tools", "scarches", "torch", "anndata", "scikit-learn")
            )
            + f", Python {platform.python_version()}"
        ),
        "artifacts": ", ".join(artifacts),
    }
    # Names of batches are the users': no column and no element of HTML begins in them.
    rows = "\n".join(
        f"| {key} | {value.replace('|', chr(92) + '|').replace('<', '&lt;')} |" for key, value in facts.items()
    )
    notes = "".join(f"\n- {note}" for note in training.notes)
    return f"# Training of {name}\n\n| | |\n|---|---|\n{rows}\n\n## Settings\n{settings}\n- seed: {spec['seed']}\n" + (
        f"\n## Notes{notes}\n" if notes else ""
    )
