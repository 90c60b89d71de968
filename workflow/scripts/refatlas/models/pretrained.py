"""Models made elsewhere with scvi-tools: read once they are trusted, and told this workflow's names
of batches, labels and genes.
"""

import hashlib
import io
from pathlib import Path

import numpy as np

from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import UNLABELED

# Classes that give the batch to the encoder unless told otherwise.
ENCODING = ("TOTALVI",)
SETTINGS = {
    "description": "a model made elsewhere with scvi-tools, taken instead of training one",
    "type": ["object", "null"],
    "additionalProperties": False,
    "required": ["path"],
    "default": None,
    "properties": {
        "path": {"description": "folder that holds its model.pt", "type": "string"},
        "sha256": {
            "description": "checksum that model.pt must have, because loading it may run any code",
            "type": ["string", "null"],
            "pattern": "^[0-9a-f]{64}$",
            "default": None,
        },
        "trust": {"description": "load it without a checksum", "type": "boolean", "default": False},
    },
}


def read_saved(file: str, sha256: str | None) -> dict:
    """Return what scvi-tools saved in a model.pt: model_state_dict, var_names and attr_dict.

    Raises:
        InputError: it has another checksum, or is no model of scvi-tools 0.15 or later.
    """
    import torch

    content = Path(file).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise InputError(
            f"{file}: its sha256 is {found}, the config says {sha256}; it is not the file that you checked"
        )
    print(f"{file}: sha256 {found}")
    try:
        # Of what was checked, not of a file that may have been changed since.
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except Exception as error:
        raise InputError(
            f"{file} cannot be loaded ({type(error).__name__}: {shown(error, 200)}); is it complete, and saved by"
            " scvi-tools?"
        ) from error
    if not isinstance(saved, dict) or not {"model_state_dict", "var_names", "attr_dict"} <= set(saved):
        raise InputError(
            f"{file} is no model saved by scvi-tools 0.15 or later; convert an older one with its convert_legacy_save"
        )
    return saved


def fields(saved: dict) -> dict:
    """Return the state registries of a saved model's fields by name: X, batch, labels, …"""
    return {
        name: field["state_registry"] for name, field in saved["attr_dict"]["registry_"]["field_registries"].items()
    }


def facts(saved: dict) -> dict:
    """Return a saved model's class, genes, batches, labels and proteins; plain values."""
    found, registry, genes = fields(saved), saved["attr_dict"]["registry_"], saved["var_names"]
    names = {
        name: [str(value) for value in found.get(name, {}).get("categorical_mapping", [])]
        for name in ("batch", "labels")
    }
    proteins = [str(name) for name in found.get("proteins", {}).get("column_names", [])]
    # A model of MuData names the genes of each modality.
    genes = genes[(registry["setup_args"].get("modalities") or {})["rna_layer"]] if isinstance(genes, dict) else genes
    return {
        "class": registry.get("model_name"),
        "genes": [str(gene) for gene in genes],
        "batches": names["batch"],
        "labels": names["labels"],
        "proteins": proteins,
    }


def require_usable(saved: dict, wanted: str, where: str) -> None:
    """Raise an InputError unless a saved model is of the wanted class, was made for surgery on
    counts, and has no covariate but the batch.
    """
    registry, parameters = saved["attr_dict"]["registry_"], saved["attr_dict"]["init_params_"]
    arguments = {
        name: value for part in parameters.get("kwargs", {}).values() for name, value in part.items()
    } | parameters.get("non_kwargs", {})
    setup, arguments = registry["setup_args"], {"encode_covariates": wanted in ENCODING} | arguments
    extra = [
        name
        for name in ("size_factor_key", "categorical_covariate_keys", "continuous_covariate_keys", "panel_key")
        if setup.get(name)
    ]
    if registry.get("model_name") != wanted:
        raise InputError(
            f"{where} is of class {registry.get('model_name')}, and its type in the config needs {wanted}; set the type"
            " to match"
        )
    if not arguments.get("encode_covariates"):
        raise InputError(
            f"{where} was trained without encode_covariates=True, so that surgery would move no query cell; train it"
            " with it"
        )
    if arguments.get("use_batch_norm", "both") != "none":
        raise InputError(
            f"{where} was trained with batch norm ({arguments.get('use_batch_norm', 'both')}), with which a minibatch"
            " of one query cell cannot be mapped; train it with use_batch_norm='none', use_layer_norm='both'"
        )
    if extra:
        raise InputError(
            f"{where} was trained with {listed(extra)}, which this workflow has not; train it with the batch alone"
        )
    if "minify_type" in str(registry.get("field_registries", {}).keys()) or saved["attr_dict"].get(
        "minified_data_type_"
    ):
        raise InputError(f"{where} is minified: its reference has no counts; save it with them")
    for name in ("dispersion", "gene_dispersion", "protein_dispersion"):
        if str(arguments.get(name, "gene")).endswith(("-label", "-cell")):
            raise InputError(
                f"{where} has {name} {arguments[name]!r}, which needs what a query has not; train it with the default"
                " or by batch"
            )


def renamed_batches(theirs: list[str], ours: list[str], where: str) -> list[str]:
    """Return the model's batches with the names "dataset:batch" where a batch of the reference is
    meant; the others as they are.

    Raises:
        InputError: a batch of the reference is none of the model's, or two are the same one.
    """
    if len(theirs) == len(ours) == 1:
        return list(ours)
    meant = {}
    for batch in ours:
        bare = batch if batch in theirs else batch.split(":", 1)[1]
        if bare not in theirs:
            raise InputError(
                f"{where}: batch {batch!r} of the reference is none of its batches {listed(theirs)}; the reference must"
                " be what the model was trained on"
            )
        if bare in meant:
            raise InputError(
                f"{where}: batches {meant[bare]!r} and {batch!r} of the reference both are its batch {bare!r}; give"
                " them different names"
            )
        meant[bare] = batch
    return [meant.get(name, name) for name in theirs]


def adapted(
    saved: dict, batches: list[str], labels: list[str] | None, genes: list[str], setup: dict, where: str
) -> dict:
    """Return a saved model with this workflow's names in its registry, ready for scvi-tools to
    load.

    Args:
        batches: of the reference. labels: of the reference, for a class that reads them, otherwise
            None. genes: the workflow's names of the model's genes, in its order.
        setup: what the class's setup_anndata needs beside the batch.

    Raises:
        InputError: the reference has batches or labels that the model does not know.
    """
    registry, found = saved["attr_dict"]["registry_"], fields(saved)
    found["batch"]["categorical_mapping"] = np.array(
        renamed_batches(facts(saved)["batches"], batches, where), dtype=object
    )
    found["batch"]["original_key"] = "batch"
    setup = {"layer": None, "batch_key": "batch", **setup}
    if labels is None:
        found["labels"].update(categorical_mapping=np.array([0]), original_key="_scvi_labels")
    else:
        known = [str(name) for name in found["labels"]["categorical_mapping"]]
        unknown = sorted(set(labels) - set(known[:-1]))
        if unknown:
            raise InputError(
                f"{where}: labels {listed(unknown)} of the reference are none of its labels {listed(known[:-1])}; name"
                " the label_key that it was trained with"
            )
        found["labels"].update(
            categorical_mapping=np.array([*known[:-1], UNLABELED], dtype=object),
            original_key="label",
            unlabeled_category=UNLABELED,
        )
        setup.update(labels_key="label", unlabeled_category=UNLABELED)
    registry.update(setup_method_name="setup_anndata", setup_args=setup)
    return {**saved, "var_names": np.array(genes)}
