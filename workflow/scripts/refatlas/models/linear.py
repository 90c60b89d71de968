"""The baseline: PCA of log-normalised counts, and logistic regression on the genes.

The principal components are the latent space, the regression is the classifier. A query changes
neither.
"""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from refatlas.models.array_model import ArrayModel, at_depth, batches_of, drawn_rows
from refatlas.models.interface import JobContext, Settings, SettingsSchema

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


class Linear(ArrayModel):
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

    @classmethod
    def fit(cls, counts: "AnnData", settings: Settings, job: JobContext, base: Any = None) -> "Linear":
        """Return PCA and logistic regression fitted to the reference."""
        from sklearn.decomposition import PCA

        from refatlas.io.row_reader import take_rows
        from refatlas.prepare.normalization import log_normalized
        from refatlas.transfer.logistic import fit_logistic

        model = settings["model"]
        drawn = drawn_rows(counts.n_obs, model["max_cells"], job.seed)
        x = log_normalized(take_rows(counts.X, drawn))
        n_latent = min(model["n_latent"], min(x.shape) - 1)
        pca = PCA(n_latent, svd_solver="arpack", random_state=job.seed).fit(x)
        arrays = {
            "components": pca.components_,
            "mean": pca.mean_,
            "batches": batches_of(counts),
        }
        if "label" in counts.obs and counts.obs["label"].notna().any():
            arrays |= fit_logistic(x, counts.obs["label"].iloc[drawn], model["C"])
        return cls(arrays)

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
        return self.with_batches_of(counts, "projected; nothing was trained")

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
        return at_depth(self.latent(counts) @ self.arrays["components"] + self.arrays["mean"], counts)
