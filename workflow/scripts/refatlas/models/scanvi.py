"""scANVI (Xu 2021): scVI with labels, and a classifier of its own."""

import pandas as pd
import scvi
from anndata import AnnData

from refatlas.io.cell_tables import UNLABELED
from refatlas.models.interface import JobContext, Settings
from refatlas.models.recorder import training_of
from refatlas.models.scvi import ScVI, train_scvi
from refatlas.models.scvi_base import ScviToolsModel, with_labels
from refatlas.models.scvi_settings import SCANVI
from refatlas.models.scvi_training import start_training, train


class ScANVI(ScviToolsModel):
    """Type scanvi: starts from a scVI, its own or that of init_from, and continues with labels."""

    settings = SCANVI
    scvi_class = scvi.model.SCANVI
    reads_labels = True

    @classmethod
    def fit(cls, counts: AnnData, settings: Settings, job: JobContext, base: ScVI | None = None) -> "ScANVI":
        """Return a model trained on the reference's counts and labels.

        With a `base`, the section `model` does not apply: the network is that of the base.
        """
        device = start_training(job)
        counts = with_labels(counts)
        recorders = []
        if base is None:
            scvi_model, recorder = train_scvi(counts, settings["model"], settings["pretrain"], job)
            recorders.append(recorder)
        else:
            scvi_model = base.model
        model = scvi.model.SCANVI.from_scvi_model(
            scvi_model, adata=counts, unlabeled_category=UNLABELED, labels_key="label"
        )
        recorders.append(train(model, settings["train"], "scanvi", on_reference=True, job=job))
        return cls(model, training_of(recorders, device))

    def predict(self, counts: AnnData) -> pd.DataFrame:
        """Return the classifier's probability of each label, shape (n_cells, n_labels)."""
        return self.model.predict(self.registered(counts), soft=True)
