"""Training of models of scvi-tools: recorded, stopped early, and continued from checkpoints."""

import inspect
import math
from typing import Any

import scvi
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from scvi.train._callbacks import SubSampleLabels

from refatlas.io.row_reader import on_disk
from refatlas.models.disk_loader import DiskSplitter, SemiSupervisedDiskSplitter
from refatlas.models.interface import JobContext, Settings
from refatlas.models.library_patches.environment import prepare_scvi_tools
from refatlas.models.library_patches.likelihood import use_sparse_likelihood
from refatlas.models.library_patches.scvi_tools import LogFirstStepOnly, skip_unused_dropout
from refatlas.models.lightning_resume import LightningResume
from refatlas.models.multi_gpu import devices, require_one_group
from refatlas.models.recorder import MIN_VALIDATED_CELLS, Recorder, report_non_finite, warmup_epochs

# Layer norm instead of batch norm, and the batch given to the encoder: without the latter, surgery
# would move no cell.
SURGERY_READY = {
    "use_layer_norm": "both",
    "use_batch_norm": "none",
    "encode_covariates": True,
    "deeply_inject_covariates": False,
}
TRAINED_SHARE = 0.9
LOSSES = (
    "elbo_train",
    "elbo_validation",
    "reconstruction_loss_train",
    "reconstruction_loss_validation",
    "kl_local_train",
    "kl_local_validation",
)
# Of SysVI beside them.
CYCLE_LOSSES = ("cycle_loss_train", "cycle_loss_validation")


class RecordEpochs(Callback):
    """Gives each epoch's losses to a recorder, and stops training when it has converged."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.recorder.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the epoch's losses; stop on convergence."""
        known = trainer.callback_metrics
        losses = {name: float(known[name]) for name in (*LOSSES, *CYCLE_LOSSES) if name in known}
        self.recorder.take(trainer.current_epoch + 1, trainer.max_epochs or 0, losses)
        trainer.should_stop = trainer.should_stop or self.recorder.converged


def start_training(job: JobContext) -> str:
    """Set seeds and threads; return the device's name."""
    prepare_scvi_tools()
    scvi.settings.seed = job.seed
    torch.set_num_threads(job.threads)
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    print("no GPU found: training on the CPU", flush=True)
    return "cpu"


def train(model: Any, settings: Settings, stage: str, on_reference: bool, job: JobContext) -> Recorder:
    """Train a model of scvi-tools in place and return its record.

    Training continues from a checkpoint. If this stage ended before the checkpoint, its record is
    returned, and nothing is trained.

    Args:
        model: of scvi-tools.
        settings: a training section with max_epochs filled in.
        stage: its name.
        on_reference: monitor the loss on a held-out tenth of the cells. A query trains on all of
            its cells, without weight decay, which would change the frozen weights of the reference.
        job: of which the checkpoints are used.
    """
    validated = on_reference and model.adata.n_obs >= MIN_VALIDATED_CELLS
    monitor = "elbo_validation" if validated else "elbo_train"
    recorder = Recorder.for_section(stage, monitor, settings, model.adata.n_obs)
    if stage in job.checkpoints.finished:
        # The next stage has weights of its own.
        model.is_trained_ = True
        recorder.restore(job.checkpoints.finished[stage])
        return recorder
    arguments = _train_arguments(model, settings, on_reference, validated)
    arguments["callbacks"] = [
        LightningResume(job.checkpoints, recorder),
        RecordEpochs(recorder),
        LogFirstStepOnly(),
        *_sampling_callbacks(model),
    ]
    with (
        report_non_finite(stage),
        job.checkpoints.ending_on_signals(),
        use_sparse_likelihood(),
        skip_unused_dropout(model.module),
    ):
        model.train(**arguments)
    require_one_group(model.trainer.world_size)
    job.checkpoints.finish(recorder)
    return recorder


def _train_arguments(model: Any, settings: Settings, on_reference: bool, validated: bool) -> dict[str, Any]:
    """Return the arguments of a model's train(), without callbacks."""
    plan = {"lr": settings["lr"], "n_epochs_kl_warmup": warmup_epochs(settings) or None}
    if "cycle_weight" in settings:
        # Of SysVI, whose train() sets the warm-up itself.
        plan = {"lr": settings["lr"], "z_distance_cycle_weight": settings["cycle_weight"]}
    if not on_reference:
        plan["weight_decay"] = 0.0
    arguments = {
        "max_epochs": settings["max_epochs"],
        "train_size": TRAINED_SHARE if validated else 1.0,
        "batch_size": settings["batch_size"],
        "check_val_every_n_epoch": 1 if validated else None,
        "plan_kwargs": plan,
        "enable_progress_bar": False,
        "accelerator": "gpu" if torch.cuda.is_available() else "cpu",
        **devices(),
    }
    if isinstance(model, scvi.model.PEAKVI):
        # Its train() has arguments of its own in place of the plan's settings.
        arguments |= {**plan, "early_stopping": False}
    elif "n_epochs_kl_warmup" in inspect.signature(model.train).parameters:
        arguments |= _totalvi_arguments(model, settings, plan, on_reference, validated)
    sampled = {}
    if isinstance(model, scvi.model.SCANVI):
        sampled["n_samples_per_label"] = settings.get("n_samples_per_label")
    if on_disk(model.adata.X):
        arguments["datamodule"] = _disk_data_module(model, settings, validated, sampled)
    return arguments | sampled


def _totalvi_arguments(
    model: Any, settings: Settings, plan: dict[str, Any], on_reference: bool, validated: bool
) -> dict[str, Any]:
    """Return what a train() needs that replaces the plan's settings by arguments of its own.

    The learning rate falls on plateaus, sooner than training stops (at two thirds of the patience,
    as in scvi-tools).
    """
    plan["lr_patience"] = max(settings["patience"] * 2 // 3, 1)
    n_cells, size = model.adata.n_obs, settings["batch_size"]
    n_trained = math.ceil(TRAINED_SHARE * n_cells) if validated else n_cells
    return {
        "lr": plan["lr"],
        "n_epochs_kl_warmup": plan["n_epochs_kl_warmup"],
        "n_steps_kl_warmup": 0,
        "early_stopping": False,
        "reduce_lr_on_plateau": validated,
        # It separates batches with proteins from those without, by batch norm: not applicable to a
        # query's cells alone, nor to a last minibatch of one cell.
        "adversarial_classifier": None if on_reference else False,
        "datasplitter_kwargs": {"drop_last": n_trained > size and n_trained % size == 1},
    }


def _sampling_callbacks(model: Any) -> list[Callback]:
    """Return the sampler of labelled cells, which scANVI adds only if it is given no callbacks."""
    sampled = isinstance(model, scvi.model.SCANVI) and len(model._labeled_indices)
    return [SubSampleLabels()] if sampled else []


def _disk_data_module(model: Any, settings: Settings, validated: bool, sampled: dict[str, Any]) -> DiskSplitter:
    """Return the data module that trains a model on counts that stay in their file."""
    splitter = SemiSupervisedDiskSplitter if isinstance(model, scvi.model.SCANVI) else DiskSplitter
    return splitter(
        model.adata_manager,
        train_size=TRAINED_SHARE if validated else 1.0,
        batch_size=settings["batch_size"],
        **sampled,
    )
