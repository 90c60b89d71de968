"""PeakVI (Ashuach 2022): a variational autoencoder of open chromatin, of peaks in place of genes.

A count is read as open or not. Query mapping is by surgery, as for scVI.
"""

from typing import Any

import numpy as np
import scvi
from anndata import AnnData

from refatlas.models.interface import JobContext, Settings
from refatlas.models.recorder import training_of, with_max_epochs
from refatlas.models.scvi_base import ScviToolsModel
from refatlas.models.scvi_settings import PEAKVI
from refatlas.models.scvi_training import start_training, train
from refatlas.models.typed_counts import count_matrix


class PeakVI(ScviToolsModel):
    """Type peakvi."""

    settings = PEAKVI
    scvi_class = scvi.model.PEAKVI

    @classmethod
    def fit(cls, counts: AnnData, settings: Settings, job: JobContext, base: Any = None) -> "PeakVI":
        """Return a model trained on the reference's peaks; labels are not read."""
        device = start_training(job)
        cls.scvi_class.setup_anndata(counts, batch_key="batch")
        model = cls.scvi_class(counts, **architecture(settings["model"]))
        section = with_max_epochs(settings["train"], counts.n_obs)
        return cls(model, training_of([train(model, section, "peakvi", on_reference=True, job=job)], device))

    def expected(self, counts: AnnData) -> np.ndarray:
        """Return how probable it is that a peak is open, as counts at each cell's own depth.

        Its shape is (n_cells, n_peaks).
        """
        depth = np.asarray(count_matrix(counts).sum(axis=1))
        open_ = self.model.get_normalized_accessibility(
            counts, normalize_cells=True, normalize_regions=True, return_numpy=True
        )
        found: np.ndarray = open_ / np.maximum(open_.sum(axis=1, keepdims=True), 1e-12) * depth
        return found


def architecture(settings: Settings) -> dict[str, Any]:
    """Return PeakVI's arguments for the section `model`, and those that surgery needs.

    Surgery needs layer norm, and the batch given to the encoder.
    """
    return {
        "n_latent": settings["n_latent"],
        "n_hidden": settings["n_hidden"],
        "n_layers_encoder": settings["n_layers"],
        "n_layers_decoder": settings["n_layers"],
        "dropout_rate": settings["dropout_rate"],
        "use_layer_norm": "both",
        "use_batch_norm": "none",
        "encode_covariates": True,
        "deeply_inject_covariates": False,
    }
