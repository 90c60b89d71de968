"""The record of one mapping: the model's own labels, and plain facts."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from refatlas.models.interface import Model, Training
from refatlas.transfer.label_table import empty_table, label_table

if TYPE_CHECKING:
    from anndata import AnnData


def classifier_table(model: Model, counts: "AnnData") -> pd.DataFrame:
    """Return the labels of the model's own classifier as a label table; no rows without one."""
    probabilities = model.predict(counts)
    if probabilities is None:
        return empty_table()
    return label_table(
        counts.obs_names, "classifier", [str(c) for c in probabilities.columns], probabilities.to_numpy()
    )


def late_fall(training: Training, n_epochs: int = 10) -> float:
    """Return by which share surgery's loss fell in its last epochs; 0 without training."""
    if training.monitor is None or training.history.empty:
        return 0.0
    losses = training.history[training.monitor].to_numpy()
    before = losses[-min(n_epochs + 1, len(losses))]
    return float((before - losses[-1]) / abs(before))


def mapping_facts(reference: Model, mapped: Model, counts: "AnnData", seconds: float) -> dict[str, Any]:
    """Return plain facts of one mapping, for mapping.json."""
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
