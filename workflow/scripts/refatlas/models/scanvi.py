"""scANVI (Xu 2021): scVI with labels, and a classifier of its own."""

from typing import ClassVar

from refatlas.io.cell_tables import UNLABELED
from refatlas.models.scvi import train_scvi
from refatlas.models.settings import VAE, training

N_PER_LABEL = {
    "description": "labelled cells of each label seen in an epoch; null for all",
    "type": ["integer", "null"],
    "minimum": 1,
    "default": 100,
}


class ScANVI:
    """Type scanvi: starts from a scVI, its own or the one that init_from names, and goes on with
    labels.
    """

    settings: ClassVar[dict[str, dict]] = {
        "model": VAE,
        "pretrain": training(max_epochs=None, batch_size=128, lr=1e-3, patience=15, kl_warmup=0.25),
        "train": {
            **training(max_epochs=20, batch_size=128, lr=1e-3, patience=10, kl_warmup=0.0),
            "n_samples_per_label": N_PER_LABEL,
        },
        "surgery": training(max_epochs=100, batch_size=128, lr=1e-3, patience=10, kl_warmup=0.0),
    }

    @classmethod
    def fit(cls, counts, spec: dict, base=None):
        """Return a model trained on the reference's counts and labels; with a `base`, the model's
        settings are those of the base.
        """
        from refatlas.models import scvi_base

        device = scvi_base.prepare(spec)
        counts = scvi_base.with_labels(counts)
        recorders = []
        if base is None:
            scvi_model, recorder = train_scvi(counts, {**spec, "train": spec["pretrain"]})
            recorders.append(recorder)
        else:
            scvi_model = base.model
        model = scvi_base.scvi.model.SCANVI.from_scvi_model(
            scvi_model, adata=counts, unlabeled_category=UNLABELED, labels_key="label"
        )
        recorders.append(
            scvi_base.train(model, spec["train"], "scanvi", on_reference=True, checkpoints=spec.get("checkpoints"))
        )
        return _model_class()(model, scvi_base.record(recorders, device))

    @classmethod
    def from_pretrained(cls, saved: dict, counts, where: str):
        """Return a model made elsewhere, of `pretrained.read_saved`, as the reference model of
        these counts.
        """
        return _model_class().from_pretrained(saved, counts, where)

    @classmethod
    def load(cls, file, counts):
        """Return the model saved in a file."""
        return _model_class().load(file, counts)


def _model_class() -> type:
    from refatlas.models import scvi_base

    class ScANVIModel(scvi_base.ScviToolsModel):
        scvi_class = scvi_base.scvi.model.SCANVI
        registered = staticmethod(scvi_base.with_labels)
        reads_labels = True

        def predict(self, counts):
            """Return the classifier's probability of each label, shape (n_cells, n_labels)."""
            return self.model.predict(self.registered(counts), soft=True)

    return ScANVIModel
