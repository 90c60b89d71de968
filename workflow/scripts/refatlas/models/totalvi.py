"""totalVI (Gayoso 2021): one latent space of RNA and proteins, with query mapping by surgery.

Proteins that were not measured are imputed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import scvi
from anndata import AnnData

from refatlas.models.denoised_proteins import OF_REFERENCE, denoised_tables, measured_proteins
from refatlas.models.hidden_proteins import HIDDEN, start_from_hidden, with_hidden_proteins
from refatlas.models.interface import JobContext, Settings
from refatlas.models.library_patches.scvi_tools import skip_library_sizes
from refatlas.models.recorder import training_of, with_max_epochs
from refatlas.models.scvi_base import ScviToolsModel, registered_batches
from refatlas.models.scvi_settings import TOTALVI, TOTALVI_OUTPUTS
from refatlas.models.scvi_training import start_training, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TotalVI(ScviToolsModel):
    """Type totalvi."""

    settings = TOTALVI
    scvi_class = scvi.model.TOTALVI
    setup = {"protein_expression_obsm_key": "proteins", "protein_names_uns_key": "protein_names"}  # noqa: RUF012

    @classmethod
    def fit(cls, counts: AnnData, settings: Settings, job: JobContext, base: Any = None) -> "TotalVI":
        """Return a model trained on RNA and proteins of the reference; labels are not read."""
        device = start_training(job)
        shown = with_hidden_proteins(counts, settings["train"]["hide_proteins"], job.seed)
        scvi.model.TOTALVI.setup_anndata(shown, batch_key="batch", **cls.setup)
        with skip_library_sizes():
            model = scvi.model.TOTALVI(shown, **architecture(settings["model"]))
        section = with_max_epochs(settings["train"], counts.n_obs)
        recorder = train(model, section, "totalvi", on_reference=True, job=job)
        return cls(model, training_of([recorder], device))

    @classmethod
    def load(cls, file: Path, counts: AnnData) -> Self:
        """Return the model saved in a file, with the counts that it was trained on or mapped to."""
        with skip_library_sizes():
            return super().load(file, counts)

    def batches(self) -> list[str]:
        """Return the batches that the model knows, without those of hidden proteins."""
        return [batch for batch in super().batches() if not batch.endswith(HIDDEN)]

    def query_model(self, counts: AnnData, settings: Settings | None = None) -> Any:
        """Return an untrained model of scvi-tools with weights for the query's batches."""
        measured = measured_proteins(counts).any(axis=1)
        with skip_library_sizes():
            query = super().query_model(counts, settings)
        start_from_hidden(
            query.module.state_dict(),
            self.model.module.state_dict(),
            registered_batches(query),
            registered_batches(self.model),
            list(measured.index[~measured]),
        )
        return query

    def expected(self, counts: AnnData) -> np.ndarray:
        """Return the decoder's mean of RNA at each cell's own depth and batch.

        Its shape is (n_cells, n_genes).
        """
        return self.model.get_normalized_expression(counts, library_size="latent", return_numpy=True)[0]

    def tables(
        self, counts: AnnData, reference: AnnData | None = None, settings: Settings | None = None
    ) -> dict[str, pd.DataFrame]:
        """Return `proteins` (imputed where not measured), `protein_facts`, and `rna` on request."""
        defaults = {name: setting["default"] for name, setting in TOTALVI_OUTPUTS.items()}
        outputs = settings["outputs"] if settings else defaults
        if reference is not None and OF_REFERENCE not in reference.uns:
            print(
                "the atlas does not say what all its batches measured (bundles do since 0.9.1): batches and shares are"
                " those of a sample of its cells, and proteins may be on another scale than those of the reference"
            )
        return denoised_tables(self.model, counts, counts if reference is None else reference, outputs)

    def figures(self, tables: dict[str, pd.DataFrame]) -> "dict[str, Figure]":
        """Return no figures."""
        return {}


def architecture(settings: Settings) -> dict[str, Any]:
    """Return totalVI's arguments for the section `model`, and those that surgery needs.

    Surgery needs layer norm, and the batch given to the encoder.
    """
    layers, dropout = settings["n_layers"], settings["dropout_rate"]
    return {
        "n_latent": settings["n_latent"],
        "n_hidden": settings["n_hidden"],
        "gene_likelihood": settings["gene_likelihood"],
        "n_layers_encoder": layers,
        "n_layers_decoder": layers,
        "dropout_rate_encoder": dropout,
        "dropout_rate_decoder": dropout,
        "use_layer_norm": "both",
        "use_batch_norm": "none",
        "encode_covariates": True,
    }
