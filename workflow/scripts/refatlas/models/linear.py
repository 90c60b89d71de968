"""The baseline: PCA of log-normalised counts as latent space, logistic regression on the genes as
classifier. A query changes nothing in it.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np

from refatlas.models.interface import Training


class Linear:
    """Type linear: deterministic, trained in closed form, without a GPU.

    Attributes:
        arrays: components (n_latent, n_genes), mean (n_genes,), coef (n_labels, n_genes), intercept
            (n_labels,), labels, batches.
    """

    settings: ClassVar[dict[str, dict]] = {
        "model": {
            "n_latent": {"description": "principal components", "type": "integer", "minimum": 2, "default": 30},
            "C": {
                "description": "inverse strength of the logistic regression's penalty",
                "type": "number",
                "exclusiveMinimum": 0,
                "default": 0.1,
            },
            "max_cells": {
                "description": "at most so many reference cells fit the two models, drawn evenly",
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
    def fit(cls, counts, spec: dict, base=None) -> "Linear":
        """Return PCA and logistic regression fitted to the reference."""
        from sklearn.decomposition import PCA

        from refatlas.io.row_reader import take_rows
        from refatlas.prepare.normalization import log_normalized
        from refatlas.transfer.logistic import fit_logistic

        settings, random = spec["model"], np.random.default_rng(spec["seed"])
        drawn = np.sort(random.permutation(counts.n_obs)[: settings["max_cells"]])
        x = log_normalized(take_rows(counts.X, drawn))
        n_latent = min(settings["n_latent"], min(x.shape) - 1)
        pca = PCA(n_latent, svd_solver="arpack", random_state=spec["seed"]).fit(x)
        arrays = {
            "components": pca.components_,
            "mean": pca.mean_,
            "batches": np.unique(counts.obs["batch"].to_numpy(dtype=str)),
        }
        if "label" in counts.obs and counts.obs["label"].notna().any():
            arrays |= fit_logistic(x, counts.obs["label"].iloc[drawn], settings["C"])
        return cls(arrays)

    @classmethod
    def load(cls, file: Path, counts=None) -> "Linear":
        """Return the model saved in a file; no code is run by loading it."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(dict(arrays))

    def save(self, file: Path) -> None:
        """Write the model's arrays to one file."""
        from refatlas.io.atomic import atomic_path

        with atomic_path(str(file)) as part, part.open("wb") as stream:
            np.savez(stream, **self.arrays)

    def latent(self, counts) -> np.ndarray:
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

    def map_query(self, counts, spec: dict) -> "Linear":
        """Return the same projection with the query's batches noted."""
        batches = np.union1d(self.arrays["batches"], counts.obs["batch"].to_numpy(dtype=str))
        return Linear({**self.arrays, "batches": batches}, Training(notes=["projected; nothing was trained"]))

    def predict(self, counts):
        """Return the regression's probability of each label, shape (n_cells, n_labels), or None
        without labels.
        """
        import pandas as pd

        from refatlas.io.row_reader import row_blocks
        from refatlas.prepare.normalization import log_normalized
        from refatlas.transfer.logistic import apply_logistic

        if "coef" not in self.arrays:
            return None
        shares = np.concatenate([apply_logistic(self.arrays, log_normalized(block)) for block in row_blocks(counts.X)])
        return pd.DataFrame(shares, index=counts.obs_names, columns=self.arrays["labels"])

    def expected(self, counts) -> np.ndarray:
        """Return what the principal components leave of each cell, as counts at its own depth,
        shape (n_cells, n_genes).
        """
        values = np.expm1(np.clip(self.latent(counts) @ self.arrays["components"] + self.arrays["mean"], 0, None))
        depth = np.asarray(counts.X.sum(axis=1))
        return values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12) * depth

    def batches(self) -> list[str]:
        """Return the batches that were seen."""
        return [str(b) for b in self.arrays["batches"]]
