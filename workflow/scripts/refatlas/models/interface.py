"""What every model type offers: training, query mapping, and a record of how training went."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from refatlas.errors import InputError
from refatlas.models.checkpoints import Checkpoints

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure

# A model's entry in the config: its type, and sections of settings such as `model` and `train`.
Settings = dict[str, Any]
# The JSON schema of sections, by section and setting.
SettingsSchema = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class JobContext:
    """What the job that trains a model decides, rather than the model's settings.

    Attributes:
        seed: of all random numbers.
        threads: CPU threads.
        checkpoints: where training is saved and continued; by default it is not saved.
    """

    seed: int = 0
    threads: int = 1
    checkpoints: Checkpoints = field(default_factory=Checkpoints)


@dataclass
class Training:
    """The course of one training.

    Attributes:
        history: one row per epoch: stage, epoch, seconds, cells_per_second, and the type's losses.
        monitor: column of `history` that early stopping watched; None if there were no epochs.
        converged: whether the monitored loss stopped falling before the last epoch.
        device: "cpu", or the GPU's name.
        mean_shift: for a mapping, the mean distance that surgery moved the query's cells in the
            latent space.
        notes: what a reader should know, in sentences.
    """

    history: "pd.DataFrame" = field(default_factory=lambda: _no_epochs())
    monitor: str | None = None
    converged: bool = True
    device: str = "cpu"
    mean_shift: float | None = None
    notes: list[str] = field(default_factory=list)

    def final_loss(self) -> float | None:
        """Return the monitored loss of the last epoch, or None if there is none."""
        return None if self.monitor is None or self.history.empty else float(self.history[self.monitor].iloc[-1])


def _no_epochs() -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(columns=["stage", "epoch", "seconds", "cells_per_second"])


class Model(Protocol):
    """A reference model, or one that a query was mapped to.

    `counts` is an AnnData of cells × the reference's genes in the reference's order: integer counts
    in X (CSR), `batch` in obs, and for a reference `label`, which is missing for unlabeled cells.
    A query's obs has no labels.
    """

    settings: ClassVar[SettingsSchema]
    training: Training

    @classmethod
    def fit(cls, counts: "AnnData", settings: Settings, job: JobContext, base: Any = None) -> Self:
        """Return a model trained on the reference; `base` is the model that init_from names."""
        ...

    @classmethod
    def load(cls, file: Path, counts: "AnnData") -> Self:
        """Return the model saved in a file, with the counts that it was trained on or mapped to."""
        ...

    def save(self, file: Path) -> None:
        """Write the model to one file."""
        ...

    def latent(self, counts: "AnnData") -> "np.ndarray":
        """Return the latent space, shape (n_cells, n_latent), float32."""
        ...

    def map_query(self, counts: "AnnData", settings: Settings, job: JobContext) -> Self:
        """Return a model that knows the query's batches; this one does not change."""
        ...

    def predict(self, counts: "AnnData") -> "pd.DataFrame | None":
        """Return label probabilities, shape (n_cells, n_labels), or None without a classifier."""
        ...

    def expected(self, counts: "AnnData") -> "np.ndarray":
        """Return expected counts for posterior predictive checks, shape (n_cells, n_genes)."""
        ...

    def batches(self) -> list[str]:
        """Return the batches that the model knows."""
        ...


class ModelWithTables(Model, Protocol):
    """A model of a type with `has_tables`: it has results beyond its latent space."""

    def tables(
        self, counts: "AnnData", reference: "AnnData | None" = None, settings: Settings | None = None
    ) -> "dict[str, pd.DataFrame]":
        """Return the type's own tables by name.

        A table whose index is named "cell" has one row per cell; any other is small.

        Args:
            counts: that the model was trained on or mapped to.
            reference: the reference's counts, for a mapped model.
            settings: of which the section `outputs` is read; None for the defaults.
        """
        ...

    def figures(self, tables: "dict[str, pd.DataFrame]") -> "dict[str, Figure]":
        """Return matplotlib figures of these tables, by name."""
        ...


class PretrainableModel(Model, Protocol):
    """A model of a type that can be taken from stock scvi-tools or scArches instead of trained."""

    @classmethod
    def from_pretrained(cls, saved: dict[str, Any], counts: "AnnData", where: str) -> Self:
        """Return a pretrained model, read by `saved_models.read_pretrained`, as the reference model."""
        ...


def train_again_if_not_finite[T: Model](
    train: Callable[[Settings], T], settings: Settings, checkpoints: Checkpoints, again: bool = True
) -> T:
    """Return the model that `train(settings)` returns.

    If its loss is not finite, train once more with a tenth of every learning rate, and note it.

    Raises:
        InputError: the loss of the second attempt is not finite either.
        FloatingPointError: the loss is not finite, and there is no second attempt because `again` is false.
    """
    if not again:
        return train(settings)
    if checkpoints.attempt == 1:
        try:
            return train(settings)
        except FloatingPointError as error:
            print(f"{error}; training again with a tenth of the learning rate", flush=True)
        checkpoints.begin_again()
    try:
        model = train(_with_lower_rates(settings))
    except FloatingPointError as error:
        checkpoints.remove()
        raise InputError(
            f"{error}, also with a tenth of the learning rate; check the counts for extreme cells, or choose other"
            " settings of the model"
        ) from error
    model.training.notes.append("the loss was not finite at first; trained again with a tenth of the learning rate")
    return model


def _with_lower_rates(settings: Settings) -> Settings:
    return {
        name: {**part, "lr": part["lr"] / 10} if isinstance(part, dict) and "lr" in part else part
        for name, part in settings.items()
    }
