"""scPoli (De Donno 2023): embeddings of batches instead of one-hot codes, and label prototypes."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy.spatial.distance import cdist
from scipy.special import softmax

from refatlas.io.cell_tables import UNLABELED
from refatlas.models.interface import JobContext, Settings
from refatlas.models.recorder import training_of
from refatlas.models.scarches_base import ScArchesModel, hidden_layers
from refatlas.models.scarches_saved import require_known_labels, require_usable
from refatlas.models.scarches_settings import SCPOLI
from refatlas.models.scarches_training import RecordedTrainer, recorded_trainer, trainer_settings
from refatlas.models.scvi_training import start_training
from refatlas.models.typed_counts import cell_column

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ScPoliTrainer(RecordedTrainer):
    """Mix-in for scPoli's trainer, which learns prototypes of the labels."""

    own_state = ("prototypes_labeled", "prototypes_labeled_cov")

    def get_latent_train(self) -> torch.Tensor:
        """Return the posterior's mean of the training cells, shape (n_cells, n_latent).

        The library draws from the posterior instead, and fails on a block of one cell.
        """
        data, found = self.train_data, []
        with torch.no_grad():
            for part in np.array_split(np.arange(len(data)), -(-len(data) // self.batch_size)):
                x = data[part]["x"].reshape(len(part), -1).to(self.device)
                found.append(self.model.get_latent(x, data.conditions[part].to(self.device), mean=True))
        return torch.cat(found)


class ScPoli(ScArchesModel):
    """Type scpoli: learns without labels first, then draws labelled cells towards prototypes.

    Surgery learns only the embeddings of the query's batches.
    """

    settings = SCPOLI
    library_class = "scPoli"
    not_saved = ("share_metadata", "obs_metadata", "labeled_indices")
    stratified = False

    @classmethod
    def fit(cls, counts: AnnData, settings: Settings, job: JobContext, base: Any = None) -> "ScPoli":
        """Return a model trained on the reference's counts and labels."""
        device, size = start_training(job), settings["model"]
        labels = sorted(cell_column(counts, "label").dropna().astype(str).unique())
        model = cls.make(
            counts,
            {"genes": list(counts.var_names), "loss": size["recon_loss"]},
            condition_keys=["batch"],
            cell_type_keys=["label"],
            cell_types={label: ["label"] for label in labels},
            hidden_layer_sizes=hidden_layers(size),
            latent_dim=size["n_latent"],
            embedding_dims=size["embedding_dims"],
            dr_rate=size["dropout_rate"],
            recon_loss=size["recon_loss"],
        )
        recorders = [
            model.train(counts, settings[stage], stage, on_reference=True, job=job) for stage in ("pretrain", "train")
        ]
        model.training = training_of(recorders, device)
        return model

    @classmethod
    def from_pretrained(cls, saved: dict[str, Any], counts: AnnData, where: str) -> Self:
        """Return a model that scArches saved, with its prototypes, if it knows all labels of the reference."""
        require_usable(saved, cls.library_class, where)
        labels = cell_column(counts, "label").dropna().astype(str).unique()
        require_known_labels(saved["attributes"], list(labels), where)
        return super().from_pretrained(saved, counts, where)

    @classmethod
    def prepare(cls, counts: AnnData, extra: dict[str, Any]) -> AnnData:
        """Return the cells with labels, UNLABELED where there is none, as in a query."""
        cells = super().prepare(counts, extra)
        labels = counts.obs["label"].astype(object) if "label" in counts.obs else None
        cells.obs["label"] = (
            UNLABELED if labels is None else labels.where(labels.notna(), UNLABELED).astype(str).astype(object)
        )
        cells.obs["conditions_combined"] = cells.obs["batch"]
        return cells

    def trainer(self, cells: AnnData, settings: Settings, seed: int) -> RecordedTrainer:
        """Return the library's trainer, recorded.

        Prototypes are learned in a section that has eta, from labelled cells only.
        """
        return recorded_trainer("scPoliTrainer", ScPoliTrainer)(
            self.wrapped.model,
            cells,
            condition_keys=["batch"],
            cell_type_keys=["label"],
            labeled_indices=list((cells.obs["label"] != UNLABELED).to_numpy().nonzero()[0]),
            pretraining_epochs=0,
            prototype_training="eta" in settings,
            unlabeled_prototype_training=False,
            eta=settings.get("eta", 0.0),
            **trainer_settings(settings, seed),
        )

    def surgery_arguments(self, counts: AnnData, settings: Settings) -> dict[str, Any]:
        """Return that no cell of a query has a label."""
        return {"labeled_indices": []}

    def encode(self, x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return the mean of the posterior of one block, shape (n_cells, n_latent)."""
        return self.wrapped.model.get_latent(x, codes[:, None], mean=True)

    def decode(self, z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the decoder's outputs for one block; the first is the mean."""
        return self.wrapped.model.decoder(z, self.wrapped.model.embeddings[0](codes))

    def labels(self) -> list[str]:
        """Return the labels in the order of their prototypes."""
        return list(self.wrapped.model.cell_types)

    def distances(self, counts: AnnData) -> np.ndarray:
        """Return each cell's Euclidean distance to each prototype, shape (n_cells, n_labels)."""
        return cdist(self.latent(counts), self.wrapped.model.prototypes_labeled["mean"].cpu().numpy())

    def predict(self, counts: AnnData) -> pd.DataFrame:
        """Return the softmax of the negative distances to the prototypes.

        Its shape is (n_cells, n_labels). Distances are those of the posterior's mean; the library
        draws from the posterior.
        """
        return pd.DataFrame(softmax(-self.distances(counts), axis=1), index=counts.obs_names, columns=self.labels())

    def batches(self) -> list[str]:
        """Return the batches that have an embedding."""
        return [str(batch) for batch in self.wrapped.conditions_["batch"]]

    def tables(
        self, counts: AnnData, reference: AnnData | None = None, settings: Settings | None = None
    ) -> dict[str, pd.DataFrame]:
        """Return embeddings of the batches, prototypes of the labels, and each cell's uncertainty.

        sample_embeddings: index batch; origin (reference or query), embedding_1 …
        prototypes: index label; latent_1 …
        uncertainty: index cell; label of the nearest prototype, and its distance, which is the
            library's measure of uncertainty.
        """
        embeddings = numbered_columns(
            self.wrapped.model.embeddings[0].weight, "embedding", pd.Index(self.batches(), name="batch")
        )
        known = set((counts if reference is None else reference).obs["batch"].astype(str))
        embeddings.insert(0, "origin", ["reference" if batch in known else "query" for batch in embeddings.index])
        prototypes = numbered_columns(
            self.wrapped.model.prototypes_labeled["mean"], "latent", pd.Index(self.labels(), name="label")
        )
        distances = pd.DataFrame(
            self.distances(counts), index=pd.Index(counts.obs_names, name="cell"), columns=self.labels()
        )
        uncertainty = pd.DataFrame({"label": distances.idxmin(axis=1), "distance": distances.min(axis=1)})
        return {"sample_embeddings": embeddings, "prototypes": prototypes, "uncertainty": uncertainty}

    def figures(self, tables: dict[str, pd.DataFrame]) -> "dict[str, Figure]":
        """Return the batches' embeddings in their first two principal components."""
        from refatlas.plots import draw_embeddings

        return {"sample_embeddings": draw_embeddings(tables["sample_embeddings"])}


def numbered_columns(tensor: torch.Tensor, name: str, index: pd.Index) -> pd.DataFrame:
    """Return a tensor as a table with columns name_1, name_2, …"""
    values = tensor.detach().cpu().numpy()
    return pd.DataFrame(values, index=index, columns=[f"{name}_{i + 1}" for i in range(values.shape[1])])
