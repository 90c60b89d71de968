"""What the model types from scArches share: training, surgery, saving, loading and latent spaces.

Memory: counts stay sparse; what is dense is one minibatch, or a block of 1,000 cells where a
trained model is applied.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from refatlas.errors import InputError, shown
from refatlas.io.atomic import atomic_path
from refatlas.models.interface import JobContext, Settings, SettingsSchema, Training
from refatlas.models.library_patches.environment import import_scarches, scarches_silenced
from refatlas.models.recorder import MIN_VALIDATED_CELLS, Recorder, report_non_finite, training_of, with_max_epochs
from refatlas.models.scarches_saved import adapted, require_usable
from refatlas.models.scarches_training import RecordedTrainer, validation_cells
from refatlas.models.scvi_training import start_training
from refatlas.models.typed_counts import count_matrix
from refatlas.prepare.normalization import log_normalized

# Cells that a model is applied to at a time.
BLOCK = 1000
# Of the optimizer Adam, as in scArches; with this value small gradients change a weight little.
EPS = 0.01


class ScArchesModel:
    """Training, saving, loading and applying a model of scArches; subclasses set it up.

    Attributes:
        wrapped: the model of scArches.
        extra: what that model does not store, tensors and plain values only: at least genes and
            loss.
        library_class: its name in scarches.models.
        not_saved: arguments of that class that are not needed to load it.
        stratified: whether minibatches are drawn with every batch equally often.
    """

    settings: ClassVar[SettingsSchema]
    library_class: ClassVar[str]
    not_saved: ClassVar[tuple[str, ...]] = ()
    stratified: ClassVar[bool] = True

    def __init__(self, wrapped: Any, extra: dict[str, Any], training: Training | None = None) -> None:
        self.wrapped, self.extra, self.training = wrapped, extra, training or Training()
        self.wrapped.model.to(self.device()).eval()

    @classmethod
    def make(cls, counts: AnnData, extra: dict[str, Any], **init: Any) -> Self:
        """Return an untrained model for these counts; `init` goes to the library's class."""
        with scarches_silenced():
            return cls(getattr(import_scarches().models, cls.library_class)(cls.prepare(counts, extra), **init), extra)

    @classmethod
    def prepare(cls, counts: AnnData, extra: dict[str, Any]) -> AnnData:
        """Return the cells as scArches needs them, with the batch as text.

        X has counts, or log-normalised counts for the loss mse.
        """
        x = count_matrix(counts)
        x = log_normalized(x) if extra["loss"] == "mse" else x.astype(np.float32)
        return AnnData(
            x,
            obs=pd.DataFrame({"batch": counts.obs["batch"].astype(str).astype(object)}),
            var=pd.DataFrame(index=counts.var_names),
        )

    @classmethod
    def load(cls, file: Path, counts: AnnData) -> Self:
        """Return the model saved in a file, with the counts that it was trained on or mapped to.

        Loading runs no code of the file.

        Raises:
            InputError: the counts have other genes.
        """
        saved = torch.load(file, map_location="cpu", weights_only=True)
        if list(counts.var_names) != saved["extra"]["genes"]:
            raise InputError(
                f"{file}: the counts do not have the model's {len(saved['extra']['genes'])} genes in their order; run"
                " build_reference and prepare_query again"
            )
        model = cls.make(counts, saved["extra"], **saved["init"])
        model.wrapped.model.load_state_dict(saved["state"])
        return model

    @classmethod
    def from_pretrained(cls, saved: dict[str, Any], counts: AnnData, where: str) -> Self:
        """Return a model that scArches saved as the reference model of these counts.

        Args:
            saved: read by `scarches_saved.read_saved`.
            counts: of the reference, with the model's genes in its order.
            where: the model's name in messages.

        Raises:
            InputError: the model is not suited, or the reference has unknown batches or labels.
        """
        require_usable(saved, cls.library_class, where)
        attributes = adapted(saved["attributes"], sorted(counts.obs["batch"].astype(str).unique()), where)
        library_class = getattr(import_scarches().models, cls.library_class)
        try:
            init = library_class._get_init_params_from_dict(attributes)
            init = {name: value for name, value in init.items() if name not in cls.not_saved}
            model = cls.make(counts, cls.describe(saved, counts), **init)
            model.wrapped.model.load_state_dict(saved["state"])
        except (RuntimeError, KeyError, TypeError) as error:
            raise InputError(
                f"{where}: its weights do not fit its attributes ({shown(error, 300)}); the files are not of one model,"
                " or not of scArches 0.6"
            ) from error
        model.training = Training(device="none", notes=[f"taken from {where}; nothing was trained"])
        return model

    @classmethod
    def describe(cls, saved: dict[str, Any], counts: AnnData) -> dict[str, Any]:
        """Return `extra` of a model that scArches saved."""
        return {"genes": list(counts.var_names), "loss": saved["attributes"]["recon_loss_"]}

    def save(self, file: Path) -> None:
        """Write the model to one file of tensors and plain values, atomically."""
        state = {name: tensor.cpu() for name, tensor in self.wrapped.model.state_dict().items()}
        # To a stream: given a path, torch writes its name into the file.
        with atomic_path(str(file)) as part, part.open("wb") as stream:
            torch.save({"init": self.init(), "extra": self.extra, "state": state}, stream)

    def init(self) -> dict[str, Any]:
        """Return the arguments of the library's class, as tensors and plain values."""
        found = self.wrapped._get_init_params_from_dict(self.wrapped._get_public_attributes())
        return {name: value for name, value in found.items() if name not in self.not_saved}

    @staticmethod
    def device() -> torch.device:
        """Return where models are: the GPU if there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def train(self, counts: AnnData, settings: Settings, stage: str, on_reference: bool, job: JobContext) -> Recorder:
        """Train in place and return the record.

        Training continues from a checkpoint. If this stage ended before the checkpoint, its record
        is returned, and nothing is trained.

        Args:
            counts: that the model was made for.
            settings: a training section.
            stage: its name.
            on_reference: monitor the loss on a tenth of the cells, equal for batches and labels. A
                query trains on all of its cells.
            job: of which seed and checkpoints are used.
        """
        settings, cells = with_max_epochs(settings, counts.n_obs), self.prepare(counts, self.extra)
        valid = np.zeros(cells.n_obs, dtype=bool)
        if on_reference and counts.n_obs >= MIN_VALIDATED_CELLS:
            valid = validation_cells(pd.DataFrame(cells.obs).astype(str).agg(" ".join, axis=1), job.seed)
        monitor = "loss_validation" if valid.any() else "loss_train"
        recorder = Recorder.for_section(stage, monitor, settings, cells.n_obs)
        if stage in job.checkpoints.finished:
            recorder.restore(job.checkpoints.finished[stage])
            return recorder
        with scarches_silenced():
            validation = self.trainer(cells[valid], settings, job.seed).train_data if valid.any() else None
            trainer: Any = self.trainer(cells[~valid], settings, job.seed)
        trainer.watch(recorder, settings, validation, job.seed, self.stratified, job.checkpoints)
        with report_non_finite(stage), job.checkpoints.ending_on_signals():
            trainer.train(settings["max_epochs"], settings["lr"], EPS)
        job.checkpoints.finish(recorder)
        return recorder

    def trainer(self, cells: AnnData, settings: Settings, seed: int) -> RecordedTrainer:
        """Return the library's trainer for prepared cells, recorded."""
        raise NotImplementedError

    def map_query(self, counts: AnnData, settings: Settings, job: JobContext) -> Self:
        """Return a model that learned the query's batches by surgery (Lotfollahi 2022).

        This one does not change.
        """
        device = start_training(job)
        with scarches_silenced():
            wrapped = type(self.wrapped).load_query_data(
                self.prepare(counts, self.extra), self.wrapped, **self.surgery_arguments(counts, settings["surgery"])
            )
        start_at_mean(wrapped.model, len(self.batches()))
        mapped = type(self)(wrapped, self.extra)
        before = mapped.latent(counts)
        recorder = mapped.train(counts, settings["surgery"], "surgery", on_reference=False, job=job)
        mapped.training = training_of([recorder], device)
        mapped.training.mean_shift = float(np.linalg.norm(mapped.latent(counts) - before, axis=1).mean())
        return mapped

    def surgery_arguments(self, counts: AnnData, settings: Settings) -> dict[str, Any]:
        """Return arguments of the library's surgery beyond its defaults.

        By default all weights are frozen except those of the query's batches.
        """
        return {}

    def blocks(self, counts: AnnData) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield blocks of cells: input (n_cells, n_genes), and codes of the batches (n_cells,).

        Raises:
            ValueError: the model does not know a batch.
        """
        cells = self.prepare(counts, self.extra)
        matrix = count_matrix(cells)
        codes = pd.Index(self.batches()).get_indexer(cells.obs["batch"])
        if (codes < 0).any():
            raise ValueError(
                f"the model does not know batch {cells.obs['batch'][codes < 0].iloc[0]!r}; map the cells to it first"
            )
        for start in range(0, cells.n_obs, BLOCK):
            part = slice(start, start + BLOCK)
            yield (
                torch.from_numpy(matrix[part].toarray()).to(self.device()),
                torch.from_numpy(codes[part]).to(self.device()),
            )

    def encode(self, x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return the mean of the posterior of one block, shape (n_cells, n_latent)."""
        return self.wrapped.model.get_latent(x, codes, mean=True)

    def decode(self, z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the decoder's outputs for one block; the first is the mean."""
        return self.wrapped.model.decoder(z, codes)

    def latent(self, counts: AnnData) -> np.ndarray:
        """Return the mean of the posterior, shape (n_cells, n_latent), float32."""
        with torch.no_grad():
            return np.concatenate([self.encode(*block).cpu().numpy() for block in self.blocks(counts)])

    def expected(self, counts: AnnData) -> np.ndarray:
        """Return the decoder's mean at the cells' depth and batch, shape (n_cells, n_genes)."""
        return self.expected_shares(counts) * np.asarray(count_matrix(counts).sum(axis=1)).reshape(-1, 1)

    def expected_shares(self, counts: AnnData) -> np.ndarray:
        """Return the decoder's mean as shares of the counts, shape (n_cells, n_model_genes)."""
        with torch.no_grad():
            return np.concatenate(
                [
                    self.shares(self.decode(self.encode(x, codes), codes)).cpu().numpy()
                    for x, codes in self.blocks(counts)
                ]
            )

    def shares(self, outputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return each gene's share of a cell's counts from the decoder's outputs.

        Its shape is (n_cells, n_genes); rows sum to 1.
        """
        values = torch.expm1(outputs[0].clamp(min=0)) if self.extra["loss"] == "mse" else outputs[0]
        if self.extra["loss"] == "zinb":
            values = values * (1 - torch.sigmoid(outputs[1]))
        return values / values.sum(dim=1, keepdim=True).clamp(min=1e-12)

    def predict(self, counts: AnnData) -> pd.DataFrame | None:
        """Return None: no classifier."""
        return None

    def batches(self) -> list[str]:
        """Return the batches that the model knows."""
        return [str(batch) for batch in self.wrapped.conditions_]


def hidden_layers(settings: Settings) -> list[int]:
    """Return the sizes of the hidden layers, from the section `model`."""
    return [settings["n_hidden"]] * settings["n_layers"]


def start_at_mean(network: torch.nn.Module, n_known: int) -> None:
    """Set the weights of new batches to the mean of those of the known batches, in place.

    scArches draws them at random, from which a small query has too few steps to recover.

    Args:
        network: of scArches.
        n_known: batches of the reference, which come first in every weight of batches.
    """
    with torch.no_grad():
        for name, weight in network.named_parameters():
            # The weights of scPoli's embeddings have the same name, and are frozen.
            if weight.requires_grad and name.endswith(("theta", "cond_L.weight")):
                weight[:, n_known:] = weight[:, :n_known].mean(dim=1, keepdim=True)
            if name.startswith("embeddings"):
                weight[n_known:] = weight[:n_known].mean(dim=0)
