"""Changes of expression between two sides of cells, by a trained model of scvi-tools (Boyeau 2019; Lopez 2018).

Importing it takes 10 to 30 s.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch

from refatlas.io.atomic import read_json
from refatlas.models.denoised_proteins import measured_proteins
from refatlas.models.expression import CELL_COUNTS, MINIBATCH, CellBlocks
from refatlas.models.model_files import description_file, load_model

# As scvi-tools names the proteins of totalVI beside its genes.
PROTEIN = "_protein"


class MarkerModel:
    """Compares cells by a trained model of type scvi, scanvi, drvi or totalvi, reading the compared cells alone.

    Args:
        file: model.pt of the reference.
        counts: path of the counts, whose obs may have labels that the model has not seen.
        settings: n_samples, delta, fdr and batch_correction of the section `differential.markers`.

    Attributes:
        cells: of the reference, which stay in their file.
    """

    def __init__(self, file: str, counts: str, settings: dict[str, Any]) -> None:
        self.kind, self.settings = read_json(description_file(file))["type"], settings
        self.cells = CellBlocks(counts)
        self.model = load_model(self.kind, file, self.cells.take(np.arange(min(2, len(self.cells.obs)))))
        self.batches = {"rna": self.model.batches()}
        if self.kind == "totalvi":
            measured = measured_proteins(self.cells.counts).any(axis=1)
            self.batches["proteins"] = [b for b in self.batches["rna"] if measured.get(b, False)]

    def rows_of(self, features: str) -> np.ndarray:
        """Return whether each cell takes part: in a test of proteins, those of batches that measured any."""
        return self.cells.obs["batch"].astype(str).isin(self.batches[features]).to_numpy()

    def compare(self, features: str, rows: np.ndarray, rest: np.ndarray, seed: int) -> pd.DataFrame:
        """Return the change of every gene or protein from the cells `rest` to the cells `rows`.

        Both sides are draws of cells and of their posteriors, paired at random, within the same batch where batches
        are corrected for. So the spread between the cells of a side counts, as scvi-tools has it.

        Args:
            features: "rna", or "proteins" for totalvi.
            rows, rest: of the cells of both sides.
            seed: of the draws from the posterior.

        Returns:
            One row per feature in the model's order, indexed by its name: log2_fold_change (median over pairs),
            probability (that the change is beyond delta, in the likelier direction), differs (called at the expected
            FDR), mean_in and mean_out (RNA for 10,000 counts a cell; proteins as the model has them, without
            background).
        """
        cells = self.cells.take(np.concatenate([rows, rest]))
        torch.manual_seed(seed)
        # scvi-tools draws cells from NumPy's global generator.
        np.random.seed(seed)  # noqa: NPY002
        found = self.model.model.differential_expression(
            self.model.registered(cells), **self._options(features, np.arange(cells.n_obs) < len(rows))
        )
        # Otherwise the model would keep every cell that it has seen.
        self.model.model.deregister_manager()
        scale = CELL_COUNTS if features == "rna" else 1.0
        found = pd.DataFrame(
            {
                "log2_fold_change": found["lfc_median"],
                "probability": found["proba_de"],
                "differs": found[f"is_de_fdr_{self.settings['fdr']}"],
                "mean_in": found["scale1"] * scale,
                "mean_out": found["scale2"] * scale,
            }
        )
        if features == "proteins":
            found.index = found.index.str.removesuffix(PROTEIN)
        return found.loc[self.names(features)]

    def names(self, features: str) -> list[str]:
        """Return the genes or proteins of the model, in its order."""
        if features == "rna":
            return list(map(str, self.cells.var.index))
        return list(map(str, self.model.model.protein_state_registry.column_names))

    def _options(self, features: str, in_group: np.ndarray) -> dict[str, Any]:
        batches = self.batches[features] if self.settings["batch_correction"] else None
        options: dict[str, Any] = {
            "idx1": in_group,
            "idx2": ~in_group,
            "mode": "change",
            "delta": self.settings["delta"],
            "fdr_target": self.settings["fdr"],
            "batch_correction": self.settings["batch_correction"],
            "batchid1": batches,
            "batchid2": batches,
            "n_samples_overall": self.settings["n_samples"],
            "batch_size": MINIBATCH,
            "all_stats": False,
            "silent": True,
        }
        # Importance weights take more memory than there is: over 11 GB for 4,000 cells.
        fields = {"rna": ["rna"], "proteins": ["protein"]}
        return options | ({"use_field": fields[features]} if self.kind == "totalvi" else {"weights": "uniform"})
