"""What the types from scvi-tools share: training with a record, surgery, saving. Importing it costs
10 to 30 s.
"""

import gc
import inspect
import logging
import math
import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

# Under SLURM, Lightning would otherwise take over process ranks and signals.
os.environ["SLURM_JOB_NAME"] = "interactive"
# What these packages make stays as long as the process: to look for garbage in it takes a seventh
# of the time of their import.
gc.disable()

import numpy as np
import pandas as pd
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from scvi.train._callbacks import SubSampleLabels

gc.enable()

from refatlas.io.atomic import atomic_path
from refatlas.io.cell_tables import UNLABELED
from refatlas.io.model_counts import sharing
from refatlas.io.row_reader import on_disk
from refatlas.models.checkpoints import Checkpoints
from refatlas.models.disk_loader import DiskSplitter, SemiSupervisedDiskSplitter, data_loader
from refatlas.models.interface import Training
from refatlas.models.lightning_resume import LightningResume
from refatlas.models.multi_gpu import devices, require_together
from refatlas.models.pretrained import adapted, require_usable
from refatlas.models.sparse_likelihood import use_sparse_likelihood

# Said at every training, of no use to a user: the first at surgery, where the reference's layers
# stay as they are by design.
UNHELPFUL_WARNINGS = (
    r"Found \d+ module\(s\) in eval mode",
    "The number of training batches",
    r"`isinstance\(treespec, LeafSpec\)`",
    "Some proteins have all 0 counts in some batches",
    "We recommend using setup_mudata",
    "The lr scheduler dict contains",
    "SCANVI sampler is not available with custom dataloader",
    "early_stopping was automatically disabled due to the use of DDP",
    "The `srun` command is available on your system but is not used",
)
for message in UNHELPFUL_WARNINGS:
    warnings.filterwarnings("ignore", message=message)
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)
scvi.settings.verbosity = logging.WARNING

# Layer norm instead of batch norm, and the batch given to the encoder: without the latter, surgery
# would move nothing.
SURGERY_READY = {
    "use_layer_norm": "both",
    "use_batch_norm": "none",
    "encode_covariates": True,
    "deeply_inject_covariates": False,
}
MIN_VALIDATED_CELLS = 100
TRAINED_SHARE = 0.9
# A pool, where counts stay in their file.
EMBEDDED_AT_ONCE = 128 * 128
LOSSES = (
    "elbo_train",
    "elbo_validation",
    "reconstruction_loss_train",
    "reconstruction_loss_validation",
    "kl_local_train",
    "kl_local_validation",
)


class Recorder(Callback):
    """Records losses and speed of every epoch, prints progress, and stops when the monitored loss
    has stopped falling.

    Args:
        monitor: name of the loss. patience: epochs without a fall of at least `min_delta` (a share
            of the loss) before stopping.
        warmup: epochs before which training does not stop, because the weight of the KL term still
            grows.
    """

    def __init__(self, stage: str, monitor: str, patience: int, min_delta: float, warmup: int, n_cells: int) -> None:
        self.stage, self.monitor, self.patience, self.min_delta, self.warmup, self.n_cells = (
            stage,
            monitor,
            patience,
            min_delta,
            warmup,
            n_cells,
        )
        self.rows: list[dict] = []
        self.best, self.best_epoch, self.converged = np.inf, 0, False
        self.started = self.printed = self.epoch_spent = 0.0

    def on_train_start(self, trainer, pl_module) -> None:
        """Start the clock, as if a training that continues had never paused."""
        self.epoch_started = time.monotonic() - self.epoch_spent
        self.started = self.epoch_started - sum(row["seconds"] for row in self.rows)

    def state(self, within_epoch: bool = False) -> dict:
        """Return what a training that continues must know of its past."""
        spent = time.monotonic() - self.epoch_started if within_epoch else 0.0
        return {
            "rows": list(self.rows),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "converged": self.converged,
            "epoch_spent": spent,
        }

    def restore(self, state: dict) -> None:
        """Take over what `state` returned."""
        vars(self).update(state)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        """Take the epoch's losses; stop on convergence."""
        losses = {name: float(trainer.callback_metrics[name]) for name in LOSSES if name in trainer.callback_metrics}
        self.take(trainer.current_epoch + 1, trainer.max_epochs, losses)
        trainer.should_stop = trainer.should_stop or self.converged

    def take(self, epoch: int, max_epochs: int, losses: dict[str, float]) -> None:
        """Record an epoch and tell of it; refuse a monitored loss that is not finite."""
        now = time.monotonic()
        seconds, self.epoch_started = now - self.epoch_started, now
        self.rows.append(
            {
                "stage": self.stage,
                "epoch": epoch,
                "seconds": seconds,
                "cells_per_second": self.n_cells / seconds,
                **losses,
            }
        )
        loss = losses[self.monitor]
        if not np.isfinite(loss):
            raise FloatingPointError(f"{self.stage}: {self.monitor} is {loss} after epoch {epoch}")
        if epoch <= self.warmup or loss < self.best * (1 - self.min_delta if self.best > 0 else 1):
            self.best, self.best_epoch = loss, epoch
        self.converged = epoch - self.best_epoch >= self.patience
        if now - self.printed > 2 or epoch == max_epochs or self.converged:
            self.printed = now
            self._report(epoch, max_epochs, loss, now)

    def _report(self, epoch: int, max_epochs: int, loss: float, now: float) -> None:
        left = (max_epochs - epoch) * (now - self.started) / epoch
        speed = self.rows[-1]["cells_per_second"]
        print(
            f"{self.stage}: epoch {epoch}/{max_epochs}  {self.monitor} {loss:.2f}  {speed:,.0f} cells/s  at most"
            f" {left:.0f} s left",
            flush=True,
        )


class LoggedOnce(Callback):
    """Logs the metrics that scvi-tools adds up over an epoch at its first step instead of at every
    one, which took a tenth of the time of small steps.
    """

    def setup(self, trainer, pl_module, stage: str) -> None:
        """Replace the plan's log_dict, which is given the same objects at every step."""
        log, logged = pl_module.log_dict, set()

        def log_dict(metrics: dict, **options) -> None:
            moment = (trainer.state.stage, trainer.current_epoch, *metrics)
            if moment not in logged or options.get("on_step"):
                logged.add(moment)
                log(metrics, **options)

        pl_module.log_dict = log_dict


@contextmanager
def skip_unused_dropout(module) -> Iterator[None]:
    """Let a decoder leave out logits of dropout as long as this lasts, unless its likelihood reads
    them: scvi-tools computes them, at the cost of the means, for nothing.
    """
    if not isinstance(getattr(module, "decoder", None), scvi.nn.DecoderSCVI) or module.gene_likelihood == "zinb":
        yield
        return
    unread = module.decoder.px_dropout_decoder
    unread.forward = lambda hidden: None
    try:
        yield
    finally:
        del unread.forward


def prepare(spec: dict) -> str:
    """Set seeds and threads; return the device's name."""
    scvi.settings.seed = spec["seed"]
    torch.set_num_threads(spec["threads"])
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    print("no GPU found: training on the CPU", flush=True)
    return "cpu"


def train(model, settings: dict, stage: str, on_reference: bool, checkpoints: Checkpoints | None = None) -> Recorder:
    """Train an scvi-tools model in place and return its record; continue from a checkpoint, or do
    nothing if this stage has ended before it.

    Args:
        settings: max_epochs, batch_size, lr, patience, min_delta, and kl_warmup (a share of
            max_epochs).
        on_reference: hold a tenth of the cells out to watch the loss on them; a query trains on all
            of its cells, without weight decay,
            because decay would move the frozen reference.
    """
    n_cells, checkpoints = model.adata.n_obs, checkpoints or Checkpoints()
    validated = on_reference and n_cells >= MIN_VALIDATED_CELLS
    warmup = round(settings["kl_warmup"] * settings["max_epochs"])
    recorder = Recorder(
        stage,
        "elbo_validation" if validated else "elbo_train",
        settings["patience"],
        settings["min_delta"],
        warmup,
        n_cells,
    )
    if stage in checkpoints.finished:
        # The stage after it has weights of its own.
        model.is_trained_ = True
        recorder.restore(checkpoints.finished[stage])
        return recorder
    plan = {"lr": settings["lr"], "n_epochs_kl_warmup": warmup or None}
    if not on_reference:
        plan["weight_decay"] = 0.0
    callbacks, extra = (
        [LightningResume(checkpoints, recorder), recorder, LoggedOnce()],
        own_arguments(model, settings, plan, on_reference, validated),
    )
    sampled = {}
    if isinstance(model, scvi.model.SCANVI):
        # Passing callbacks drops the sampler that scANVI would add by itself.
        callbacks += [SubSampleLabels()] if len(model._labeled_indices) else []
        sampled["n_samples_per_label"] = settings.get("n_samples_per_label")
    if on_disk(model.adata.X):
        extra["datamodule"] = disk_data_module(model, settings, validated, sampled)
    with (
        report_non_finite(stage),
        checkpoints.ending_on_signals(),
        use_sparse_likelihood(),
        skip_unused_dropout(model.module),
    ):
        model.train(
            max_epochs=settings["max_epochs"],
            train_size=TRAINED_SHARE if validated else 1.0,
            batch_size=settings["batch_size"],
            check_val_every_n_epoch=1 if validated else None,
            plan_kwargs=plan,
            callbacks=callbacks,
            enable_progress_bar=False,
            accelerator="gpu" if torch.cuda.is_available() else "cpu",
            **devices(),
            **sampled,
            **extra,
        )
    require_together(model.trainer.world_size)
    checkpoints.finish(recorder)
    return recorder


def disk_data_module(model, settings: dict, validated: bool, sampled: dict):
    """Return the data module by which a model is trained on counts that stay in their file."""
    splitter = SemiSupervisedDiskSplitter if isinstance(model, scvi.model.SCANVI) else DiskSplitter
    return splitter(
        model.adata_manager,
        train_size=TRAINED_SHARE if validated else 1.0,
        batch_size=settings["batch_size"],
        **sampled,
    )


@contextmanager
def report_non_finite(stage: str) -> Iterator[None]:
    """Raise a FloatingPointError in place of torch's complaint of a distribution with parameters
    that are not numbers.
    """
    try:
        yield
    except ValueError as error:
        if not re.search(r"\bnan\b", str(error)):
            raise
        raise FloatingPointError(f"{stage}: weights are no longer numbers") from error


def own_arguments(model, settings: dict, plan: dict, on_reference: bool, validated: bool) -> dict:
    """Return arguments of a model's train() by which it would otherwise replace the plan's
    settings, and stop or check by itself; none for most models.

    With them comes a learning rate that falls on plateaus, sooner than training stops (two thirds
    of the patience, as scvi-tools has it).
    """
    if "n_epochs_kl_warmup" not in inspect.signature(model.train).parameters:
        return {}
    plan["lr_patience"] = max(settings["patience"] * 2 // 3, 1)
    n_trained, size = (
        math.ceil(TRAINED_SHARE * model.adata.n_obs) if validated else model.adata.n_obs,
        settings["batch_size"],
    )
    return {
        "lr": plan["lr"],
        "n_epochs_kl_warmup": plan["n_epochs_kl_warmup"],
        "n_steps_kl_warmup": 0,
        "early_stopping": False,
        "reduce_lr_on_plateau": validated,
        # It tells batches of proteins and of none apart, by batch norm: not for a query's cells
        # alone, nor for a last minibatch of one cell.
        "adversarial_classifier": None if on_reference else False,
        "datasplitter_kwargs": {"drop_last": n_trained > size and n_trained % size == 1},
    }


def record(recorders: list[Recorder], device: str) -> Training:
    """Return the training of one model out of its stages."""
    history = pd.concat([pd.DataFrame(r.rows) for r in recorders], ignore_index=True)
    last = recorders[-1]
    return Training(history, last.monitor, last.converged, device)


def epochs(settings: dict, n_cells: int) -> dict:
    """Return training settings with max_epochs filled in: enough for about 10,000 steps of the
    batch size, at least 20 and at most 400.
    """
    if settings["max_epochs"] is not None:
        return settings
    return {**settings, "max_epochs": int(np.clip(10_000 * settings["batch_size"] / max(n_cells, 1), 20, 400))}


def latent_of(model, counts) -> np.ndarray:
    """Return the mean of the posterior of a model of scvi-tools, shape (n_cells, n_latent),
    float32.

    A part after the other, of whole minibatches: scvi-tools keeps the small result of each among
    large ones that come and go, which leaves holes of 1 kB a cell in the heap.
    """
    found = np.empty((counts.n_obs, model.module.n_latent), dtype=np.float32)
    for start in range(0, counts.n_obs, EMBEDDED_AT_ONCE):
        rows = np.arange(start, min(start + EMBEDDED_AT_ONCE, counts.n_obs))
        found[rows] = model.get_latent_representation(counts, indices=rows)
    return found


class ScviToolsModel:
    """Saving, loading and reading a model of scvi-tools; subclasses say how it is set up and
    trained.
    """

    scvi_class: type
    reads_labels = False
    # What the class's setup_anndata needs beside the batch and the labels.
    setup: ClassVar[dict[str, str]] = {}

    def __init__(self, model, training: Training | None = None) -> None:
        self.model = model
        self.model._data_loader_cls = data_loader
        self.training = training or Training()

    @classmethod
    def load(cls, file: Path, counts) -> "ScviToolsModel":
        """Return the model saved in a file; `counts` are those that it was trained on or mapped to."""
        return cls(cls.scvi_class.load(str(Path(file).parent), adata=cls.registered(counts)))

    @classmethod
    def from_pretrained(cls, saved: dict, counts, where: str) -> "ScviToolsModel":
        """Return a model made elsewhere as the reference model of these counts.

        Args:
            saved: of `pretrained.read_saved`. counts: of the reference, with the model's genes in
                its order. where: the model's name in messages.
        """
        require_usable(saved, cls.scvi_class.__name__, where)
        labels = sorted(counts.obs["label"].dropna().astype(str).unique()) if cls.reads_labels else None
        renamed = adapted(
            saved, sorted(counts.obs["batch"].astype(str).unique()), labels, list(counts.var_names), cls.setup, where
        )
        with tempfile.TemporaryDirectory() as folder:
            torch.save(renamed, Path(folder) / "model.pt")
            model = cls.load(Path(folder) / "model.pt", counts)
        model.training = Training(device="none", notes=[f"taken from {where}; nothing was trained"])
        return model

    def save(self, file: Path) -> None:
        """Write the model to one file, whole or not at all."""
        with atomic_path(str(file)) as part:
            folder = part.with_suffix("")
            self.model.save(str(folder), overwrite=True)
            (folder / "model.pt").replace(part)

    def latent(self, counts) -> np.ndarray:
        """Return the mean of the posterior, shape (n_cells, n_latent), float32."""
        return latent_of(self.model, self.registered(counts))

    def query_model(self, counts):
        """Return an scvi-tools model with weights for the query's batches, not yet trained."""
        return self.scvi_class.load_query_data(counts, self.model)

    def map_query(self, counts, spec: dict) -> "ScviToolsModel":
        """Return a model that learned the query's batches by architecture surgery (Lotfollahi
        2022); this one does not change.
        """
        device = prepare(spec)
        mapped = self.query_model(self.registered(counts))
        mapped.is_trained_ = True
        before = latent_of(mapped, mapped.adata)
        mapped.is_trained_ = False
        recorder = train(mapped, spec["surgery"], "surgery", on_reference=False, checkpoints=spec.get("checkpoints"))
        training = record([recorder], device)
        training.mean_shift = float(np.linalg.norm(latent_of(mapped, mapped.adata) - before, axis=1).mean())
        return type(self)(mapped, training)

    def expected(self, counts) -> np.ndarray:
        """Return the decoder's mean at each cell's own depth and batch, shape (n_cells, n_genes)."""
        return self.model.get_normalized_expression(self.registered(counts), library_size="latent", return_numpy=True)

    def predict(self, counts) -> pd.DataFrame | None:
        """Return None: no classifier."""
        return None

    def batches(self) -> list[str]:
        """Return the batches in the model's registry."""
        return [str(b) for b in self.model.adata_manager.get_state_registry("batch").categorical_mapping]

    def figures(self, tables: dict) -> dict:
        """Return nothing: there is nothing to draw."""
        return {}

    @staticmethod
    def registered(counts):
        """Return the counts with the columns that this type reads."""
        return counts


def with_labels(counts):
    """Return a view of counts whose label column says UNLABELED where there is no label; all of a
    query's cells have none.
    """
    labels = (
        counts.obs["label"].astype(object)
        if "label" in counts.obs
        else pd.Series(None, index=counts.obs_names, dtype=object)
    )
    counts = sharing(counts)
    counts.obs["label"] = pd.Categorical(labels.where(labels.notna(), UNLABELED))
    return counts
