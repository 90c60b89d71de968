"""What the model types from scvi-tools share: surgery, saving, loading and latent spaces.

Importing it takes 10 to 30 s.
"""

import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from refatlas.io.atomic import atomic_path
from refatlas.io.cell_tables import UNLABELED
from refatlas.io.model_counts import shallow_copy
from refatlas.models.interface import JobContext, Settings, SettingsSchema, Training
from refatlas.models.library_patches.environment import prepare_scvi_tools
from refatlas.models.library_patches.scvi_tools import load_from_disk_too
from refatlas.models.pretrained import adapted, require_usable
from refatlas.models.recorder import training_of
from refatlas.models.scvi_training import start_training, train
from refatlas.models.typed_counts import cell_column

# Cells embedded at a time: a pool, where counts stay in their file.
EMBEDDED_AT_ONCE = 128 * 128


class ScviToolsModel:
    """Saving, loading and applying a model of scvi-tools; subclasses set it up and train it.

    Attributes:
        model: of scvi-tools.
        training: the record of its training.
        scvi_class: class of scvi-tools.
        reads_labels: whether it reads the reference's labels.
        setup: what the class's setup_anndata needs beside the batch and the labels.
    """

    settings: ClassVar[SettingsSchema]
    scvi_class: ClassVar[Any]
    reads_labels: ClassVar[bool] = False
    setup: ClassVar[dict[str, str]] = {}

    def __init__(self, model: Any, training: Training | None = None) -> None:
        self.model = model
        load_from_disk_too(self.model)
        self.training = training or Training()

    @classmethod
    def load(cls, file: Path, counts: AnnData) -> Self:
        """Return the model saved in a file, with the counts that it was trained on or mapped to."""
        prepare_scvi_tools()
        return cls(cls.scvi_class.load(str(Path(file).parent), adata=cls.registered(counts)))

    @classmethod
    def from_pretrained(cls, saved: dict[str, Any], counts: AnnData, where: str) -> Self:
        """Return a pretrained model as the reference model of these counts.

        Args:
            saved: read by `pretrained.read_saved`.
            counts: of the reference, with the model's genes (and proteins) in its order.
            where: the model's name in messages.

        Raises:
            InputError: the model is not suited, or the reference has unknown batches or labels.
        """
        require_usable(saved, cls.scvi_class.__name__, where)
        labels = sorted(cell_column(counts, "label").dropna().astype(str).unique()) if cls.reads_labels else None
        renamed = adapted(
            saved, sorted(counts.obs["batch"].astype(str).unique()), labels, list(counts.var_names), cls.setup, where
        )
        with tempfile.TemporaryDirectory() as folder:
            torch.save(renamed, Path(folder) / "model.pt")
            model = cls.load(Path(folder) / "model.pt", counts)
        model.training = Training(device="none", notes=[f"taken from {where}; nothing was trained"])
        return model

    def save(self, file: Path) -> None:
        """Write the model to one file, atomically."""
        with atomic_path(str(file)) as part:
            folder = part.with_suffix("")
            self.model.save(str(folder), overwrite=True)
            (folder / "model.pt").replace(part)

    def latent(self, counts: AnnData) -> np.ndarray:
        """Return the mean of the posterior, shape (n_cells, n_latent), float32."""
        return latent_of(self.model, self.registered(counts))

    def posterior(self, counts: AnnData) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the cells' normal posteriors, each of shape (n_cells, n_latent)."""
        found: tuple[np.ndarray, np.ndarray] = self.model.get_latent_representation(
            self.registered(counts), return_dist=True
        )
        return found

    def query_model(self, counts: AnnData, settings: Settings | None = None) -> Any:
        """Return an untrained model of scvi-tools with weights for the query's batches; most types read no setting."""
        return self.scvi_class.load_query_data(counts, self.model)

    def map_query(self, counts: AnnData, settings: Settings, job: JobContext) -> Self:
        """Return a model that learned the query's batches by surgery (Lotfollahi 2022).

        This one does not change.
        """
        device = start_training(job)
        mapped = self.query_model(self.registered(counts), settings)
        mapped.is_trained_ = True
        before = latent_of(mapped, mapped.adata)
        mapped.is_trained_ = False
        recorder = train(mapped, settings["surgery"], "surgery", on_reference=False, job=job)
        training = training_of([recorder], device)
        training.mean_shift = float(np.linalg.norm(latent_of(mapped, mapped.adata) - before, axis=1).mean())
        return type(self)(mapped, training)

    def expected(self, counts: AnnData) -> np.ndarray:
        """Return the decoder's mean at the cells' depth and batch, shape (n_cells, n_genes)."""
        return self.model.get_normalized_expression(self.registered(counts), library_size="latent", return_numpy=True)

    def predict(self, counts: AnnData) -> pd.DataFrame | None:
        """Return None: no classifier."""
        return None

    def batches(self) -> list[str]:
        """Return the batches that the model knows."""
        return registered_batches(self.model)

    @classmethod
    def registered(cls, counts: AnnData) -> AnnData:
        """Return the counts with the columns that this type reads."""
        return with_labels(counts) if cls.reads_labels else counts


def registered_batches(model: Any) -> list[str]:
    """Return the batches of a model of scvi-tools, in the order of its weights."""
    return [str(batch) for batch in model.adata_manager.get_state_registry("batch").categorical_mapping]


def latent_of(model: Any, counts: AnnData) -> np.ndarray:
    """Return the posterior mean by a model of scvi-tools, shape (n_cells, n_latent), float32.

    It is computed in parts of complete minibatches: scvi-tools keeps the small result of each
    minibatch between large temporary arrays, which fragments memory by 1 kB per cell.
    """
    found = np.empty((counts.n_obs, model.module.n_latent), dtype=np.float32)
    for start in range(0, counts.n_obs, EMBEDDED_AT_ONCE):
        rows = np.arange(start, min(start + EMBEDDED_AT_ONCE, counts.n_obs))
        found[rows] = model.get_latent_representation(counts, indices=rows)
    return found


def with_labels(counts: AnnData) -> AnnData:
    """Return counts whose label is UNLABELED where there is none, as for all cells of a query.

    The matrix is shared.
    """
    labels = (
        counts.obs["label"].astype(object)
        if "label" in counts.obs
        else pd.Series(None, index=counts.obs_names, dtype=object)
    )
    counts = shallow_copy(counts)
    counts.obs["label"] = pd.Categorical(labels.where(labels.notna(), UNLABELED))
    return counts
