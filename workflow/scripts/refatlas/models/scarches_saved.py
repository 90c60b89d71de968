"""Models that scArches itself has saved: reading, checking, and renaming their conditions and labels.

Reading runs no code of the files: the attributes are unpickled as plain values, and the weights as tensors.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from refatlas.errors import InputError, listed, shown
from refatlas.models.plain_pickle import PlainUnpickler, plain
from refatlas.models.pretrained import renamed_batches
from refatlas.models.scarches_settings import SAVED, TERMS

# Attributes whose other values surgery cannot serve: what is needed, and why.
BATCH_NORM = ("use_bn_", False, "with batch norm a minibatch of one query cell cannot be mapped")
UNSUITED: dict[str, tuple[tuple[str, Any, str], ...]] = {
    "TRVAE": (BATCH_NORM,),
    "scPoli": (BATCH_NORM,),
    "EXPIMAP": (
        BATCH_NORM,
        ("n_ext_", 0, "terms that a query has learned have no place in a reference; take the model of the reference"),
        ("n_ext_m_", 0, "terms that were added for a query have no place in a reference; take that of the reference"),
        ("use_l_encoder_", False, "this workflow has no encoder of the library size"),
    ),
}
LOSSES = {"TRVAE": ("nb", "zinb"), "scPoli": ("nb", "zinb"), "EXPIMAP": ("nb",)}
# Attributes that must be there, with their types.
NEEDED: dict[str, dict[str, type]] = {
    "TRVAE": {"condition_key_": str, "conditions_": list, "use_mmd_": bool},
    "scPoli": {"condition_keys_": list, "conditions_": dict, "conditions_combined_": list, "cell_types_": dict},
    "EXPIMAP": {"condition_key_": str, "conditions_": list, "mask_": list},
}


def checksum(contents: dict[str, bytes]) -> str:
    """Return the SHA-256 of a saved model: of what `sha256sum attr.pkl model_params.pt var_names.csv` prints.

    Args:
        contents: of the files, by name.
    """
    lines = "".join(f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in SAVED)
    return hashlib.sha256(lines.encode()).hexdigest()


def read_saved(files: list[str], sha256: str | None) -> dict[str, Any]:
    """Return what scArches saved in a folder, as plain values: attributes, state, genes, terms (None if unknown).

    Args:
        files: those of SAVED, and TERMS if there is one.
        sha256: see `checksum`; None reads them without a check.

    Raises:
        InputError: they have another checksum, are damaged, or are not what scArches saves.
    """
    paths = {Path(file).name: Path(file) for file in files}
    folder, contents = str(paths[SAVED[0]].parent), {name: paths[name].read_bytes() for name in SAVED}
    found = checksum(contents)
    if sha256 is not None and found != sha256:
        raise InputError(
            f"{folder}: the sha256 of its {listed(SAVED)} is {found}, but the config has {sha256}; they are not the"
            " files that you checked"
        )
    print(f"{folder}: sha256 {found}")
    return {
        "attributes": read_attributes(contents["attr.pkl"], f"{folder}/attr.pkl"),
        "state": read_state(contents["model_params.pt"], f"{folder}/model_params.pt"),
        # As numpy.savetxt writes it.
        "genes": contents["var_names.csv"].decode("latin-1").split("\n")[:-1],
        "terms": read_terms(paths[TERMS]) if TERMS in paths else None,
    }


def read_attributes(content: bytes, where: str) -> dict[str, Any]:
    """Return the attributes of a model from its attr.pkl; no code of the file runs.

    Raises:
        InputError: the file is damaged, or holds anything but plain values.
    """
    try:
        found = PlainUnpickler(io.BytesIO(content)).load()
    except Exception as error:
        raise InputError(
            f"{where} cannot be read ({type(error).__name__}: {shown(error, 200)}); a model of scArches 0.6 has plain"
            " values, arrays and tensors there, and nothing else is loaded, because it could run any code"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError(f"{where} does not hold attributes by name; is it a model that scArches saved?")
    return {name: plain(value) for name, value in found.items()}


def read_state(content: bytes, where: str) -> dict[str, Any]:
    """Return the weights of a model from its model_params.pt, tensors by name; no code of the file runs.

    Raises:
        InputError: the file is damaged, or holds anything but finite tensors.
    """
    import torch

    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{where} cannot be read ({type(error).__name__}: {shown(error, 200)}); is it complete?"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise InputError(f"{where} does not hold tensors by name; is it a model that scArches saved?")
    broken = [name for name, value in found.items() if not torch.isfinite(value).all()]
    if broken:
        raise InputError(f"{where}: {listed(broken, 3)} has values that are not finite; train the model again")
    return dict(found)


def read_terms(path: Path) -> list[str]:
    """Return the names of an expiMap's terms, one a line.

    Raises:
        InputError: the file is not text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; give one name of a term per line") from None
    return [line.strip() for line in lines if line.strip()]


def class_of(attributes: dict[str, Any]) -> str:
    """Return the class of scArches that has a saved model's attributes, which do not name it; "" if none."""
    if "mask_" in attributes:
        return "EXPIMAP"
    if "cell_type_keys_" in attributes:
        return "scPoli"
    return "TRVAE" if "use_mmd_" in attributes else ""


def pretrained_facts(saved: dict[str, Any]) -> dict[str, Any]:
    """Return a usable saved model's class, genes, batches and labels as plain values; of expiMap also its programs.

    programs: positions of its genes, by the program's name.
    """
    found, kind = saved["attributes"], class_of(saved["attributes"])
    facts: dict[str, Any] = {
        "class": kind,
        "genes": saved["genes"],
        "batches": [str(name) for name in conditions_of(found)],
        "labels": [str(name) for name in found["cell_types_"]] if kind == "scPoli" else [],
        "proteins": [],
    }
    if kind == "EXPIMAP":
        mask = np.asarray(found["mask_"], dtype=bool)
        names = term_names(saved)
        facts["programs"] = {name: np.flatnonzero(row).tolist() for name, row in zip(names, mask, strict=True)}
    return facts


def conditions_of(attributes: dict[str, Any]) -> list[Any]:
    """Return the conditions that a model knows, in the order of its weights."""
    found = attributes["conditions_"]
    return found[attributes["condition_keys_"][0]] if isinstance(found, dict) else found


def term_names(saved: dict[str, Any]) -> list[str]:
    """Return the names of an expiMap's terms; term_1, term_2, … if no file has them."""
    numbered = [f"term_{i + 1}" for i in range(len(saved["attributes"]["mask_"]))]
    return numbered if saved["terms"] is None else saved["terms"]


def require_usable(saved: dict[str, Any], wanted: str, where: str) -> None:
    """Raise an InputError unless a saved model can serve as a reference model.

    Args:
        saved: read by `read_saved`.
        wanted: class of scArches.
        where: the model's name in messages.
    """
    found = saved["attributes"]
    _require_class(found, wanted, where)
    if not found.get("is_trained_"):
        raise InputError(f"{where} was saved before it was trained; train it, and save it again")
    _require_surgery(found, wanted, where)
    if wanted == "scPoli":
        _require_prototypes(found, where)
    if wanted == "EXPIMAP":
        _require_programs(saved, where)
    names = [str(name) for name in conditions_of(found)]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"{where} has the conditions {listed(names)}; it needs at least one, each once: train it with a"
            " condition_key, which surgery extends by the query's batches"
        )
    n_genes = found.get("input_dim_", len(saved["genes"]))
    if n_genes != len(saved["genes"]) or len(set(saved["genes"])) < n_genes:
        raise InputError(
            f"{where}: var_names.csv has {len(saved['genes'])} genes, {len(set(saved['genes']))} of them different, and"
            f" input_dim_ is {n_genes}; the files are not of one model"
        )


def _require_class(found: dict[str, Any], wanted: str, where: str) -> None:
    if "registry_" in found or "scvi_setup_dict_" in found:
        raise InputError(
            f"{where} was saved by scvi-tools before 0.15, not by scArches; convert it with convert_legacy_save of"
            " scvi-tools, and use it with type scvi, scanvi or totalvi"
        )
    kind = class_of(found)
    if kind and kind != wanted:
        raise InputError(
            f"{where} is of class {kind}, and its type in the config needs {wanted}; set the type to match"
        )
    lacking = [name for name, kind in NEEDED[wanted].items() if not isinstance(found.get(name), kind)]
    if lacking:
        raise InputError(
            f"{where} is no model of class {wanted} as scArches 0.6 saves it, with a condition_key: its attributes"
            f" {listed(f'{name} = {shown(repr(found.get(name)), 40)}' for name in lacking)} are missing or of another"
            " type; train it with scArches 0.6, or with this workflow"
        )


def _require_surgery(found: dict[str, Any], wanted: str, where: str) -> None:
    for name, needed, reason in UNSUITED[wanted]:
        if found.get(name, needed) != needed:
            raise InputError(f"{where} has {name} = {found[name]!r}, and must have {needed!r}: {reason}")
    if found.get("recon_loss_") not in LOSSES[wanted]:
        raise InputError(
            f"{where} has recon_loss_ = {found.get('recon_loss_')!r}, and must have {listed(LOSSES[wanted])}: this"
            " workflow gives it raw counts, and cannot know how its own input was normalized"
        )
    if wanted == "EXPIMAP" and found.get("decoder_last_layer_") not in (None, "softmax"):
        raise InputError(
            f"{where} has decoder_last_layer_ = {found['decoder_last_layer_']!r}, and must have 'softmax': what"
            " it expects of a cell must be shares of the cell's counts"
        )


def _require_prototypes(found: dict[str, Any], where: str) -> None:
    """Raise an InputError unless a scPoli model has one condition key, one label key and a prototype of each label."""
    injected = found.get("inject_condition_")
    if not isinstance(injected, list) or not {"encoder", "decoder"} <= set(injected):
        raise InputError(
            f"{where} has inject_condition_ = {injected!r}, and must have 'encoder' and 'decoder': otherwise surgery"
            " would move no query cell, or not explain it"
        )
    for name, what in (("condition_keys_", "batch"), ("cell_type_keys_", "label")):
        keys = found.get(name)
        if not isinstance(keys, list) or len(keys) != 1:
            raise InputError(
                f"{where} has {name} = {shown(repr(keys), 100)}, and must have one: this workflow has one {what} of"
                " each cell; join the columns to one, and train it again"
            )
    if set(map(str, found["conditions_combined_"])) != set(map(str, conditions_of(found))):
        raise InputError(f"{where}: conditions_combined_ are not its conditions_; the files are not of one model")
    means, covs = (found.get("prototypes_labeled_", {}).get(name) for name in ("mean", "cov"))
    shapes = [getattr(part, "shape", (0,))[0] for part in (means, covs)]
    if shapes != [len(found["cell_types_"])] * 2:
        raise InputError(
            f"{where} has prototypes_labeled_ of {shapes[0]} labels, and cell_types_ of {len(found['cell_types_'])}:"
            " type scpoli needs a prototype of each label; train it with cell_type_keys and prototype_training"
        )


def _require_programs(saved: dict[str, Any], where: str) -> None:
    """Raise an InputError unless an expiMap has a mask of 0 and 1 over its genes, and a name of each term."""
    found = saved["attributes"]
    lengths = {len(row) if isinstance(row, list) else -1 for row in found["mask_"]}
    if lengths != {len(saved["genes"])} or not np.isin(np.asarray(found["mask_"]), (0, 1)).all():
        raise InputError(
            f"{where}: mask_ is not a matrix of 0 and 1 with a column for each of the {len(saved['genes'])} genes; the"
            " files are not of one model"
        )
    names = term_names(saved)
    if len(names) != len(found["mask_"]) or len(set(names)) < len(names):
        raise InputError(
            f"{where} has {len(found['mask_'])} terms, and {TERMS} has {len(names)} names, {len(set(names))} of them"
            " different; give a name for each row of its mask, such as those in uns['terms'] of its cells"
        )


def adapted(attributes: dict[str, Any], batches: list[str], where: str) -> dict[str, Any]:
    """Return a saved model's attributes with this workflow's names of batches, and of the columns of batch and label.

    Args:
        attributes: of `read_saved`; they are not changed.
        batches: of the reference, "dataset:batch".
        where: the model's name in messages.

    Raises:
        InputError: the reference has batches that the model does not know.
    """
    names = [str(name) for name in conditions_of(attributes)]
    renamed = dict(zip(names, renamed_batches(names, batches, where), strict=True))
    if "condition_keys_" not in attributes:
        return {**attributes, "condition_key_": "batch", "conditions_": list(renamed.values())}
    return {
        **attributes,
        "condition_keys_": ["batch"],
        "conditions_": {"batch": list(renamed.values())},
        "conditions_combined_": [renamed[str(name)] for name in attributes["conditions_combined_"]],
        "cell_type_keys_": ["label"],
        "cell_types_": {str(label): ["label"] for label in attributes["cell_types_"]},
        # These would be read for the reference's own cells.
        "share_metadata_": True,
        "obs_metadata_": None,
        "labeled_indices_": None,
    }


def require_known_labels(attributes: dict[str, Any], labels: list[str], where: str) -> None:
    """Raise an InputError if the reference has labels that a scPoli model has no prototype of."""
    known = [str(label) for label in attributes["cell_types_"]]
    unknown = sorted(set(labels) - set(known))
    if unknown:
        raise InputError(
            f"{where}: labels {listed(unknown)} of the reference are none of its labels {listed(known)}; set the"
            " label_key that it was trained with"
        )
