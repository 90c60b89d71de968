"""Settings of labels that were made elsewhere. Light: Snakemake imports it at every start."""

from collections.abc import Collection
from typing import Any

from refatlas.config.schema_files import load_schema
from refatlas.config.validation import require_name, validate
from refatlas.errors import InputError


def complete_external_labels(config: dict[str, Any], taken: Collection[str]) -> None:
    """Check the section `external_labels` of a configuration, in place.

    An empty section is removed: the configuration is a param of rules, which must not run again because there is a new
    key.

    Args:
        taken: names that the columns of labels.csv and the sources of the report have already.

    Raises:
        InputError: a name is taken, settings contradict each other.
    """
    sources = config.pop("external_labels")
    if sources:
        config["external_labels"] = {name: _complete(name, found, taken) for name, found in sources.items()}


def _complete(name: str, settings: dict[str, Any], taken: Collection[str]) -> dict[str, Any]:
    where = f"config: external_labels: {name}"
    require_name(name, "config: external_labels: name")
    if name in taken:
        raise InputError(f"{where}: the name is that of a model or of a column of labels.csv; choose another")
    settings = validate(settings, load_schema("external_labels"), where=where)
    if (settings["key"] is None) == (settings["probabilities"] is None):
        found = "neither is set" if settings["key"] is None else "both are set"
        raise InputError(
            f"{where}: key or probabilities: {found}; give key, a cell column with one label a cell, or probabilities,"
            " a matrix in obsm with a column for each label"
        )
    if settings["labels"] is not None and settings["probabilities"] is None:
        raise InputError(f"{where}: labels names the columns of probabilities, which are not set; leave it out")
    return settings
