"""The record of a training: losses and speed of each epoch, progress, and early stopping."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from refatlas.io.progress_file import TrainingProgress, tell_progress
from refatlas.models.interface import Settings, Training

# With fewer reference cells, none are held out to monitor the loss.
MIN_VALIDATED_CELLS = 100


class Recorder:
    """Records the losses and speed of each epoch, prints progress, and decides when to stop.

    Training has converged when the monitored loss has stopped falling. Rows are recorded by
    `take`, once per epoch.

    Args:
        stage: name of the training, such as "surgery".
        monitor: name of the loss.
        patience: epochs without a fall of at least `min_delta` (a share of the loss) before
            training stops.
        min_delta: smallest fall that counts, as a share of the loss.
        warmup: epochs before which training does not stop, because the weight of the KL term still
            grows.
        n_cells: cells of an epoch, for the speed.
    """

    def __init__(self, stage: str, monitor: str, patience: int, min_delta: float, warmup: int, n_cells: int) -> None:
        self.stage, self.monitor, self.n_cells = stage, monitor, n_cells
        self.patience, self.min_delta, self.warmup = patience, min_delta, warmup
        self.rows: list[dict[str, Any]] = []
        self.best, self.best_epoch, self.converged = np.inf, 0, False
        self.started = self.epoch_started = self.printed = self.epoch_spent = 0.0

    @classmethod
    def for_section(cls, stage: str, monitor: str, settings: Settings, n_cells: int) -> "Recorder":
        """Return a recorder with the settings of a training section."""
        return cls(stage, monitor, settings["patience"], settings["min_delta"], warmup_epochs(settings), n_cells)

    def start(self) -> None:
        """Start the clock; time spent before a checkpoint counts."""
        self.epoch_started = time.monotonic() - self.epoch_spent
        self.started = self.epoch_started - sum(row["seconds"] for row in self.rows)

    def state(self, within_epoch: bool = False) -> dict[str, Any]:
        """Return what a training that continues must know of its past."""
        spent = time.monotonic() - self.epoch_started if within_epoch else 0.0
        return {
            "rows": list(self.rows),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "converged": self.converged,
            "epoch_spent": spent,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        vars(self).update(state)

    def take(self, epoch: int, max_epochs: int, losses: dict[str, float]) -> None:
        """Record an epoch, and print and tell progress every two seconds.

        Raises:
            FloatingPointError: the monitored loss is not finite.
        """
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
            self._print_progress(epoch, max_epochs, loss, now)

    def _print_progress(self, epoch: int, max_epochs: int, loss: float, now: float) -> None:
        left = (max_epochs - epoch) * (now - self.started) / epoch
        speed, seconds = self.rows[-1]["cells_per_second"], self.rows[-1]["seconds"]
        tell_progress(TrainingProgress(self.stage, epoch, max_epochs, loss, speed, seconds, left))
        print(
            f"{self.stage}: epoch {epoch}/{max_epochs}  {self.monitor} {loss:.2f}  {speed:,.0f} cells/s  at most"
            f" {left:.0f} s left",
            flush=True,
        )


def warmup_epochs(settings: Settings) -> int:
    """Return over how many epochs the weight of the KL term grows, from a training section; 0 where it cannot grow."""
    return round(settings.get("kl_warmup", 0.0) * settings["max_epochs"])


def with_max_epochs(settings: Settings, n_cells: int) -> Settings:
    """Return a training section with max_epochs filled in.

    By default it is enough for about 10,000 steps, at least 20 and at most 400. In a fold, it is
    that of the whole reference, of which the fold has the "share".
    """
    if settings["max_epochs"] is not None:
        return settings
    n_reference = n_cells / settings.get("share", 1.0)
    return {**settings, "max_epochs": int(np.clip(10_000 * settings["batch_size"] / max(n_reference, 1), 20, 400))}


def training_of(recorders: list[Recorder], device: str) -> Training:
    """Return the training of one model from the recorders of its stages."""
    history = pd.concat([pd.DataFrame(recorder.rows) for recorder in recorders], ignore_index=True)
    last = recorders[-1]
    return Training(history, last.monitor, last.converged, device)


@contextmanager
def report_non_finite(stage: str) -> Iterator[None]:
    """Raise a FloatingPointError if torch finds a distribution whose parameters are not numbers."""
    try:
        yield
    except ValueError as error:
        if not re.search(r"\bnan\b", str(error)):
            raise
        raise FloatingPointError(f"{stage}: weights are no longer numbers") from error
