"""DRVI (Moinfar 2024): scVI with a decoder in which every dimension of the latent space speaks for itself.

So dimensions tend to be single processes. Query mapping is by surgery, as for scVI.
"""

from typing import Any

import scvi
from anndata import AnnData

from refatlas.models.interface import JobContext, Settings
from refatlas.models.recorder import training_of, with_max_epochs
from refatlas.models.scvi_base import ScviToolsModel
from refatlas.models.scvi_settings import DRVI
from refatlas.models.scvi_training import SURGERY_READY, start_training, train


class DisentangledVI(ScviToolsModel):
    """Type drvi."""

    settings = DRVI
    scvi_class = scvi.external.DRVI

    @classmethod
    def fit(cls, counts: AnnData, settings: Settings, job: JobContext, base: Any = None) -> "DisentangledVI":
        """Return a model trained on the reference's counts; labels are not read."""
        device = start_training(job)
        cls.scvi_class.setup_anndata(counts, batch_key="batch")
        model = cls.scvi_class(counts, **settings["model"], **SURGERY_READY)
        section = with_max_epochs(settings["train"], counts.n_obs)
        return cls(model, training_of([train(model, section, "drvi", on_reference=True, job=job)], device))
