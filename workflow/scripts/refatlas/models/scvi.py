"""scVI (Lopez 2018): a variational autoencoder of counts, with query mapping by architecture
surgery.
"""

from typing import ClassVar

from refatlas.models.settings import VAE, training


class ScVI:
    """Type scvi. Its class from scvi-tools is made on first use, so that reading the settings costs
    no import.
    """

    settings: ClassVar[dict[str, dict]] = {
        "model": VAE,
        "train": training(max_epochs=None, batch_size=128, lr=1e-3, patience=15, kl_warmup=0.25),
        "surgery": training(max_epochs=100, batch_size=128, lr=1e-3, patience=10, kl_warmup=0.0),
    }

    @classmethod
    def fit(cls, counts, spec: dict, base=None):
        """Return a model trained on the reference's counts, without a look at its labels."""
        from refatlas.models import scvi_base

        device = scvi_base.prepare(spec)
        model, recorder = train_scvi(counts, spec)
        return _model_class()(model, scvi_base.record([recorder], device))

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


def train_scvi(counts, spec: dict):
    """Return a trained scvi.model.SCVI of the surgery-ready architecture, and its record."""
    from refatlas.models import scvi_base

    scvi_base.scvi.model.SCVI.setup_anndata(counts, batch_key="batch")
    model = scvi_base.scvi.model.SCVI(counts, **spec["model"], **scvi_base.SURGERY_READY)
    return model, scvi_base.train(
        model,
        scvi_base.epochs(spec["train"], counts.n_obs),
        "scvi",
        on_reference=True,
        checkpoints=spec.get("checkpoints"),
    )


def _model_class() -> type:
    from refatlas.models import scvi_base

    return type("ScVIModel", (scvi_base.ScviToolsModel,), {"scvi_class": scvi_base.scvi.model.SCVI})
