"""trVAE (Lotfollahi 2020): a conditional autoencoder that aligns batches by the MMD.

The maximum mean discrepancy (MMD) is a distance between the distributions of two batches.
"""

from typing import Any

from anndata import AnnData

from refatlas.models.interface import JobContext, Settings
from refatlas.models.recorder import training_of
from refatlas.models.scarches_base import ScArchesModel, hidden_layers
from refatlas.models.scarches_settings import TRVAE, TRVAE_MODEL
from refatlas.models.scarches_training import RecordedTrainer, recorded_trainer, trainer_settings
from refatlas.models.scvi_training import start_training


class TrVAE(ScArchesModel):
    """Type trvae."""

    settings = TRVAE
    library_class = "TRVAE"

    @classmethod
    def fit(cls, counts: AnnData, settings: Settings, job: JobContext, base: Any = None) -> "TrVAE":
        """Return a model trained on the reference's counts; labels are not read."""
        device, size = start_training(job), settings["model"]
        model = cls.make(
            counts,
            {"genes": list(counts.var_names), "loss": size["recon_loss"]},
            condition_key="batch",
            hidden_layer_sizes=hidden_layers(size),
            latent_dim=size["n_latent"],
            dr_rate=size["dropout_rate"],
            **{name: size[name] for name in TRVAE_MODEL},
        )
        recorder = model.train(counts, settings["train"], "train", on_reference=True, job=job)
        model.training = training_of([recorder], device)
        return model

    def trainer(self, cells: AnnData, settings: Settings, seed: int) -> RecordedTrainer:
        """Return the library's trainer, recorded."""
        return recorded_trainer("trVAETrainer")(
            self.wrapped.model, cells, condition_key="batch", **trainer_settings(settings, seed)
        )
