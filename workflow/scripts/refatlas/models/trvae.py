"""trVAE (Lotfollahi 2020): a conditional autoencoder whose batches are drawn together by the
distance of their distributions (MMD).
"""

from typing import ClassVar

from refatlas.models.scarches_base import NETWORK, ScArchesModel, hidden_layers, recorded, stage, trainer_settings

MODEL = {
    "recon_loss": {
        "description": "distribution of counts; mse takes log-normalised counts",
        "enum": ["nb", "zinb", "mse"],
        "default": "nb",
    },
    "use_mmd": {"description": "draw batches together by the MMD of their cells", "type": "boolean", "default": True},
    "mmd_on": {
        "description": "where: z is the latent space, y the first layer of the decoder",
        "enum": ["z", "y"],
        "default": "z",
    },
    "mmd_boundary": {
        "description": "MMD between the first so many batches and the others alone; null for all pairs",
        "type": ["integer", "null"],
        "minimum": 1,
        "default": None,
    },
    "beta": {
        "description": "weight of the MMD: more mixes batches better and keeps less of the biology",
        "type": "number",
        "minimum": 0,
        "default": 1.0,
    },
}


class TrVAE(ScArchesModel):
    """Type trvae."""

    library_class = "TRVAE"

    settings: ClassVar[dict[str, dict]] = {
        "model": {**NETWORK, **MODEL},
        "train": stage(max_epochs=None, kl_warmup=0.25, weight_decay=0.04),
        "surgery": stage(max_epochs=100, patience=10, kl_warmup=0.0),
    }

    @classmethod
    def fit(cls, counts, spec: dict, base=None) -> "TrVAE":
        """Return a model trained on the reference's counts, without a look at its labels."""
        from refatlas.models import scvi_base

        device, settings = scvi_base.prepare(spec), spec["model"]
        model = cls.make(
            counts,
            {"genes": list(counts.var_names), "loss": settings["recon_loss"]},
            condition_key="batch",
            hidden_layer_sizes=hidden_layers(settings),
            latent_dim=settings["n_latent"],
            dr_rate=settings["dropout_rate"],
            **{name: settings[name] for name in MODEL},
        )
        recorder = model.train(
            counts, spec["train"], "train", spec["seed"], on_reference=True, checkpoints=spec.get("checkpoints")
        )
        model.training = scvi_base.record([recorder], device)
        return model

    def trainer(self, cells, settings: dict, seed: int):
        """Return the library's trainer."""
        return recorded("trVAETrainer")(
            self.wrapped.model, cells, condition_key="batch", **trainer_settings(settings, seed)
        )
