"""What is known of query cells: probabilities of labels by each source, and measures of novelty."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.io.atomic import atomic_path
from refatlas.transfer.label_table import names_of, probabilities


@dataclass
class Evidence:
    """What is known of some query cells.

    Attributes:
        cells: their names. labels: the reference's labels.
        sources: probabilities of the labels by each source ("model:source"), shape (n_cells,
            n_labels).
        strangeness: how unlike the reference each cell is in each model's eyes, one column a
            measure; larger is stranger.
        positions: each cell's place in the baseline's latent space, shape (n_cells, n_latent).
            groups: each cell's batch, of one split's latent space: within it, cells are
            each other's neighbours.
    """

    cells: pd.Index
    labels: list[str]
    sources: dict[str, np.ndarray]
    novelty_measures: pd.DataFrame
    positions: np.ndarray
    groups: np.ndarray

    def take(self, wanted: np.ndarray) -> "Evidence":
        """Return the part of some cells."""
        sources = {name: p[wanted] for name, p in self.sources.items()}
        return Evidence(
            self.cells[wanted],
            self.labels,
            sources,
            self.novelty_measures[wanted],
            self.positions[wanted],
            self.groups[wanted],
        )


@dataclass
class HeldOut:
    """Held-out cells to learn from, in memory and as a file: probabilities by source, the true
    labels' columns, and batches.
    """

    sources: dict[str, np.ndarray]
    truth: np.ndarray
    batches: np.ndarray

    def save(self, path: str) -> None:
        """Write them to one file, whole or not at all."""
        with atomic_path(path) as part, part.open("wb") as stream:
            np.savez_compressed(
                stream,
                truth=self.truth,
                batches=self.batches,
                **{f"source {name}": p.astype(np.float32) for name, p in self.sources.items()},
            )

    @classmethod
    def load(cls, path: str) -> "HeldOut":
        """Return what `save` wrote; no code is run by loading it."""
        with np.load(path, allow_pickle=False) as arrays:
            sources = {
                name.removeprefix("source "): arrays[name].astype(np.float64)
                for name in arrays.files
                if name.startswith("source ")
            }
            return cls(sources, arrays["truth"], arrays["batches"])


def read_evidence(
    split: str,
    batches: pd.Series,
    models: list[str],
    labels: list[str],
    distances: list[str],
    fits: list[str],
    positions: str,
    known: list[str],
) -> Evidence:
    """Return the evidence of one query out of each model's labels.parquet, distance.parquet and
    fit.parquet, and the baseline's latent.parquet.

    Args:
        batches: of the query's cells, by their names.
    """
    sources, strange, cells = {}, {}, batches.index
    for model, label_file, distance_file, fit_file in zip(models, labels, distances, fits, strict=True):
        table = pd.read_parquet(label_file)
        for source in table["source"].unique():
            sources[f"{model}:{source}"] = probabilities(table, source, known).loc[cells].to_numpy()
        for name, values in {**pd.read_parquet(distance_file), **pd.read_parquet(fit_file)}.items():
            strange[f"{model}:{name}"] = values.loc[cells].to_numpy()
    places, groups = (
        pd.read_parquet(positions).loc[cells].to_numpy(),
        (f"{split} " + batches.astype(str)).to_numpy(dtype=str),
    )
    return Evidence(cells, known, sources, pd.DataFrame(strange, index=cells), places, groups)


def stack(parts: list[Evidence]) -> Evidence:
    """Return the evidence of several queries as one."""
    first = parts[0]
    sources = {name: np.vstack([part.sources[name] for part in parts]) for name in first.sources}
    cells, strange = pd.Index(np.concatenate([p.cells for p in parts])), pd.concat([p.novelty_measures for p in parts])
    # Latent spaces of splits may differ in dimensions, where a reference is tiny.
    width = max(p.positions.shape[1] for p in parts)
    positions = np.vstack([np.pad(p.positions, ((0, 0), (0, width - p.positions.shape[1]))) for p in parts])
    return Evidence(cells, first.labels, sources, strange, positions, np.concatenate([p.groups for p in parts]))


def known_labels(tables: list[str]) -> list[str]:
    """Return all labels that any of these labels.parquet has probabilities of."""
    import pyarrow.parquet as pq

    return sorted({name for path in tables for name in names_of(pd.DataFrame(columns=pq.read_schema(path).names))})
