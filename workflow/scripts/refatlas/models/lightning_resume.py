"""Training by Lightning that continues from a checkpoint as if it had not been interrupted.

On a CPU it continues bit by bit, if the checkpoint is of the start of an epoch.
"""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from refatlas.models.checkpoints import Checkpoints, State
from refatlas.models.random_state import set_random_state
from refatlas.models.recorder import Recorder


class LightningResume(Callback):
    """Saves the state of training in checkpoints, and restores it.

    It must be the first of the callbacks: others draw random numbers for an epoch at its start.
    Lightning's own checkpoints do not serve: they are taken before the learning rate falls at the
    end of an epoch, and after them the epoch's minibatches are drawn too early. Within an epoch, the
    rest of it is drawn from all cells again: its order is not saved.
    """

    def __init__(self, checkpoints: Checkpoints, recorder: Recorder) -> None:
        self.checkpoints, self.recorder, self.n_before = checkpoints, recorder, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the state of the checkpoint, if there is one of this stage."""
        found = self.checkpoints.state_of(self.recorder.stage)
        if found is None:
            return
        pl_module.load_state_dict(found["plan"])
        for optimizer, state in zip(trainer.optimizers, found["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        for config, state in zip(trainer.lr_scheduler_configs, found["schedulers"], strict=True):
            config.scheduler.load_state_dict(state)
        progress = trainer.fit_loop.epoch_progress
        for counter in (progress.total, progress.current):
            for name in ("ready", "started", "processed", "completed"):
                setattr(counter, name, found["epoch"])
        self.n_before = found["minibatches"]
        self.recorder.restore(found["recorder"])
        set_random_state(found["random"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take a checkpoint if one is due."""
        self.checkpoints.at_epoch_start(self.recorder.stage, lambda: self.state(trainer, pl_module, 0))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the minibatches before the checkpoint as done."""
        counter, n_before = trainer.fit_loop.epoch_loop.batch_progress.current, self.n_before
        self.n_before = 0
        for name in ("ready", "started", "processed", "completed"):
            setattr(counter, name, getattr(counter, name) + n_before)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a checkpoint within a long epoch if one is due, but not at the epoch's end."""
        n_done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if n_done < trainer.num_training_batches:
            self.checkpoints.within_epoch(lambda: self.state(trainer, pl_module, n_done))

    def state(self, trainer: Trainer, pl_module: LightningModule, n_minibatches: int) -> State:
        """Return the state of training after some minibatches of the current epoch."""
        return {
            "stage": self.recorder.stage,
            "epoch": trainer.current_epoch,
            "minibatches": n_minibatches,
            "plan": pl_module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
            "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
            "recorder": self.recorder.state(within_epoch=n_minibatches > 0),
        }
