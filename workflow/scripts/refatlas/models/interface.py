"""What every model type offers, and how its training is recorded."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from refatlas.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure


@dataclass
class Training:
    """The course of one training.

    Attributes:
        history: one row an epoch: epoch, seconds, cells_per_second, and the losses that the type
            has.
        monitor: column of `history` that early stopping watched, or None where training has no
            epochs.
        converged: whether the monitored loss stopped falling before the last epoch.
        device: "cpu", or the GPU's name.
        mean_shift: for a mapping, how far surgery moved the query's cells in the latent space, on
            average.
        notes: what a reader should know, in sentences.
    """

    history: "pd.DataFrame" = field(default_factory=lambda: _no_epochs())
    monitor: str | None = None
    converged: bool = True
    device: str = "cpu"
    mean_shift: float | None = None
    notes: list[str] = field(default_factory=list)

    def final_loss(self) -> float | None:
        """Return the monitored loss of the last epoch, or None where there is none."""
        return None if self.monitor is None or self.history.empty else float(self.history[self.monitor].iloc[-1])


def _no_epochs() -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(columns=["stage", "epoch", "seconds", "cells_per_second"])


class Model(Protocol):
    """A reference model, or one that a query was mapped onto.

    `counts` is an AnnData of cells × the reference's genes in the reference's order: integer counts
    in X (CSR), `batch` in obs, and for
    a reference `label`, where UNLABELED stands for no label. A query's obs has no labels at all.
    """

    settings: ClassVar[dict[str, dict]]
    training: Training

    @classmethod
    def fit(cls, counts: "AnnData", spec: dict, base: "Model | None" = None) -> "Model":
        """Return a model trained on the reference; `base` is the model named by init_from. `spec`
        has the settings, `seed`, `threads`, and `checkpoints` of the job if it has any.
        """

    @classmethod
    def load(cls, file: Path, counts: "AnnData") -> "Model":
        """Return the model saved in a file, with the counts that it was trained on or mapped to."""

    def save(self, file: Path) -> None:
        """Write the model to one file."""

    def latent(self, counts: "AnnData") -> "np.ndarray":
        """Return the latent space, shape (n_cells, n_latent), float32."""

    def map_query(self, counts: "AnnData", spec: dict) -> "Model":
        """Return a model that knows the query's batches; this one does not change."""

    def predict(self, counts: "AnnData") -> "pd.DataFrame | None":
        """Return each cell's probability for each label, shape (n_cells, n_labels), or None where
        the type has no classifier.
        """

    def expected(self, counts: "AnnData") -> "np.ndarray":
        """Return the counts that the model expects of each cell, shape (n_cells, n_genes), for
        posterior predictive checks.
        """

    def batches(self) -> list[str]:
        """Return the batches that the model knows."""

    def tables(
        self, counts: "AnnData", reference: "AnnData | None" = None, spec: dict | None = None
    ) -> "dict[str, pd.DataFrame]":
        """Return what the type has to tell beyond its latent space, by name. Asked of types with
        `has_tables`.

        Args:
            counts: that the model was trained on or mapped to. reference: the reference's counts,
                for a mapped model. spec: settings, defaults if None.

        A table whose index is named "cell" has a row a cell; any other index is a part of a table
        to read.
        """

    def figures(self, tables: "dict[str, pd.DataFrame]") -> "dict[str, Figure]":
        """Return matplotlib figures of these tables, by name."""
        return {}


def train_again_if_not_finite(train: Callable[[dict], Model], spec: dict) -> Model:
    """Return the model that `train(spec)` returns; if its loss is not finite, of one more attempt
    with a tenth of every learning rate, and a note of it.

    Raises:
        InputError: the second attempt fails as the first did.
    """
    checkpoints = spec.get("checkpoints")
    if checkpoints is None or checkpoints.attempt == 1:
        try:
            return train(spec)
        except FloatingPointError as error:
            print(f"{error}; once more with a tenth of the learning rate", flush=True)
        if checkpoints:
            checkpoints.begin_again()
    lower = {
        name: {**part, "lr": part["lr"] / 10} if isinstance(part, dict) and "lr" in part else part
        for name, part in spec.items()
    }
    try:
        model = train(lower)
    except FloatingPointError as error:
        if checkpoints:
            checkpoints.remove()
        raise InputError(
            f"{error}, also with a tenth of the learning rate; check the counts for extreme cells, or choose other"
            " settings of the model"
        ) from error
    model.training.notes.append("the loss was not finite at first; trained again with a tenth of the learning rate")
    return model
