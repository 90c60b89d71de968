"""A reference model in the format of scvi-hub, which `scvi.hub.HubModel` loads (Ergen 2024).

Importing it takes 10 to 30 s.
"""

import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scvi.hub

import refatlas
from refatlas.io.atomic import atomic_path, write_json, write_text
from refatlas.models.scvi_base import ScviToolsModel
from refatlas.publish.bundle_files import CARD

METADATA = "_scvi_required_metadata.json"
KEPT_COLUMNS = ("batch", "label")


def write_hub_model(model: ScviToolsModel, name: str, folder: Path) -> None:
    """Write model.pt, adata.h5ad, the metadata and the card of a model of scVI or scANVI into a folder.

    adata.h5ad has the mean and the variance of each cell's latent posterior, its batch, its label and
    its total count. It has no counts of genes or proteins.

    Args:
        model: with the counts that it was trained on.
        name: of the model, for the card.
        folder: is replaced.

    Raises:
        RuntimeError: what was written gives another latent space than the model.
    """
    latent = minify(model.model)
    with atomic_path(folder) as part:
        model.model.save(str(part), overwrite=True, save_anndata=True)
        _write_descriptions(part, name, bool(model.model.adata.obs["label"].notna().any()))
        require_same_latent(part, latent)
        # A folder can only be renamed to one that does not exist.
        shutil.rmtree(folder, ignore_errors=True)


def minify(model: Any) -> np.ndarray:
    """Replace the counts of a model of scvi-tools by the latent posterior of their cells, and return its mean.

    What the model does not read is left out: other columns than batch and label, and proteins.
    """
    mean, variance = model.get_latent_representation(return_dist=True)
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = mean, variance
    model.minify_adata()
    data, kept = model.adata, model.adata_manager.data_registry
    columns = {*KEPT_COLUMNS, *(field.attr_key for field in kept.values() if field.attr_name == "obs")}
    data.obs.drop(columns=[name for name in data.obs if name not in columns], inplace=True)
    for key in set(data.obsm) - {field.attr_key for field in kept.values() if field.attr_name == "obsm"}:
        del data.obsm[key]
    data.uns.pop("protein_names", None)
    # scANVI notes here that it was set up with counts, and would then not read the latent posterior when it is loaded.
    model.registry_["setup_args"].update(
        {"use_minified": True} if "use_minified" in model.registry_["setup_args"] else {}
    )
    return mean


def _write_descriptions(folder: Path, name: str, annotated: bool) -> None:
    """Write scvi-hub's metadata and model card beside a saved model."""
    facts = {"local_dir": str(folder), "anndata_version": version("anndata")}
    write_json(asdict(scvi.hub.HubMetadata.from_dir(**facts)), folder / METADATA)
    card = scvi.hub.HubModelCardHelper.from_dir(
        **facts,
        license_info="unknown",
        data_modalities=["rna"],
        data_is_annotated=annotated,
        data_is_minified=True,
        description=f"Model {name} of this reference atlas, trained by refatlas {refatlas.__version__}.",
        references="See the citation of the atlas.",
    )
    write_text(card.model_card.content, folder / CARD)


def require_same_latent(folder: Path, latent: np.ndarray) -> None:
    """Raise a RuntimeError unless scvi-hub loads a model that gives this latent space."""
    found = scvi.hub.HubModel(str(folder)).model.get_latent_representation()
    if found.shape != latent.shape or not np.allclose(found, latent, rtol=0, atol=1e-5):
        raise RuntimeError(
            f"the model in {folder}, loaded by scvi-hub, gives another latent space than the reference's"
        )
