"""scVI (Lopez 2018): a variational autoencoder of counts, with query mapping by surgery."""

from typing import Any

import scvi
from anndata import AnnData

from refatlas.models.interface import JobContext, Settings
from refatlas.models.recorder import Recorder, training_of, with_max_epochs
from refatlas.models.scvi_base import ScviToolsModel
from refatlas.models.scvi_settings import SCVI
from refatlas.models.scvi_training import SURGERY_READY, start_training, train


class ScVI(ScviToolsModel):
    """Type scvi."""

    settings = SCVI
    scvi_class = scvi.model.SCVI

    @classmethod
    def fit(cls, counts: AnnData, settings: Settings, job: JobContext, base: Any = None) -> "ScVI":
        """Return a model trained on the reference's counts; labels are not read."""
        device = start_training(job)
        model, recorder = train_scvi(counts, settings["model"], settings["train"], job)
        return cls(model, training_of([recorder], device))


def train_scvi(counts: AnnData, size: Settings, settings: Settings, job: JobContext) -> tuple[Any, Recorder]:
    """Return a trained scvi.model.SCVI of the architecture for surgery, and its record.

    Args:
        counts: of the reference.
        size: the section `model`.
        settings: the training section.
        job: of the training.
    """
    scvi.model.SCVI.setup_anndata(counts, batch_key="batch")
    model = scvi.model.SCVI(counts, **size, **SURGERY_READY)
    return model, train(model, with_max_epochs(settings, counts.n_obs), "scvi", on_reference=True, job=job)
