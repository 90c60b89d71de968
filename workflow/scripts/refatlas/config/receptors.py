"""Settings of T-cell receptors, and their column of the sheets. Light: Snakemake imports it at every start."""

import os
from collections.abc import Mapping
from typing import Any

from refatlas.config.addresses import is_address, safe_address
from refatlas.config.validation import require_plain_path
from refatlas.errors import InputError, shown
from refatlas.models.registry import MODEL_TYPES
from refatlas.receptors.airr_kinds import kind_of

WHERE = "config: receptors"
# In the sheet: the cells have no receptors.
NONE = "-"
# Settings that reading depends on.
READING = ("alpha", "beta", "alpha_v", "beta_v")


def complete_receptors(config: dict[str, Any]) -> None:
    """Check the section `receptors` of a configuration, in place.

    Without one it is removed: the configuration is a param of rules, which must not run again because there is a new
    key.

    Raises:
        InputError: settings contradict each other, or a model needs receptors.
    """
    receptors = config.pop("receptors")
    if receptors is None:
        _require_no_receptor_model(config["models"])
        return
    config["receptors"] = receptors
    if (receptors["alpha"] is None) != (receptors["beta"] is None):
        lacking = "alpha" if receptors["alpha"] is None else "beta"
        raise InputError(
            f"{WHERE}: {lacking} is not set; a pair has both chains: name the cell columns of both CDR3s, or neither"
        )
    if receptors["alpha"] is not None and receptors["alpha"] == receptors["beta"]:
        raise InputError(f"{WHERE}: alpha and beta are both {receptors['alpha']!r}; name a column for each chain")
    for kind in ("alpha", "beta"):
        gene = receptors[f"{kind}_v"]
        if gene and receptors[kind] is None:
            raise InputError(
                f"{WHERE}: {kind}_v is {gene!r}, and {kind} is not set; name the column of the CDR3 as well"
            )
        if receptors["v_genes"] and receptors[kind] and not gene:
            raise InputError(
                f"{WHERE}: v_genes: V genes are part of a clonotype, and {kind}_v is not set; name their cell column,"
                " or set v_genes: false"
            )


def _require_no_receptor_model(models: Mapping[str, Mapping[str, Any]]) -> None:
    for name, settings in models.items():
        if MODEL_TYPES[settings["type"]].needs_receptors:
            raise InputError(
                f"config: models: {name}: type {settings['type']} reads paired T-cell receptors, and the config has"
                " none; set receptors ({} where the sheet names tables of chains), or leave the model out"
            )


def parse_tables(value: str, place: str) -> dict[str, str]:
    """Return the tables of chains that a cell of the sheet names, by batch, "" for all batches; {} for "-".

    Args:
        value: of the column airr, not empty.
        place: the sheet's row, for messages.

    Raises:
        InputError: a table does not exist or is of a kind that is not read, or a batch is named twice.
    """
    where = f"{place}: airr"
    if value == NONE:
        return {}
    if os.path.isfile(value):
        _require_table(value, where)
        return {"": value}
    parts = [part.strip() for part in value.split(",") if part.strip()]
    found: dict[str, str] = {}
    for part in parts:
        batch, sign, path = part.rpartition("=")
        if len(parts) > 1 and not sign:
            raise InputError(
                f"{where}: {shown(repr(part), 300)} is one of several tables, and does not say which batch it is of;"
                " write BATCH=PATH, separated by commas"
            )
        if batch.strip() in found:
            raise InputError(f"{where}: batch {batch.strip()!r} has two tables; name one for each batch")
        _require_table(path.strip(), where)
        found[batch.strip()] = path.strip()
    return found


def _require_table(path: str, where: str) -> None:
    if is_address(path):
        raise InputError(
            f"{where}: {safe_address(path)!r} is an address; only path may be one: download the table, give its path"
        )
    require_plain_path(path, where)
    if not os.path.isfile(path):
        raise InputError(
            f"{where} {shown(repr(path), 300)} does not exist (from {os.getcwd()}); give an absolute path, or one"
            " relative to the working directory, or '-' for cells without receptors"
        )
    if not kind_of(path):
        raise InputError(
            f"{where} {shown(repr(path), 300)}: its name does not end with .csv, .json or .tsv (or these and .gz); give"
            " contig annotations of Cell Ranger (csv or json), or an AIRR table (tsv)"
        )


def require_possible_receptors(config: Mapping[str, Any], atlas: bool) -> None:
    """Raise an InputError if receptors are asked for where the reference's are not at hand.

    Args:
        atlas: whether the reference is an atlas bundle.
    """
    if atlas and config.get("receptors") is not None:
        raise InputError(
            f"{WHERE}: an atlas bundle has no receptors of the reference; leave receptors out, or run it where the"
            " atlas was made"
        )
