"""Evidence on query cells: probabilities of labels by each source, and measures of novelty."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refatlas.io.atomic import atomic_path
from refatlas.transfer.label_table import labels_of_table, probabilities

# Paths of each model's results, by the kind of file.
ModelFiles = Mapping[str, Mapping[str, str]]


@dataclass
class Evidence:
    """Evidence on the cells of one or several queries.

    Attributes:
        cells: names of the cells.
        labels: the reference's labels.
        sources: probabilities of the labels by each source ("model:source"), shape (n_cells,
            n_labels).
        novelty_measures: how unlike the reference each cell is, one column per model and measure
            ("model:measure"); larger means less alike.
        positions: the cells in the baseline's latent space, shape (n_cells, n_latent).
        groups: batch of each cell, together with its split. Neighbours are searched within a group,
            because the latent spaces of splits differ.
    """

    cells: pd.Index
    labels: list[str]
    sources: dict[str, np.ndarray]
    novelty_measures: pd.DataFrame
    positions: np.ndarray
    groups: np.ndarray

    def take(self, mask: np.ndarray) -> "Evidence":
        """Return the evidence on the cells where `mask` is true."""
        return Evidence(
            self.cells[mask],
            self.labels,
            {name: p[mask] for name, p in self.sources.items()},
            self.novelty_measures[mask],
            self.positions[mask],
            self.groups[mask],
        )


@dataclass
class HeldOut:
    """Held-out cells with known labels, from which calibration and pooling are learned.

    Attributes:
        sources: probabilities of the labels by each source, shape (n_cells, n_labels).
        truth: column of each cell's true label, shape (n_cells,).
        batches: batch of each cell, shape (n_cells,).
    """

    sources: dict[str, np.ndarray]
    truth: np.ndarray
    batches: np.ndarray

    def save(self, path: str | Path) -> None:
        """Write the cells to an npz file, atomically; probabilities are stored in single precision."""
        arrays: dict[str, Any] = {f"source {name}": p.astype(np.float32) for name, p in self.sources.items()}
        with atomic_path(path) as part, part.open("wb") as stream:
            np.savez_compressed(stream, truth=self.truth, batches=self.batches, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "HeldOut":
        """Return the cells that `save` wrote, without unpickling."""
        with np.load(path, allow_pickle=False) as arrays:
            sources = {
                name.removeprefix("source "): arrays[name].astype(np.float64)
                for name in arrays.files
                if name.startswith("source ")
            }
            return cls(sources, arrays["truth"], arrays["batches"])


def read_evidence(split: str, batches: pd.Series, models: ModelFiles, positions: str, known: list[str]) -> Evidence:
    """Return the evidence on the cells of one query.

    Args:
        split: name of the split whose reference the query was mapped onto.
        batches: batch of each cell, indexed by the cells' names.
        models: of each model, paths of labels.parquet ("labels"), distance.parquet ("distance") and
            fit.parquet ("fit"). Their order is that of the sources.
        positions: path of the baseline's latent.parquet of the query.
        known: labels of the reference.
    """
    sources, measures, cells = {}, {}, batches.index
    for model, files in models.items():
        table = pd.read_parquet(files["labels"])
        for source in table["source"].unique():
            sources[f"{model}:{source}"] = probabilities(table, source, known).loc[cells].to_numpy()
        for name, values in {**pd.read_parquet(files["distance"]), **pd.read_parquet(files["fit"])}.items():
            measures[f"{model}:{name}"] = values.loc[cells].to_numpy()
    return Evidence(
        cells,
        known,
        sources,
        pd.DataFrame(measures, index=cells),
        pd.read_parquet(positions).loc[cells].to_numpy(),
        (f"{split} " + batches.astype(str)).to_numpy(dtype=str),
    )


def stack_evidence(parts: Sequence[Evidence]) -> Evidence:
    """Return the evidence on several queries as one; all have the same sources and labels."""
    first = parts[0]
    # The latent spaces of splits may differ in dimensions if a reference is tiny.
    width = max(part.positions.shape[1] for part in parts)
    return Evidence(
        pd.Index(np.concatenate([part.cells for part in parts])),
        first.labels,
        {name: np.vstack([part.sources[name] for part in parts]) for name in first.sources},
        pd.concat([part.novelty_measures for part in parts]),
        np.vstack([np.pad(p.positions, ((0, 0), (0, width - p.positions.shape[1]))) for p in parts]),
        np.concatenate([part.groups for part in parts]),
    )


def known_labels(paths: Iterable[str]) -> list[str]:
    """Return all labels for which any of these labels.parquet has probabilities, sorted."""
    import pyarrow.parquet as pq

    columns = [pd.DataFrame(columns=pq.read_schema(path).names) for path in paths]
    return sorted({label for table in columns for label in labels_of_table(table)})
