"""The settings of posterior predictive checks. Light: Snakemake imports it at every start."""

from typing import Any

from refatlas.errors import InputError, listed
from refatlas.models.registry import MODEL_TYPES


def complete_criticism(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the models that are criticized by name, and without the section if there are none.

    The whole configuration is a param of rules: a section that is off must not make them run again after an upgrade.

    Raises:
        InputError: a model is not known, or counts cannot be drawn from it.
    """
    criticism, kept = config["criticism"], {key: value for key, value in config.items() if key != "criticism"}
    names = criticism["models"]
    if names == "all":
        names = [name for name, settings in config["models"].items() if not why_not(settings)]
        if not names:
            raise InputError(
                f"config: criticism: models: all takes models of the types {listed(_types())}, and there is none;"
                " add one to models, or leave criticism out"
            )
    for name in names:
        _require_decoder(name, config["models"])
    return {**kept, "criticism": {**criticism, "models": names}} if names else kept


def _types() -> list[str]:
    return [kind for kind, known in MODEL_TYPES.items() if known.decodes]


def why_not(settings: dict[str, Any]) -> str:
    """Return why counts cannot be drawn from a model; "" if they can.

    Args:
        settings: of the model.
    """
    kind = settings["type"]
    if not MODEL_TYPES[kind].decodes:
        return f"is of type {kind}, from which counts are not drawn; name models of the types {listed(_types())}"
    if kind == "totalvi" and settings["model"]["gene_likelihood"] != "nb":
        return (
            f"has gene_likelihood {settings['model']['gene_likelihood']}, and scvi-tools draws counts from totalVI with"
            " nb alone; leave the model out of criticism"
        )
    return ""


def _require_decoder(name: str, models: dict[str, dict[str, Any]]) -> None:
    where = f"config: criticism: models: {name!r}"
    if name not in models:
        raise InputError(f"{where} is not in models; name one of {listed(models)}")
    if reason := why_not(models[name]):
        raise InputError(f"{where} {reason}")
