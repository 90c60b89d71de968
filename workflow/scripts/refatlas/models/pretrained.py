"""Pretrained models of scvi-tools: reading, checking, and renaming their registry."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import UNLABELED

# What minify_adata registers in place of counts.
MINIFIED = {"minify_type", "latent_qzm", "latent_qzv", "observed_lib_size"}
# Classes that give the batch to the encoder by default.
ENCODING = ("TOTALVI",)


def read_saved(file: str, sha256: str | None) -> dict[str, Any]:
    """Return what scvi-tools saved in a model.pt: model_state_dict, var_names and attr_dict.

    Args:
        file: the model.pt.
        sha256: checksum that it must have; None loads it without a check.

    Raises:
        InputError: it has another checksum, or is not a model of scvi-tools 0.15 or later.
    """
    import torch

    content = Path(file).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise InputError(
            f"{file}: its sha256 is {found}, but the config has {sha256}; it is not the file that you checked"
        )
    print(f"{file}: sha256 {found}")
    try:
        # The bytes that were checked: the file may have changed since.
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except Exception as error:
        raise InputError(
            f"{file} cannot be loaded ({type(error).__name__}: {shown(error, 200)}); is it complete, and saved by"
            " scvi-tools?"
        ) from error
    if not isinstance(saved, dict) or not {"model_state_dict", "var_names", "attr_dict"} <= set(saved):
        raise InputError(
            f"{file} is not a model saved by scvi-tools 0.15 or later; convert an older one with its"
            " convert_legacy_save"
        )
    return with_counts(saved)


def with_counts(saved: dict[str, Any]) -> dict[str, Any]:
    """Return a saved model as one of counts: a minified one is told of the latent values that stood in place of them.

    Its weights are those that it was trained to; the reference's counts come from the datasets.
    """
    fields = saved["attr_dict"]["registry_"]["field_registries"]
    for name in MINIFIED & set(fields):
        del fields[name]
    saved["attr_dict"].pop("minified_data_type_", None)
    return saved


def registered_fields(saved: dict[str, Any]) -> dict[str, Any]:
    """Return the state registries of a saved model's fields by name: X, batch, labels, …"""
    return {
        name: field["state_registry"] for name, field in saved["attr_dict"]["registry_"]["field_registries"].items()
    }


def pretrained_facts(saved: dict[str, Any]) -> dict[str, Any]:
    """Return a saved model's class, genes, batches, labels and proteins as plain values."""
    found, registry, genes = registered_fields(saved), saved["attr_dict"]["registry_"], saved["var_names"]
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


def require_usable(saved: dict[str, Any], wanted: str, where: str) -> None:
    """Raise an InputError unless a saved model can serve as a reference model.

    It must be of the wanted class, suited for surgery on counts, and have no covariate but the
    batch.

    Args:
        saved: read by `read_saved`.
        wanted: class of scvi-tools.
        where: the model's name in messages.
    """
    registry = saved["attr_dict"]["registry_"]
    if registry.get("model_name") != wanted:
        raise InputError(
            f"{where} is of class {registry.get('model_name')}, and its type in the config needs {wanted}; set the type"
            " to match"
        )
    arguments = {"encode_covariates": wanted in ENCODING} | _init_arguments(saved)
    _require_architecture(arguments, where)
    covariates = ("size_factor_key", "categorical_covariate_keys", "continuous_covariate_keys", "panel_key")
    extra = [name for name in covariates if registry["setup_args"].get(name)]
    if extra:
        raise InputError(
            f"{where} was trained with {listed(extra)}, which this workflow does not have; train it with the batch only"
        )
    _require_dispersion(arguments, where)


def _init_arguments(saved: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a saved model was made with."""
    parameters = saved["attr_dict"]["init_params_"]
    arguments = {name: value for part in parameters.get("kwargs", {}).values() for name, value in part.items()}
    return arguments | parameters.get("non_kwargs", {})


def _require_architecture(arguments: dict[str, Any], where: str) -> None:
    """Raise an InputError unless surgery moves query cells, also a single one."""
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


def _require_dispersion(arguments: dict[str, Any], where: str) -> None:
    """Raise an InputError if a dispersion depends on the label or the cell."""
    for name in ("dispersion", "gene_dispersion", "protein_dispersion"):
        if str(arguments.get(name, "gene")).endswith(("-label", "-cell")):
            raise InputError(
                f"{where} has {name} {arguments[name]!r}, which a query cannot have; train it with the default or by"
                " batch"
            )


def renamed_batches(known: list[str], batches: list[str], where: str) -> list[str]:
    """Return the model's batches, with the names of this workflow for those of the reference.

    Args:
        known: names in the model.
        batches: of the reference, "dataset:batch".
        where: the model's name in messages.

    Raises:
        InputError: the model does not know a batch of the reference, or two have the same name in
            it.
    """
    if len(known) == len(batches) == 1:
        return list(batches)
    meant: dict[str, str] = {}
    for batch in batches:
        bare = batch if batch in known else batch.split(":", 1)[1]
        if bare not in known:
            raise InputError(
                f"{where}: batch {batch!r} of the reference is none of its batches {listed(known)}; the reference must"
                " be what the model was trained on"
            )
        if bare in meant:
            raise InputError(
                f"{where}: batches {meant[bare]!r} and {batch!r} of the reference both are its batch {bare!r}; give"
                " them different names"
            )
        meant[bare] = batch
    return [meant.get(name, name) for name in known]


def adapted(
    saved: dict[str, Any],
    batches: list[str],
    labels: list[str] | None,
    genes: list[str],
    setup: dict[str, str],
    where: str,
) -> dict[str, Any]:
    """Return a saved model with this workflow's names in its registry, for scvi-tools to load.

    The registry of `saved` is changed.

    Args:
        saved: read by `read_saved`.
        batches: of the reference.
        labels: of the reference, for a class that reads them, otherwise None.
        genes: the workflow's names of the model's genes, in its order.
        setup: what the class's setup_anndata needs beside the batch.
        where: the model's name in messages.

    Raises:
        InputError: the reference has batches or labels that the model does not know.
    """
    registry, found = saved["attr_dict"]["registry_"], registered_fields(saved)
    renamed = renamed_batches(pretrained_facts(saved)["batches"], batches, where)
    found["batch"].update(categorical_mapping=np.array(renamed, dtype=object), original_key="batch")
    setup_args: dict[str, Any] = {"layer": None, "batch_key": "batch", **setup}
    if labels is None:
        found["labels"].update(categorical_mapping=np.array([0]), original_key="_scvi_labels")
    else:
        known = [str(name) for name in found["labels"]["categorical_mapping"]]
        unknown = sorted(set(labels) - set(known[:-1]))
        if unknown:
            raise InputError(
                f"{where}: labels {listed(unknown)} of the reference are none of its labels {listed(known[:-1])}; set"
                " the label_key that it was trained with"
            )
        found["labels"].update(
            categorical_mapping=np.array([*known[:-1], UNLABELED], dtype=object),
            original_key="label",
            unlabeled_category=UNLABELED,
        )
        setup_args.update(labels_key="label", unlabeled_category=UNLABELED)
    registry.update(setup_method_name="setup_anndata", setup_args=setup_args)
    return {**saved, "var_names": np.array(genes)}
