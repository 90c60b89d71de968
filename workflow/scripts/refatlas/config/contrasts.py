"""Contrasts between conditions, checked before anything runs. Light: Snakemake imports it at every start."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from refatlas.config.schema_files import load_schema
from refatlas.config.validation import require_name, require_plain_path, validate
from refatlas.errors import InputError, listed
from refatlas.models.registry import MODEL_TYPES

REACTOME = "reactome"


def complete_contrasts(section: dict[str, Any]) -> dict[str, Any]:
    """Return the section `differential` with every contrast validated and completed.

    Raises:
        InputError: a contrast's name, keys or values do not fit, its columns contradict each other, or the
            file of gene sets is missing or none.
    """
    contrasts = {name: _complete(name, contrast) for name, contrast in section["contrasts"].items()}
    if section["gene_sets"] not in (None, REACTOME):
        _check_gene_sets(section["gene_sets"])
    return {**section, "contrasts": contrasts}


def _complete(name: str, contrast: dict[str, Any]) -> dict[str, Any]:
    require_name(name, "config: differential: contrasts: name")
    where = f"config: differential: contrasts: {name}"
    found = validate(contrast, load_schema("contrast"), where)
    condition, design = found["condition"], found["design"]
    if len({str(group) for group in found["groups"]}) < 2:
        raise InputError(f"{where}: groups: both are {str(found['groups'][0])!r}; name two values of {condition!r}")
    for role in ("sample", "covariates", "continuous"):
        if condition in ([found[role]] if role == "sample" else found[role]):
            raise InputError(
                f"{where}: {role}: {condition!r} is the condition itself; name another column"
                + (", the one that tells the replicates apart" if role == "sample" else ", or leave it out")
            )
    if design is not None and found["covariates"]:
        raise InputError(f"{where}: design and covariates are both set; write the covariates into the design")
    if design is not None and not (design.lstrip().startswith("~") and condition in design):
        raise InputError(
            f"{where}: design: {design!r} must begin with ~ and contain the condition {condition!r}, such as"
            f" '~ sex + {condition}'"
        )
    if design is None and (unknown := [column for column in found["continuous"] if column not in found["covariates"]]):
        raise InputError(f"{where}: continuous: {unknown[0]!r} is not in covariates; add it there")
    if found["density"] is None:
        # The contrast is a param of rules: a setting that is off must not make them run again after an upgrade.
        del found["density"]
    return found


def require_features(section: dict[str, Any], models: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise an InputError if a contrast names a model that has neither gene programs nor proteins.

    Args:
        section: `differential`, completed. models: of the configuration, completed.
    """
    able = [name for name, settings in models.items() if MODEL_TYPES[settings["type"]].compared]
    for contrast, settings in section["contrasts"].items():
        for name in settings["features"]:
            if name not in able:
                found = f"is of type {models[name]['type']}" if name in models else "is not in models"
                types = listed(kind for kind, known in MODEL_TYPES.items() if known.compared)
                raise InputError(
                    f"config: differential: contrasts: {contrast}: features: {name!r} {found}; name models of the types"
                    f" {types} (there are: {listed(able)})"
                )


def require_density(section: dict[str, Any], models: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise an InputError if a contrast names a model whose cells have no normal posterior.

    Args:
        section: `differential`, completed. models: of the configuration, completed.
    """
    able = [name for name, settings in models.items() if MODEL_TYPES[settings["type"]].has_posterior]
    for contrast, settings in section["contrasts"].items():
        name = settings.get("density")
        if name is not None and name not in able:
            found = f"is of type {models[name]['type']}" if name in models else "is not in models"
            types = listed([kind for kind, known in MODEL_TYPES.items() if known.has_posterior], 10)
            raise InputError(
                f"config: differential: contrasts: {contrast}: density: {name!r} {found}; name a model of the types"
                f" {types} (there are: {listed(able)}), or leave density out"
            )


def _check_gene_sets(path: str) -> None:
    where = "config: differential: gene_sets"
    require_plain_path(path, where)
    if not os.path.isfile(path):
        raise InputError(
            f"{where}: no file {path!r} (from {os.getcwd()}); give the path of a GMT file, {REACTOME}, or null"
        )
    try:
        # Not at the top: planning without contrasts needs no numpy.
        from refatlas.models.gene_programs import read_gmt

        read_gmt(path)
    except InputError as error:
        raise InputError(str(error).replace("model.gmt", where, 1)) from None


def gene_set_file(section: dict[str, Any]) -> str | None:
    """Return the path of the GMT file of the section `differential`; None where enrichment is not asked for."""
    from refatlas.models.gene_programs import BUNDLED

    return str(BUNDLED) if section["gene_sets"] == REACTOME else section["gene_sets"]


def contrast_sources(
    name: str, contrast: dict[str, Any], datasets: Collection[str], queries: Collection[str], labelled: bool
) -> tuple[list[str], list[str]]:
    """Return the names of the datasets and queries whose cells may take part in a contrast.

    Args:
        datasets: whose files the run has: none with an atlas bundle.
        queries: of the sheet.
        labelled: whether the reference has labels.

    Raises:
        InputError: there are none, or no labels.
    """
    where = f"config: differential: contrasts: {name}"
    if not labelled:
        raise InputError(
            f"{where}: conditions are compared within labels, and the reference has none; set label_key for a dataset,"
            " annotate the clusters, or leave the contrast out"
        )
    wanted = contrast["cells"]
    found = list(datasets) if wanted != "queries" else [], list(queries) if wanted != "reference" else []
    if not any(found):
        have = f"datasets: {listed(datasets)}; queries: {listed(queries)}"
        raise InputError(
            f"{where}: cells: {wanted}: this run has no such files ({have}); with an atlas bundle, only queries can be"
            " compared"
        )
    return found
