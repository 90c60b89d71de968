"""Training of models of scArches: minibatches, recording and early stopping as for other types.

The loaders of scArches densify cell by cell, its early stopping counts epochs of the KL warm-up,
and its "best state" is a reference to the last one.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from refatlas.models.checkpoints import Checkpoints, State
from refatlas.models.interface import Settings
from refatlas.models.library_patches.environment import import_scarches
from refatlas.models.random_state import set_random_state
from refatlas.models.recorder import Recorder, warmup_epochs


class Minibatches:
    """The cells of a scArches data set in random minibatches of nearly equal size.

    One minibatch at a time is densified. No minibatch is a single cell unless there is only one:
    distances within it would have no gradient.

    Args:
        dataset: of scArches.
        size: most cells in a minibatch.
        random: draws the order.
        stratified: draw with replacement, every batch equally often.
    """

    def __init__(self, dataset: Any, size: int, random: np.random.Generator, stratified: bool = False) -> None:
        self.dataset, self.random = dataset, random
        self.n_parts = -(-len(dataset) // size)
        self.weights = dataset.stratifier_weights if stratified and len(dataset) > 1 else None

    def __len__(self) -> int:
        return self.n_parts

    def __iter__(self) -> Iterator[dict[str, Any]]:
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


class RecorderStopping:
    """The recorder in the place of scArches' early stopping."""

    early_stopping_metric = "epoch_loss"

    def __init__(self, recorder: Recorder, lr_patience: int, lr_factor: float) -> None:
        self.recorder, self.lr_patience, self.lr_factor = recorder, lr_patience, lr_factor
        self.lowered = 0

    def update_state(self, loss: float) -> bool:
        """Return False: no best state is kept."""
        return False

    def step(self, loss: float) -> tuple[bool, bool]:
        """Return whether to continue, and whether to lower the learning rate on a plateau."""
        epoch = len(self.recorder.rows)
        lower = epoch - max(self.recorder.best_epoch, self.lowered) >= self.lr_patience
        self.lowered = epoch if lower else self.lowered
        return not self.recorder.converged, lower


class RecordedTrainer:
    """Mix-in for a trainer of scArches that takes Minibatches, records, and stops as other types.

    Attributes:
        own_state: names of tensors of the trainer, or None, that are not part of the model while it
            trains.
    """

    own_state: tuple[str, ...] = ()
    # Of scArches' trainer.
    epoch: int
    n_epochs: int
    batch_size: int
    model: Any
    optimizer: Any
    device: Any
    logs: dict[str, list[Any]]
    current_loss: Any
    train_data: Any

    def watch(
        self,
        recorder: Recorder,
        settings: Settings,
        valid: Any,
        seed: int,
        stratified: bool,
        checkpoints: Checkpoints,
    ) -> None:
        """Set how training is recorded; `valid` is a data set of scArches, or None."""
        self.recorder, self.valid_data, self.stratified = recorder, valid, stratified
        self.random = np.random.default_rng(seed)
        self.checkpoints, self.found = checkpoints, checkpoints.state_of(recorder.stage)
        self.first_epoch = self.found["epoch"] if self.found else 0
        self.early_stopping = RecorderStopping(recorder, settings["lr_patience"], settings["lr_factor"])

    def initialize_loaders(self) -> None:
        """Make the loaders, and start the clock."""
        self.dataloader_train: Any = self._train_minibatches()
        self.dataloader_valid = (
            None if self.valid_data is None else Minibatches(self.valid_data, self.batch_size, self.random)
        )
        self.iters_per_epoch = len(self.dataloader_train)
        if self.found:
            self.recorder.restore(self.found["recorder"])
        self.recorder.start()

    def _train_minibatches(self) -> Minibatches:
        return Minibatches(self.train_data, self.batch_size, self.random, self.stratified)

    def on_epoch_begin(self, lr: float, eps: float) -> None:
        """Restore a checkpoint at its epoch, or take one if it is due.

        Epochs before the checkpoint have no minibatches.
        """
        if self.epoch < self.first_epoch:
            self.dataloader_train = ()
            return
        if self.found:
            self.restore(self.found)
        self.checkpoints.at_epoch_start(self.recorder.stage, self.state)
        super().on_epoch_begin(lr, eps)  # type: ignore[misc]  # of the trainer

    def state(self) -> State:
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

    def restore(self, found: State) -> None:
        """Set the state to that of a checkpoint."""
        self.found = None
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        for name, value in found["own"].items():
            setattr(self, name, None if value is None else value.to(self.device))
        self.random.bit_generator.state = json.loads(found["order"])
        self.early_stopping.lowered = found["lowered"]
        self.dataloader_train = self._train_minibatches()
        set_random_state(found["random"])

    def on_iteration(self, batch_data: Any) -> None:
        """Train on one minibatch.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        super().on_iteration(batch_data)  # type: ignore[misc]  # of the trainer
        if not np.isfinite(self.current_loss.item()):
            raise FloatingPointError(
                f"{self.recorder.stage}: the loss is {self.current_loss.item()} in epoch {self.epoch + 1}"
            )
        self.checkpoints.end_if_requested()

    def check_early_stop(self) -> bool:
        """Return whether to continue."""
        return self.epoch < self.first_epoch or super().check_early_stop()  # type: ignore[misc]  # of the trainer

    def on_epoch_end(self) -> None:
        """Record the epoch."""
        if self.epoch < self.first_epoch:
            return
        super().on_epoch_end()  # type: ignore[misc]  # of the trainer
        parts = {"epoch_": "train", "val_": "validation"}
        losses = {
            f"{key[len(start) :]}_{part}": float(values[-1])
            for start, part in parts.items()
            for key, values in self.logs.items()
            if key.startswith(start)
        }
        self.recorder.take(self.epoch + 1, self.n_epochs, losses)


@cache
def recorded_trainer(name: str, recorded: type[RecordedTrainer] = RecordedTrainer) -> Any:
    """Return a class of scarches.trainers by its name, with a mix-in that records it."""
    return type(name, (recorded, getattr(import_scarches().trainers, name)), {})


def trainer_settings(settings: Settings, seed: int) -> dict[str, Any]:
    """Return the arguments that every trainer of scArches takes from a training section."""
    return {
        "batch_size": settings["batch_size"],
        "alpha_kl": settings["kl_weight"],
        "alpha_epoch_anneal": warmup_epochs(settings) or None,
        "weight_decay": settings.get("weight_decay", 0.0),
        "train_frac": 1,
        "monitor": False,
        "seed": seed,
    }


def validation_cells(groups: Any, seed: int, share: float = 0.1) -> np.ndarray:
    """Return which cells monitor the loss, shape (n_cells,), boolean.

    They are a share of each group, rounded down, so that no group is missing from training.
    """
    import pandas as pd

    groups = pd.Series(np.asarray(groups))
    shuffled = groups.iloc[np.random.default_rng(seed).permutation(len(groups))]
    rank = shuffled.groupby(shuffled).cumcount().sort_index()
    return (rank < np.floor(groups.groupby(groups).transform("size") * share)).to_numpy()
