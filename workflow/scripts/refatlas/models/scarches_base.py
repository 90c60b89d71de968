"""What the types from scArches share: training with a record, surgery, saving. It alone imports
scArches, which costs 30 s, on first use.

Memory: counts stay sparse; what is dense is one minibatch, or a block of 1,000 cells where a
trained model is applied.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np

from refatlas.errors import InputError
from refatlas.models.checkpoints import Checkpoints, set_random_state
from refatlas.models.interface import Training
from refatlas.models.settings import training

BLOCK = 1000
# Of Adam, as in scArches: small gradients move a weight little.
EPS = 0.01

NETWORK = {
    "n_latent": {
        "description": "dimensions of the latent space",
        "type": "integer",
        "minimum": 2,
        "maximum": 10000,
        "default": 10,
    },
    "n_layers": {
        "description": "hidden layers of encoder and decoder",
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 2,
    },
    "n_hidden": {
        "description": "nodes of a hidden layer",
        "type": "integer",
        "minimum": 1,
        "maximum": 100000,
        "default": 128,
    },
    "dropout_rate": {
        "description": "share of nodes dropped in training",
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "default": 0.05,
    },
}


def stage(kl_weight: float = 1.0, weight_decay: float | None = None, **defaults) -> dict[str, dict]:
    """Return the schema of a training section; `weight_decay` None leaves it out, as surgery must:
    decay would move the frozen reference.
    """
    settings = {
        **training(**{"batch_size": 128, "lr": 1e-3, "patience": 20, **defaults}),
        "lr_patience": {
            "description": "epochs without a lower loss before the learning rate falls",
            "type": "integer",
            "minimum": 1,
            "default": 13,
        },
        "lr_factor": {
            "description": "what the learning rate is multiplied by then",
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "default": 0.1,
        },
        "kl_weight": {
            "description": "weight of the KL term after its warm-up",
            "type": "number",
            "minimum": 0,
            "default": kl_weight,
        },
    }
    if weight_decay is not None:
        settings["weight_decay"] = {
            "description": "of the optimizer",
            "type": "number",
            "minimum": 0,
            "default": weight_decay,
        }
    return settings


def hidden_layers(settings: dict) -> list[int]:
    """Return the sizes of the hidden layers."""
    return [settings["n_hidden"]] * settings["n_layers"]


@cache
def library() -> ModuleType:
    """Return scArches, imported without its complaints about optional packages."""
    import anndata

    import refatlas.models.scvi_base  # noqa: F401  (scArches imports scvi-tools, which must be set up before)

    # scArches 0.6.1 still imports a function that anndata has renamed.
    anndata.read = anndata.read_h5ad
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for category in (SyntaxWarning, FutureWarning, DeprecationWarning):
                warnings.simplefilter("ignore", category)
            import scarches
    finally:
        logging.disable(logging.NOTSET)
    return scarches


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what scArches prints of every layer that it makes, and what pandas and logging warn of
    in it.
    """
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.disable(logging.NOTSET)


class Minibatches:
    """The cells of a scArches data set in random minibatches of nearly equal size, dense one by
    one.

    A last minibatch of a single cell cannot happen unless there is one cell alone, for which the
    distances within a minibatch have no gradient.

    Args:
        size: most cells in a minibatch. stratified: draw with replacement, every batch as often as
            any other.
    """

    def __init__(self, dataset, size: int, random: np.random.Generator, stratified: bool = False) -> None:
        self.dataset, self.random = dataset, random
        self.n_parts = -(-len(dataset) // size)
        self.weights = dataset.stratifier_weights if stratified and len(dataset) > 1 else None

    def __len__(self) -> int:
        return self.n_parts

    def __iter__(self) -> Iterator[dict]:
        n_cells = len(self.dataset)
        drawn = (
            self.random.permutation(n_cells)
            if self.weights is None
            else self.random.choice(n_cells, n_cells, p=self.weights / self.weights.sum())
        )
        for part in np.array_split(drawn, self.n_parts):
            minibatch = self.dataset[part]
            # scArches squeezes a single cell to one dimension.
            yield {**minibatch, "x": minibatch["x"].reshape(len(part), -1)}


class Recorded:
    """Put before a trainer of scArches: it takes Minibatches, and records, stops and lowers the
    learning rate as the other types do.

    scArches' own loaders densify cell by cell, its early stopping counts epochs of the KL warm-up,
    and its "best state" is a reference to the last one.

    Attributes:
        own_state: tensors of the trainer, or None, that the model does not have while it is
            trained.
    """

    own_state: tuple[str, ...] = ()

    def watch(self, recorder, settings: dict, valid, seed: int, stratified: bool, checkpoints: Checkpoints) -> None:
        """Set what training is watched by; `valid` is a data set of scArches, or None."""
        self.recorder, self.valid_data, self.stratified, self.random = (
            recorder,
            valid,
            stratified,
            np.random.default_rng(seed),
        )
        self.checkpoints, self.found = checkpoints, checkpoints.state_of(recorder.stage)
        self.first_epoch = self.found["epoch"] if self.found else 0
        self.early_stopping = Stopping(recorder, settings["lr_patience"], settings["lr_factor"])

    def initialize_loaders(self) -> None:
        """Make the loaders, and start the clock."""
        self.dataloader_train = Minibatches(self.train_data, self.batch_size, self.random, self.stratified)
        self.dataloader_valid = (
            None if self.valid_data is None else Minibatches(self.valid_data, self.batch_size, self.random)
        )
        self.iters_per_epoch = len(self.dataloader_train)
        if self.found:
            self.recorder.restore(self.found["recorder"])
        self.recorder.on_train_start(None, None)

    def on_epoch_begin(self, lr: float, eps: float) -> None:
        """Take the state of a checkpoint when its epoch comes, or take a checkpoint if it is time;
        epochs before it have no minibatches.
        """
        if self.epoch < self.first_epoch:
            self.dataloader_train = ()
            return
        if self.found:
            self.continue_from(self.found)
        self.checkpoints.at_epoch_start(self.recorder.stage, self.state)
        super().on_epoch_begin(lr, eps)

    def state(self) -> dict:
        """Return the state of training between two epochs."""
        return {
            "stage": self.recorder.stage,
            "epoch": self.epoch,
            "minibatches": 0,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "own": {name: getattr(self, name) for name in self.own_state},
            "order": json.dumps(self.random.bit_generator.state),
            "lowered": self.early_stopping.lowered,
            "recorder": self.recorder.state(),
        }

    def continue_from(self, found: dict) -> None:
        """Set the state to that of a checkpoint."""
        self.found = None
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        for name, value in found["own"].items():
            setattr(self, name, None if value is None else value.to(self.device))
        self.random.bit_generator.state = json.loads(found["order"])
        self.early_stopping.lowered = found["lowered"]
        self.dataloader_train = Minibatches(self.train_data, self.batch_size, self.random, self.stratified)
        set_random_state(found["random"])

    def on_iteration(self, batch_data) -> None:
        """Train on one minibatch; refuse a loss that is not finite."""
        super().on_iteration(batch_data)
        if not np.isfinite(self.current_loss.item()):
            raise FloatingPointError(
                f"{self.recorder.stage}: the loss is {self.current_loss.item()} in epoch {self.epoch + 1}"
            )
        self.checkpoints.end_if_asked()

    def check_early_stop(self) -> bool:
        """Return whether to go on, as before the checkpoint."""
        return self.epoch < self.first_epoch or super().check_early_stop()

    def on_epoch_end(self) -> None:
        """Record the epoch."""
        if self.epoch < self.first_epoch:
            return
        super().on_epoch_end()
        parts = {"epoch_": "train", "val_": "validation"}
        losses = {
            f"{key[len(start) :]}_{part}": float(values[-1])
            for start, part in parts.items()
            for key, values in self.logs.items()
            if key.startswith(start)
        }
        self.recorder.take(self.epoch + 1, self.n_epochs, losses)


class Stopping:
    """The recorder in the place of scArches' early stopping."""

    early_stopping_metric = "epoch_loss"

    def __init__(self, recorder, lr_patience: int, lr_factor: float) -> None:
        self.recorder, self.lr_patience, self.lr_factor, self.lowered = recorder, lr_patience, lr_factor, 0

    def update_state(self, loss: float) -> bool:
        """Return False: no state is kept to return to."""
        return False

    def step(self, loss: float) -> tuple[bool, bool]:
        """Return whether to go on, and whether to lower the learning rate because the loss has not
        fallen for long.
        """
        epoch = len(self.recorder.rows)
        lower = epoch - max(self.recorder.best_epoch, self.lowered) >= self.lr_patience
        self.lowered = epoch if lower else self.lowered
        return not self.recorder.converged, lower


def recorded(trainer: str) -> type:
    """Return one of scArches' trainers, recorded."""
    return type(trainer, (Recorded, getattr(library().trainers, trainer)), {})


def held_out(groups, seed: int, share: float = 0.1) -> np.ndarray:
    """Return which cells watch the loss, shape (n_cells,): a share of each group, rounded down, so
    that no group is missing from training.
    """
    import pandas as pd

    groups = pd.Series(np.asarray(groups))
    shuffled = groups.iloc[np.random.default_rng(seed).permutation(len(groups))]
    rank = shuffled.groupby(shuffled).cumcount().sort_index()
    return (rank < np.floor(groups.groupby(groups).transform("size") * share)).to_numpy()


def trainer_settings(settings: dict, seed: int) -> dict:
    """Return what every trainer of scArches takes out of a training section."""
    warmup = round(settings["kl_warmup"] * settings["max_epochs"])
    return {
        "batch_size": settings["batch_size"],
        "alpha_kl": settings["kl_weight"],
        "alpha_epoch_anneal": warmup or None,
        "weight_decay": settings.get("weight_decay", 0.0),
        "train_frac": 1,
        "monitor": False,
        "seed": seed,
    }


def start_at_mean(network, n_known: int) -> None:
    """Give new batches the mean weights of the known ones, in place; scArches draws them at random,
    and a small query has too few steps to come from there.

    Args:
        n_known: batches of the reference, which come first in every weight of batches.
    """
    import torch

    with torch.no_grad():
        for name, weight in network.named_parameters():
            # The weights of scPoli's embeddings have the same name, and are frozen.
            if weight.requires_grad and name.endswith(("theta", "cond_L.weight")):
                weight[:, n_known:] = weight[:, :n_known].mean(dim=1, keepdim=True)
            if name.startswith("embeddings"):
                weight[n_known:] = weight[:n_known].mean(dim=0)


class ScArchesModel:
    """Training, saving, loading and reading a model of scArches; subclasses say how it is made and
    what it has to tell.

    Attributes:
        wrapped: the library's model. extra: what it does not know of itself, tensors and plain
            values alone: at least genes and loss.
        library_class: its name in scarches.models. not_saved: what it is made from, but not what it
            is.
    """

    library_class: ClassVar[str]
    not_saved: ClassVar[tuple[str, ...]] = ()
    stratified: ClassVar[bool] = True

    def __init__(self, wrapped, extra: dict, training: Training | None = None) -> None:
        self.wrapped, self.extra, self.training = wrapped, extra, training or Training()
        self.wrapped.model.to(self.device()).eval()

    @classmethod
    def make(cls, counts, extra: dict, **init) -> "ScArchesModel":
        """Return a model of the library for these counts, not trained."""
        with quiet():
            return cls(getattr(library().models, cls.library_class)(cls.prepare(counts, extra), **init), extra)

    @classmethod
    def prepare(cls, counts, extra: dict):
        """Return the cells as the library wants them: counts, or for the loss mse log-normalised
        ones, and the batch as text.
        """
        import anndata as ad
        import pandas as pd

        from refatlas.prepare.normalization import log_normalized

        x = log_normalized(counts.X) if extra["loss"] == "mse" else counts.X.astype(np.float32)
        return ad.AnnData(
            x,
            obs=pd.DataFrame({"batch": counts.obs["batch"].astype(str).astype(object)}),
            var=pd.DataFrame(index=counts.var_names),
        )

    @classmethod
    def load(cls, file: Path, counts) -> "ScArchesModel":
        """Return the model saved in a file; no code is run by loading it. `counts` are those that
        it was trained on or mapped to.
        """
        import torch

        saved = torch.load(file, map_location="cpu", weights_only=True)
        if list(counts.var_names) != saved["extra"]["genes"]:
            raise InputError(
                f"{file}: the counts do not have the model's {len(saved['extra']['genes'])} genes in their order; run"
                " build_reference and build_query again"
            )
        model = cls.make(counts, saved["extra"], **saved["init"])
        model.wrapped.model.load_state_dict(saved["state"])
        return model

    def save(self, file: Path) -> None:
        """Write the model to one file of tensors and plain values, whole or not at all."""
        import torch

        from refatlas.io.atomic import atomic_path

        state = {name: tensor.cpu() for name, tensor in self.wrapped.model.state_dict().items()}
        # To a stream: given a path, torch writes its name into the file.
        with atomic_path(str(file)) as part, part.open("wb") as stream:
            torch.save({"init": self.init(), "extra": self.extra, "state": state}, stream)

    def init(self) -> dict:
        """Return what the library's model is made from, as tensors and plain values."""
        found = self.wrapped._get_init_params_from_dict(self.wrapped._get_public_attributes())
        return {name: value for name, value in found.items() if name not in self.not_saved}

    @staticmethod
    def device():
        """Return where models are: the GPU if there is one."""
        import torch

        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def train(
        self, counts, settings: dict, name: str, seed: int, on_reference: bool, checkpoints: Checkpoints | None = None
    ):
        """Train in place; return the record; continue from a checkpoint, or do nothing if this
        stage has ended before it.

        Args:
            settings: a section of `stage`. name: of the stage. on_reference: a tenth of the cells
                watches the loss, even over batches and labels;
                a query trains on all of its cells.
        """
        from refatlas.models import scvi_base

        checkpoints = checkpoints or Checkpoints()
        settings, cells = scvi_base.epochs(settings, counts.n_obs), self.prepare(counts, self.extra)
        validated = on_reference and counts.n_obs >= scvi_base.MIN_VALIDATED_CELLS
        valid = (
            held_out(cells.obs.astype(str).agg(" ".join, axis=1), seed)
            if validated
            else np.zeros(cells.n_obs, dtype=bool)
        )
        warmup = round(settings["kl_warmup"] * settings["max_epochs"])
        recorder = scvi_base.Recorder(
            name,
            "loss_validation" if valid.any() else "loss_train",
            settings["patience"],
            settings["min_delta"],
            warmup,
            cells.n_obs,
        )
        if name in checkpoints.finished:
            recorder.restore(checkpoints.finished[name])
            return recorder
        with quiet():
            watched = self.trainer(cells[valid], settings, seed).train_data if valid.any() else None
            trainer = self.trainer(cells[~valid], settings, seed)
        trainer.watch(recorder, settings, watched, seed, self.stratified, checkpoints)
        with scvi_base.not_finite_is_said(name), checkpoints.ending_on_signals():
            trainer.train(settings["max_epochs"], settings["lr"], EPS)
        checkpoints.finish(recorder)
        return recorder

    def trainer(self, cells, settings: dict, seed: int):
        """Return the library's trainer for prepared cells, recorded."""
        raise NotImplementedError

    def map_query(self, counts, spec: dict) -> "ScArchesModel":
        """Return a model that learned the query's batches by architecture surgery (Lotfollahi
        2022); this one does not change.
        """
        from refatlas.models import scvi_base

        device = scvi_base.prepare(spec)
        with quiet():
            wrapped = type(self.wrapped).load_query_data(
                self.prepare(counts, self.extra), self.wrapped, **self.surgery(counts, spec["surgery"])
            )
        start_at_mean(wrapped.model, len(self.batches()))
        mapped = type(self)(wrapped, self.extra)
        before = mapped.latent(counts)
        recorder = mapped.train(
            counts, spec["surgery"], "surgery", spec["seed"], on_reference=False, checkpoints=spec.get("checkpoints")
        )
        mapped.training = scvi_base.record([recorder], device)
        mapped.training.mean_shift = float(np.linalg.norm(mapped.latent(counts) - before, axis=1).mean())
        return mapped

    def surgery(self, counts, settings: dict) -> dict:
        """Return what the library's surgery takes beyond its defaults: all is frozen but the
        weights of the query's batches.
        """
        return {}

    def blocks(self, counts) -> Iterator[tuple]:
        """Yield input (n_cells, n_genes) and codes of the batches (n_cells,) of blocks of cells, as
        tensors.
        """
        import pandas as pd
        import torch

        cells = self.prepare(counts, self.extra)
        codes = pd.Index(self.batches()).get_indexer(cells.obs["batch"])
        if (codes < 0).any():
            raise ValueError(
                f"the model does not know batch {cells.obs['batch'][codes < 0].iloc[0]!r}; map the cells onto it first"
            )
        for start in range(0, cells.n_obs, BLOCK):
            part = slice(start, start + BLOCK)
            yield (
                torch.from_numpy(cells.X[part].toarray()).to(self.device()),
                torch.from_numpy(codes[part]).to(self.device()),
            )

    def encode(self, x, codes):
        """Return the mean of the posterior of one block, shape (n_cells, n_latent)."""
        return self.wrapped.model.get_latent(x, codes, mean=True)

    def decode(self, z, codes) -> tuple:
        """Return the decoder's outputs for one block; the first is the mean."""
        return self.wrapped.model.decoder(z, codes)

    def latent(self, counts) -> np.ndarray:
        """Return the mean of the posterior, shape (n_cells, n_latent), float32."""
        import torch

        with torch.no_grad():
            return np.concatenate([self.encode(*block).cpu().numpy() for block in self.blocks(counts)])

    def expected(self, counts) -> np.ndarray:
        """Return the decoder's mean at each cell's own depth and batch, shape (n_cells, n_genes)."""
        return self.expected_shares(counts) * np.asarray(counts.X.sum(axis=1)).reshape(-1, 1)

    def expected_shares(self, counts) -> np.ndarray:
        """Return the decoder's mean as shares of a cell's counts, shape (n_cells, n_genes that the
        model sees).
        """
        import torch

        with torch.no_grad():
            return np.concatenate(
                [
                    self.shares(self.decode(self.encode(x, codes), codes)).cpu().numpy()
                    for x, codes in self.blocks(counts)
                ]
            )

    def shares(self, outputs: tuple):
        """Return each gene's share of a cell's counts out of the decoder's outputs, shape (n_cells,
        n_genes), rows summing to 1.
        """
        import torch

        values = torch.expm1(outputs[0].clamp(min=0)) if self.extra["loss"] == "mse" else outputs[0]
        if self.extra["loss"] == "zinb":
            values = values * (1 - torch.sigmoid(outputs[1]))
        return values / values.sum(dim=1, keepdim=True).clamp(min=1e-12)

    def predict(self, counts):
        """Return None: no classifier."""
        return None

    def batches(self) -> list[str]:
        """Return the batches that the model knows."""
        return [str(batch) for batch in self.wrapped.conditions_]
