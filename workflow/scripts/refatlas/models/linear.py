"""The baseline: PCA of log-normalised counts, and logistic regression on the genes.

The principal components are the latent space, the regression is the classifier. A query changes
neither.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from refatlas.models.interface import JobContext, Settings, SettingsSchema, Training
from refatlas.models.typed_counts import cell_column, count_matrix

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


class Linear:
    """Type linear: deterministic, fitted in closed form, without a GPU.

    Attributes:
        arrays: components (n_latent, n_genes), mean (n_genes,), coef (n_labels, n_genes), intercept
            (n_labels,), labels, batches. Without labels, the regression's are missing.
        training: a record without epochs.
    """

    settings: ClassVar[SettingsSchema] = {
        "model": {
            "n_latent": {"description": "principal components", "type": "integer", "minimum": 2, "default": 30},
            "C": {
                "description": "inverse strength of the logistic regression's penalty",
                "type": "number",
                "exclusiveMinimum": 0,
                "default": 0.1,
            },
            "max_cells": {
                "description": "most reference cells that PCA and regression are fitted to, drawn evenly",
                "type": "integer",
                "minimum": 100,
                "default": 50000,
            },
        },
    }

    def __init__(self, arrays: dict[str, np.ndarray], training: Training | None = None) -> None:
        self.arrays = arrays
        self.training = training or Training()

    @classmethod
    def fit(cls, counts: "AnnData", settings: Settings, job: JobContext, base: Any = None) -> "Linear":
        """Return PCA and logistic regression fitted to the reference."""
        from sklearn.decomposition import PCA

        from refatlas.io.row_reader import take_rows
        from refatlas.prepare.normalization import log_normalized
        from refatlas.transfer.logistic import fit_logistic

        model, random = settings["model"], np.random.default_rng(job.seed)
        drawn = np.sort(random.permutation(counts.n_obs)[: model["max_cells"]])
        x = log_normalized(take_rows(counts.X, drawn))
        n_latent = min(model["n_latent"], min(x.shape) - 1)
        pca = PCA(n_latent, svd_solver="arpack", random_state=job.seed).fit(x)
        arrays = {
            "components": pca.components_,
            "mean": pca.mean_,
            "batches": np.unique(cell_column(counts, "batch").to_numpy(dtype=str)),
        }
        if "label" in counts.obs and counts.obs["label"].notna().any():
            arrays |= fit_logistic(x, counts.obs["label"].iloc[drawn], model["C"])
        return cls(arrays)

    @classmethod
    def load(cls, file: Path, counts: "AnnData | None" = None) -> "Linear":
        """Return the model saved in a file; loading runs no code of the file."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(dict(arrays))

    def save(self, file: Path) -> None:
        """Write the model's arrays to one file, atomically."""
        from refatlas.io.atomic import atomic_path

        arrays: dict[str, Any] = self.arrays
        with atomic_path(str(file)) as part, part.open("wb") as stream:
            np.savez(stream, **arrays)

    def latent(self, counts: "AnnData") -> np.ndarray:
        """Return the principal components, shape (n_cells, n_latent), float32."""
        from refatlas.io.row_reader import row_blocks
        from refatlas.prepare.normalization import log_normalized

        components = self.arrays["components"]
        mean = self.arrays["mean"] @ components.T
        return np.concatenate(
            [
                np.asarray(log_normalized(block) @ components.T - mean, dtype=np.float32)
                for block in row_blocks(counts.X)
            ]
        )

    def map_query(self, counts: "AnnData", settings: Settings, job: JobContext) -> "Linear":
        """Return the same projection, which knows the query's batches too."""
        batches = np.union1d(self.arrays["batches"], cell_column(counts, "batch").to_numpy(dtype=str))
        return Linear({**self.arrays, "batches": batches}, Training(notes=["projected; nothing was trained"]))

    def predict(self, counts: "AnnData") -> "pd.DataFrame | None":
        """Return label probabilities, shape (n_cells, n_labels), or None without labels."""
        import pandas as pd

        from refatlas.io.row_reader import row_blocks
        from refatlas.prepare.normalization import log_normalized
        from refatlas.transfer.logistic import apply_logistic

        if "coef" not in self.arrays:
            return None
        shares = np.concatenate([apply_logistic(self.arrays, log_normalized(block)) for block in row_blocks(counts.X)])
        return pd.DataFrame(shares, index=counts.obs_names, columns=self.arrays["labels"])

    def expected(self, counts: "AnnData") -> np.ndarray:
        """Return what the principal components retain of each cell, shape (n_cells, n_genes).

        Values are counts at the cell's own depth.
        """
        values = np.expm1(np.clip(self.latent(counts) @ self.arrays["components"] + self.arrays["mean"], 0, None))
        depth = np.asarray(count_matrix(counts).sum(axis=1))
        return values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12) * depth

    def batches(self) -> list[str]:
        """Return the batches that the model knows."""
        return [str(b) for b in self.arrays["batches"]]
