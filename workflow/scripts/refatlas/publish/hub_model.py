"""A reference model in the format of scvi-hub, which `scvi.hub.HubModel` loads (Ergen 2024).

Importing it takes 10 to 30 s.
"""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scvi.hub
from anndata import AnnData

import refatlas
from refatlas.io.atomic import atomic_path, write_json, write_text
from refatlas.models.scvi_base import ScviToolsModel
from refatlas.publish.bundle_files import CARD

METADATA = "_scvi_required_metadata.json"
KEPT_COLUMNS = ("batch", "label")


def write_hub_model(model: ScviToolsModel, name: str, folder: Path) -> None:
    """Write model.pt, adata.h5ad, the metadata and the card of a model into a folder.

    adata.h5ad has the mean and the variance of each cell's latent posterior, its batch, its label and
    its total count. It has no counts of genes or proteins.

    Args:
        model: with the counts that it was trained on.
        name: of the model, for the card.
        folder: is replaced.
    """
    minify(model.model)
    with atomic_path(folder) as part:
        model.model.save(str(part), overwrite=True, save_anndata=True)
        facts = {"local_dir": str(part), "anndata_version": version("anndata")}
        write_json(asdict(scvi.hub.HubMetadata.from_dir(**facts)), part / METADATA)
        annotated = "label" in model.model.adata.obs and bool(model.model.adata.obs["label"].notna().any())
        card = scvi.hub.HubModelCardHelper.from_dir(
            **facts,
            license_info="unknown",
            data_modalities=["rna", *(["protein"] if "proteins" in model.model.adata.obsm else [])],
            data_is_annotated=annotated,
            data_is_minified=True,
            description=f"Model {name} of this reference atlas, trained by refatlas {refatlas.__version__}.",
            references="See the citation of the atlas.",
        )
        write_text(card.model_card.content, part / CARD)


def minify(model: Any) -> None:
    """Replace the counts of a model of scvi-tools by the latent posterior of their cells.

    Columns other than batch and label, and what refatlas keeps beside the counts, are left out.
    """
    mean, variance = model.get_latent_representation(return_dist=True)
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = mean, variance
    model.minify_adata()
    keep_registered(model.adata)


def keep_registered(minified: AnnData) -> None:
    """Remove from minified data what the model does not register, and set the counts of proteins to 0."""
    for column in [c for c in minified.obs if c not in KEPT_COLUMNS and "scvi" not in c and "observed_lib_size" not in c]:
        del minified.obs[column]
    for key in ("X_latent_qzm", "X_latent_qzv"):
        del minified.obsm[key]
    if "proteins" in minified.obsm:
        minified.obsm["proteins"] = np.zeros_like(minified.obsm["proteins"])


def hub_metadata(folder: Path) -> dict[str, Any]:
    """Return the metadata of a model in the format of scvi-hub."""
    return json.loads((folder / METADATA).read_text(encoding="utf-8"))
