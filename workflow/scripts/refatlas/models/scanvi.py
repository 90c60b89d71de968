"""scANVI (Xu 2021): scVI with labels, and a classifier of its own."""

from pathlib import Path
from typing import Any, Self, cast

import pandas as pd
import scvi
from anndata import AnnData

from refatlas.io.cell_tables import UNLABELED
from refatlas.io.model_counts import shallow_copy
from refatlas.models.interface import JobContext, Settings
from refatlas.models.library_patches.environment import prepare_scvi_tools
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

    @classmethod
    def load(cls, file: Path, counts: AnnData) -> Self:
        """Return the model saved in a file, with the counts that it was trained on or mapped to, or some of them.

        scvi-tools sizes the classifier by the labels of the cells that it is given. Where these lack a label of the
        model, they are loaded without labels, as a query's are.
        """
        if "label" in counts.obs and not cls._labels_of(file) <= set(counts.obs["label"]):
            counts = shallow_copy(counts)
            counts.obs = cast("pd.DataFrame", counts.obs).drop(columns="label")
        return super().load(file, counts)

    @classmethod
    def _labels_of(cls, file: Path) -> set[str]:
        """Return the labels of a saved model."""
        prepare_scvi_tools()
        registry: dict[str, Any] = cls.scvi_class.load_registry(str(Path(file).parent))
        return set(registry["field_registries"]["labels"]["state_registry"]["categorical_mapping"]) - {UNLABELED}

    def predict(self, counts: AnnData) -> pd.DataFrame:
        """Return the classifier's probability of each label, shape (n_cells, n_labels)."""
        return self.model.predict(self.registered(counts), soft=True)
