"""Counts replicated by a trained model of scvi-tools: draws of its posterior predictive distribution.

A replicate of a cell is drawn as the model says that cells arise: a place in the latent space from the
cell's posterior, and counts from the likelihood at that place, with the cell's own depth and batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scvi
import torch
from anndata import AnnData

from refatlas.models.denoised_proteins import measured_proteins
from refatlas.models.typed_counts import count_matrix, protein_counts

# Cells at a time: what is dense is 512 cells × genes × samples.
BLOCK = 512


@dataclass(frozen=True)
class Replicates:
    """A block of cells with its replicates.

    Attributes:
        rows: of the cells in the counts, shape (n_cells,).
        observed: counts by kind of feature ("rna", "proteins"), each of shape (n_cells, n_features).
        replicated: likewise, each of shape (n_cells, n_features, n_samples).
        reconstruction: negative log-likelihood of each cell's counts at one draw of the latent space, in nats.
        kl: Kullback-Leibler divergence of each cell's posterior from the prior, in nats.
    """

    rows: np.ndarray
    observed: dict[str, np.ndarray]
    replicated: dict[str, np.ndarray]
    reconstruction: np.ndarray
    kl: np.ndarray


def replicated_blocks(model: Any, n_samples: int, seed: int) -> Iterator[Replicates]:
    """Yield all cells that a model was loaded with, block by block, with replicates of their counts.

    Args:
        model: a `ScviToolsModel`.
        n_samples: replicates of each cell, at least 2.
        seed: seed of the draws.
    """
    own, counts = model.model, model.model.adata
    own.to_device("cpu")
    own.module.eval()
    scvi.settings.seed = seed
    for start in range(0, counts.n_obs, BLOCK):
        rows = np.arange(start, min(start + BLOCK, counts.n_obs))
        yield Replicates(rows, _observed(counts, rows), _replicated(own, rows, n_samples), *_losses(own, rows))


def feature_masks(counts: AnnData) -> dict[str, dict[str, np.ndarray]]:
    """Return which features were measured in a batch, by kind of feature and batch: of proteins, not all are.

    Args:
        counts: var may have the column measured.
    """
    batches = sorted(counts.obs["batch"].astype(str).unique())
    var: Any = counts.var
    genes = var["measured"].to_numpy(dtype=bool) if "measured" in var else np.ones(counts.n_vars, dtype=bool)
    found = {"rna": dict.fromkeys(batches, genes)}
    if "proteins" in counts.obsm:
        measured = measured_proteins(counts)
        found["proteins"] = {batch: measured.loc[batch].to_numpy(dtype=bool) for batch in batches}
    return found


def _observed(counts: AnnData, rows: np.ndarray) -> dict[str, np.ndarray]:
    found = {"rna": np.asarray(count_matrix(counts)[rows].todense(), dtype=np.float32)}
    if "proteins" in counts.obsm:
        found["proteins"] = np.asarray(protein_counts(counts)[rows], dtype=np.float32)
    return found


def _replicated(own: Any, rows: np.ndarray, n_samples: int) -> dict[str, np.ndarray]:
    drawn = own.posterior_predictive_sample(indices=rows, n_samples=n_samples, batch_size=BLOCK)
    if isinstance(drawn, dict):
        return {"rna": np.asarray(drawn["rna"]), "proteins": np.asarray(drawn["protein"])}
    return {"rna": drawn.todense()}


def _losses(own: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both parts of the negative ELBO of each cell, in nats, as scvi-tools computes them for its loss."""
    (tensors,) = own._make_data_loader(adata=own.adata, indices=rows, batch_size=BLOCK)
    with torch.inference_mode():
        _, _, losses = own.module(tensors)
    parts = (losses.reconstruction_loss, losses.kl_local)
    reconstruction, kl = (sum(value.cpu().numpy() for value in part.values()) for part in parts)
    return np.broadcast_to(reconstruction, len(rows)), np.broadcast_to(kl, len(rows))


def trained_rows(model: Any, n_cells: int) -> dict[str, np.ndarray]:
    """Return the rows of a reference that a model was trained on, and those that monitored its training.

    They are recorded in the model's file.

    Args:
        model: a `ScviToolsModel` of the reference.
        n_cells: cells of the reference.

    Returns:
        training and, where some cells were held out to monitor the loss, validation; "reference", all rows, where
        nothing is recorded.
    """
    trained, held = (getattr(model.model, f"{name}_indices") for name in ("train", "validation"))
    if trained is None or not len(trained) or max(np.max(part, initial=0) for part in (trained, held)) >= n_cells:
        return {"reference": np.arange(n_cells)}
    found = {"training": np.sort(np.asarray(trained))}
    return found | ({"validation": np.sort(np.asarray(held))} if held is not None and len(held) else {})
