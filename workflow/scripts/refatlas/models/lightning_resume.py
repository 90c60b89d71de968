"""Training by Lightning that goes on from a checkpoint as if there had been no break: bit by bit on
a CPU, if the checkpoint is of the start of an epoch.
"""

from lightning.pytorch.callbacks import Callback

from refatlas.models.checkpoints import Checkpoints, set_random_state


class LightningResume(Callback):
    """Gives checkpoints the state of training, and training the state of a checkpoint. The first of
    the callbacks: others draw random numbers for an epoch at its start.

    Not by Lightning's own checkpoints, which are taken before the learning rate falls at the end of
    an epoch, and after which the epoch's minibatches are drawn too early.
    Within an epoch, what is left of it is drawn from all cells anew: its order is not kept.
    """

    def __init__(self, checkpoints: Checkpoints, recorder) -> None:
        self.checkpoints, self.recorder, self.n_before = checkpoints, recorder, 0

    def on_train_start(self, trainer, pl_module) -> None:
        """Set the state to that of the checkpoint, if there is one of this stage."""
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
            counter.ready = counter.started = counter.processed = counter.completed = found["epoch"]
        self.n_before = found["minibatches"]
        self.recorder.restore(found["recorder"])
        set_random_state(found["random"])

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        """Take a checkpoint, if it is time."""
        self.checkpoints.at_epoch_start(self.recorder.stage, lambda: self.state(trainer, pl_module, 0))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        """Count the minibatches before the checkpoint as done."""
        counter, n_before = trainer.fit_loop.epoch_loop.batch_progress.current, self.n_before
        self.n_before = 0
        for name in ("ready", "started", "processed", "completed"):
            setattr(counter, name, getattr(counter, name) + n_before)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        """Take a checkpoint within a long epoch, if it is time; the end of an epoch is not put off."""
        n_done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if n_done < trainer.num_training_batches:
            self.checkpoints.within_epoch(lambda: self.state(trainer, pl_module, n_done))

    def state(self, trainer, pl_module, n_minibatches: int) -> dict:
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
