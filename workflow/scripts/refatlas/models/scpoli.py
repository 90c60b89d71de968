"""scPoli (De Donno 2023): an embedding for each batch in place of one-hot codes, and a prototype
for each label.
"""

from typing import ClassVar

from refatlas.io.cell_tables import UNLABELED
from refatlas.models.scarches_base import NETWORK, ScArchesModel, hidden_layers, recorded, stage, trainer_settings

ETA = {
    "description": "weight of the distance of labelled cells to the prototype of their label",
    "type": "number",
    "minimum": 0,
    "default": 5.0,
}
MODEL = {
    "embedding_dims": {
        "description": "dimensions of a batch's embedding",
        "type": "integer",
        "minimum": 1,
        "default": 5,
    },
    "recon_loss": {
        "description": "distribution of counts; mse takes log-normalised counts",
        "enum": ["nb", "zinb", "mse"],
        "default": "nb",
    },
}


class ScPoli(ScArchesModel):
    """Type scpoli: learns without labels first, then draws the labelled cells to prototypes.

    Surgery learns the embeddings of the query's batches alone.
    """

    library_class = "scPoli"
    not_saved = ("share_metadata", "obs_metadata", "labeled_indices")
    stratified = False

    settings: ClassVar[dict[str, dict]] = {
        "model": {**NETWORK, **MODEL},
        "pretrain": stage(max_epochs=None, kl_warmup=0.5, kl_weight=0.5, weight_decay=0.04),
        "train": {**stage(max_epochs=20, kl_warmup=0.0, kl_weight=0.5, weight_decay=0.04), "eta": ETA},
        "surgery": stage(max_epochs=100, patience=10, kl_warmup=0.0, kl_weight=0.5),
    }

    @classmethod
    def fit(cls, counts, spec: dict, base=None) -> "ScPoli":
        """Return a model trained on the reference's counts and labels."""
        from refatlas.models import scvi_base

        device, settings = scvi_base.prepare(spec), spec["model"]
        labels = sorted(counts.obs["label"].dropna().astype(str).unique())
        model = cls.make(
            counts,
            {"genes": list(counts.var_names), "loss": settings["recon_loss"]},
            condition_keys=["batch"],
            cell_type_keys=["label"],
            cell_types={label: ["label"] for label in labels},
            hidden_layer_sizes=hidden_layers(settings),
            latent_dim=settings["n_latent"],
            embedding_dims=settings["embedding_dims"],
            dr_rate=settings["dropout_rate"],
            recon_loss=settings["recon_loss"],
        )
        recorders = [
            model.train(counts, spec[name], name, spec["seed"], on_reference=True, checkpoints=spec.get("checkpoints"))
            for name in ("pretrain", "train")
        ]
        model.training = scvi_base.record(recorders, device)
        return model

    @classmethod
    def prepare(cls, counts, extra: dict):
        """Return the cells with a label column that says UNLABELED where there is no label; all of
        a query's cells have none.
        """
        cells = super().prepare(counts, extra)
        labels = counts.obs["label"].astype(object) if "label" in counts.obs else None
        cells.obs["label"] = (
            UNLABELED if labels is None else labels.where(labels.notna(), UNLABELED).astype(str).astype(object)
        )
        cells.obs["conditions_combined"] = cells.obs["batch"]
        return cells

    def trainer(self, cells, settings: dict, seed: int):
        """Return the library's trainer; prototypes are learned in a section that has eta, from
        labelled cells alone.
        """
        return _trainer_class()(
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

    def surgery(self, counts, settings: dict) -> dict:
        """Return that no cell of a query has a label."""
        return {"labeled_indices": []}

    def encode(self, x, codes):
        """Return the mean of the posterior of one block, shape (n_cells, n_latent)."""
        return self.wrapped.model.get_latent(x, codes[:, None], mean=True)

    def decode(self, z, codes) -> tuple:
        """Return the decoder's outputs for one block; the first is the mean."""
        return self.wrapped.model.decoder(z, self.wrapped.model.embeddings[0](codes))

    def labels(self) -> list[str]:
        """Return the labels in the order of their prototypes."""
        return list(self.wrapped.model.cell_types)

    def distances(self, counts):
        """Return each cell's Euclidean distance to each prototype, shape (n_cells, n_labels)."""
        from scipy.spatial.distance import cdist

        return cdist(self.latent(counts), self.wrapped.model.prototypes_labeled["mean"].cpu().numpy())

    def predict(self, counts):
        """Return the softmax of the negative distances to the prototypes, shape (n_cells,
        n_labels); of the posterior's mean, where the library draws.
        """
        import pandas as pd
        from scipy.special import softmax

        return pd.DataFrame(softmax(-self.distances(counts), axis=1), index=counts.obs_names, columns=self.labels())

    def batches(self) -> list[str]:
        """Return the batches that have an embedding."""
        return [str(batch) for batch in self.wrapped.conditions_["batch"]]

    def tables(self, counts, reference=None, spec=None) -> dict:
        """Return the embeddings of all batches, the prototypes of the labels, and each cell's
        uncertainty.

        sample_embeddings: index batch, embedding_1 …, and whether it belongs to the reference or
        the query. prototypes: index label, latent_1 …
        uncertainty: index cell, the nearest prototype's label and its distance, which is the
        library's measure of uncertainty.
        """
        import pandas as pd

        embeddings = numbered(
            self.wrapped.model.embeddings[0].weight, "embedding", pd.Index(self.batches(), name="batch")
        )
        known = set((counts if reference is None else reference).obs["batch"].astype(str))
        embeddings.insert(0, "origin", ["reference" if batch in known else "query" for batch in embeddings.index])
        prototypes = numbered(
            self.wrapped.model.prototypes_labeled["mean"], "latent", pd.Index(self.labels(), name="label")
        )
        distances = pd.DataFrame(
            self.distances(counts), index=pd.Index(counts.obs_names, name="cell"), columns=self.labels()
        )
        uncertainty = pd.DataFrame({"label": distances.idxmin(axis=1), "distance": distances.min(axis=1)})
        return {"sample_embeddings": embeddings, "prototypes": prototypes, "uncertainty": uncertainty}

    def figures(self, tables: dict) -> dict:
        """Return the batches' embeddings in their first two principal components."""
        from refatlas.plots import draw_embeddings

        return {"sample_embeddings": draw_embeddings(tables["sample_embeddings"])}


def numbered(tensor, name: str, index):
    """Return a tensor as a table with columns name_1, name_2, …"""
    import pandas as pd

    values = tensor.detach().cpu().numpy()
    return pd.DataFrame(values, index=index, columns=[f"{name}_{i + 1}" for i in range(values.shape[1])])


def _trainer_class() -> type:
    import numpy as np
    import torch

    class Trainer(recorded("scPoliTrainer")):
        own_state = ("prototypes_labeled", "prototypes_labeled_cov")

        def get_latent_train(self):
            """Return the posterior's mean of the training cells; the library draws from it, and
            cannot take a block of one cell.
            """
            data, found = self.train_data, []
            with torch.no_grad():
                for part in np.array_split(np.arange(len(data)), -(-len(data) // self.batch_size)):
                    x = data[part]["x"].reshape(len(part), -1).to(self.device)
                    found.append(self.model.get_latent(x, data.conditions[part].to(self.device), mean=True))
            return torch.cat(found)

    return Trainer
