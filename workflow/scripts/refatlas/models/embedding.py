"""A latent space that was made elsewhere, by a foundation model, Harmony or anything else, as one more model.

Nothing is trained. Its cells are placed where the users' files say, and all else is as for other models: labels by its
neighbours, scores on held-out batches, calibration, UMAP and clusters. So it is compared with them on the same cells.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from refatlas.errors import InputError
from refatlas.models.array_model import ArrayModel, at_depth, batches_of, drawn_rows
from refatlas.models.interface import JobContext, Settings, SettingsSchema, Training
from refatlas.prepare.embeddings import require_same_dimensions

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

# Where the counts that this type gets have the embedding.
EMBEDDING = "embedding"
# Cells that are rotated at once, in double precision.
BLOCK = 20_000
# Inverse strength of the penalty of the regression of expression on the embedding, by cell.
PENALTY = 1e-3


class Embedding(ArrayModel):
    """Type embedding: deterministic, without a GPU.

    Attributes:
        arrays: mean (n_dimensions,), axes (n_latent, n_dimensions), and the regression of log-normalised expression on
            the latent space, coef (n_latent + 1, n_genes), whose last row is the intercept; batches.
        training: a record without epochs.
    """

    settings: ClassVar[SettingsSchema] = {
        "model": {
            "key": {
                "description": "its name in obsm of every dataset and query, such as X_uce",
                "type": "string",
                "minLength": 1,
                "default": EMBEDDING,
            },
            "n_latent": {
                "description": "principal components that are kept of an embedding with more dimensions",
                "type": "integer",
                "minimum": 2,
                "default": 50,
            },
            "max_cells": {
                "description": "most reference cells that PCA and regression are fitted to",
                "type": "integer",
                "minimum": 100,
                "default": 50000,
            },
        },
    }

    @classmethod
    def fit(cls, counts: "AnnData", settings: Settings, job: JobContext, base: Any = None) -> "Embedding":
        """Return the rotation of an embedding, and the regression of expression on it."""
        from refatlas.io.row_reader import take_rows
        from refatlas.prepare.normalization import log_normalized

        model = settings["model"]
        drawn = drawn_rows(counts.n_obs, model["max_cells"], job.seed)
        values = np.asarray(embedding_of(counts)[drawn], dtype=np.float64)
        mean, axes = _rotation(values, model["n_latent"], job.seed)
        latent = (values - mean) @ axes.T
        with_one = np.column_stack([latent, np.ones(len(drawn))])
        x = log_normalized(take_rows(counts.X, drawn))
        squares = with_one.T @ with_one
        penalty = PENALTY * len(drawn) * np.diag([*latent.var(axis=0), 0.0])
        arrays = {
            "mean": mean,
            "axes": axes,
            "coef": np.linalg.lstsq(squares + penalty, (x.T @ with_one).T, rcond=None)[0],
            "batches": batches_of(counts),
        }
        note = f"{values.shape[1]} dimensions of {model['key']}, of which {len(axes)} are kept; nothing was trained"
        return cls(arrays, Training(notes=[note]))

    def latent(self, counts: "AnnData") -> np.ndarray:
        """Return the embedding, rotated and without its last components, shape (n_cells, n_latent), float32."""
        values, mean, axes = embedding_of(counts), self.arrays["mean"], self.arrays["axes"]
        found = np.empty((len(values), len(axes)), dtype=np.float32)
        for start in range(0, len(values), BLOCK):
            found[start : start + BLOCK] = (values[start : start + BLOCK] - mean) @ axes.T
        return found

    def map_query(self, counts: "AnnData", settings: Settings, job: JobContext) -> "Embedding":
        """Return the same model, which knows the query's batches too.

        Raises:
            InputError: the query's embedding has another number of dimensions.
        """
        found, wanted = embedding_of(counts).shape[1], len(self.arrays["mean"])
        if found != wanted:
            raise InputError(
                f"the embedding of the query has {found} dimensions, and that of the reference {wanted}; compute both"
                " by the same model"
            )
        return self.with_batches_of(counts, "as it was computed elsewhere")

    def predict(self, counts: "AnnData") -> "pd.DataFrame | None":
        """Return None: there is no classifier."""
        return None

    def expected(self, counts: "AnnData") -> np.ndarray:
        """Return what a linear regression on the embedding says of each cell, shape (n_cells, n_genes).

        Values are counts at the cell's own depth.
        """
        coef = self.arrays["coef"]
        return at_depth(self.latent(counts) @ coef[:-1] + coef[-1], counts)


def embedding_of(counts: "AnnData") -> np.ndarray:
    """Return the embedding of cells, shape (n_cells, n_dimensions), float32."""
    found: np.ndarray = counts.obsm[EMBEDDING]
    return found


def attach_embedding(counts: "AnnData", paths: Mapping[str, str]) -> None:
    """Add the embedding of cells to their counts, in place.

    Args:
        counts: of cells.
        paths: by dataset, of tables of embeddings, cells × dimensions, that together have all of them.

    Raises:
        InputError: two datasets have different numbers of dimensions.
    """
    import pandas as pd

    first: dict[str, int] = {}
    found, missing = np.empty((0, 0), dtype=np.float32), np.ones(counts.n_obs, dtype=bool)
    # One table at a time: together they may be larger than the counts.
    for name, path in paths.items():
        table = pd.read_parquet(path)
        require_same_dimensions(table.shape[1], first, f"dataset {name!r}")
        if not first:
            first, found = {name: table.shape[1]}, np.empty((counts.n_obs, table.shape[1]), dtype=np.float32)
        rows = counts.obs_names.get_indexer(table.index)
        found[rows[rows >= 0]] = table.to_numpy(dtype=np.float32)[rows >= 0]
        missing[rows[rows >= 0]] = False
    if missing.any():
        raise KeyError(f"{missing.sum()} cells, such as {counts.obs_names[missing][0]}, have no embedding")
    counts.obsm[EMBEDDING] = found


def _rotation(values: np.ndarray, n_latent: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of an embedding and the axes that are kept; all of its own if these are not too many."""
    from sklearn.decomposition import PCA

    if values.shape[1] <= n_latent:
        return values.mean(axis=0), np.eye(values.shape[1])
    pca = PCA(min(n_latent, len(values) - 1), svd_solver="randomized", random_state=seed).fit(values)
    return pca.mean_, pca.components_
