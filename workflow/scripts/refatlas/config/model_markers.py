"""Settings of markers by trained models. Light: Snakemake imports it at every start."""

from collections.abc import Mapping
from typing import Any

from refatlas.errors import InputError, listed
from refatlas.models.registry import MODEL_TYPES

WHERE = "config: differential: markers"


def complete_markers(section: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section `differential` with checked `markers`, and without them if they name no model.

    The configuration is a param of rules, which must not run again because there is a new key.

    Args:
        config: with the completed models and clusters.

    Raises:
        InputError: a model is unknown or of another type, or clusters are asked for where there are none.
    """
    markers, kept = section["markers"], {key: value for key, value in section.items() if key != "markers"}
    if not markers["models"]:
        return kept
    for name in markers["models"]:
        _require_decoder(name, config["models"])
    if "clusters" in markers["groups"] and not config["clusters"]["resolutions"]:
        raise InputError(
            f"{WHERE}: groups: clusters are compared, and clusters.resolutions is empty; list a resolution, or leave"
            " clusters out"
        )
    return {**kept, "markers": markers}


def _require_decoder(name: str, models: Mapping[str, Mapping[str, Any]]) -> None:
    able = [model for model, settings in models.items() if MODEL_TYPES[settings["type"]].decodes]
    if name in able:
        return
    types = listed(kind for kind, known in MODEL_TYPES.items() if known.decodes)
    found = f"is of type {models[name]['type']}" if name in models else "is not in models"
    raise InputError(f"{WHERE}: models: {name!r} {found}; name models of the types {types} (there are: {listed(able)})")


def require_possible_markers(config: Mapping[str, Any], labelled: bool, atlas: bool) -> None:
    """Raise an InputError if markers by models need labels, a model or counts that the run lacks.

    Args:
        config: of the run, after what needs labels was left out.
        labelled: whether the reference has labels. atlas: whether it is an atlas bundle.
    """
    markers = config.get("differential", {}).get("markers")
    if not markers:
        return
    if atlas:
        raise InputError(
            f"{WHERE}: an atlas bundle lacks the counts of most cells of the reference; leave models empty, or run it"
            " where the atlas was made"
        )
    if left_out := [name for name in markers["models"] if name not in config["models"]]:
        raise InputError(
            f"{WHERE}: models: {left_out[0]!r} is left out, because the reference has no labels; name a model of type"
            " scvi or totalvi"
        )
    if "labels" in markers["groups"] and not labelled:
        raise InputError(
            f"{WHERE}: groups: labels are compared, and the reference has none; set label_key, or groups: [clusters]"
        )
