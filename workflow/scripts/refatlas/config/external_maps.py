"""Maps from labels that were made elsewhere to labels of the reference. Light: Snakemake reads them at every start."""

import os
from typing import Any

from refatlas.config.label_map import NO_LABEL
from refatlas.config.validation import require_plain_path
from refatlas.config.written_tables import plain_name, read_table, require_usable_names
from refatlas.errors import InputError, shown

REQUIRED = ("label", "name")


def with_maps(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in which maps stand by their content instead of their path.

    So a bundle needs no file of them, and a changed map is noticed.

    Args:
        config: of `complete_config`.

    Raises:
        InputError: a map is missing or wrong.
    """
    if "external_labels" not in config:
        return config
    sources = {
        name: {**source, "map": _content(source["map"], f"config: external_labels: {name}: map")}
        for name, source in config["external_labels"].items()
    }
    return {**config, "external_labels": sources}


def _content(named: str | dict[str, str] | None, where: str) -> dict[str, str] | None:
    if isinstance(named, str):
        return read_map(named, where)
    return named and {plain_name(label): plain_name(name) for label, name in named.items()}


def read_map(path: str, where: str) -> dict[str, str]:
    """Return a map from labels made elsewhere to labels of the reference; "-" for a label that is no vote.

    Args:
        path: of a tab-separated table with the columns label and name. where: the config's key, for messages.

    Raises:
        InputError: the file or a column is missing, a value is empty, or a label occurs twice.
    """
    require_plain_path(path, where)
    if not os.path.isfile(path):
        raise InputError(
            f"{where}: no file {path!r} (from {os.getcwd()}); give a tab-separated table with the columns label and"
            " name"
        )
    found: dict[str, str] = {}
    for line, row in read_table(path, REQUIRED, "a map of labels")[1]:
        label, name = plain_name(row.get("label", "")), plain_name(row.get("name", ""))
        if not label or not name:
            raise InputError(
                f"{path}, line {line}: {'label' if not label else 'name'} is empty; give the label as it was made"
                f" elsewhere, and its name in the reference, or {NO_LABEL!r} if it is to be no vote"
            )
        if label in found:
            raise InputError(f"{path}, line {line}: label {shown(repr(label))} stands twice; keep one row")
        require_usable_names(f"{path}, line {line}", [name])
        found[label] = name
    return found
