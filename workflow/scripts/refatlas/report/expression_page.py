"""The page of normalised and counterfactual expression."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from refatlas.evaluate.counterfactual import MIN_CELLS, MIN_MIXING, PROBE
from refatlas.io.atomic import read_csv

# Genes that rise or fall most, of each label.
N_GENES = 8


def expression_context(
    files: Mapping[str, Mapping[str, str]],
    section: Mapping[str, Any],
    pairs: Mapping[str, Mapping[str, Any]],
    written: list[str],
) -> dict[str, Any]:
    """Return the values that the page's template shows.

    Args:
        files: paths of support.csv (support), changes.csv (changes) and, if any, error.csv (errors), by pair.
        section: of the configuration. pairs: batches, by pair. written: the files of expression.
    """
    return {
        "probe": PROBE,
        "model": section["model"],
        "written": written,
        "limits": {"cells": MIN_CELLS, "mixing": MIN_MIXING},
        "pairs": [{"folder": pair, **pairs[pair], **pair_tables(paths)} for pair, paths in files.items()],
    }


def pair_tables(paths: Mapping[str, str]) -> dict[str, Any]:
    """Return the rows of the tables of a pair: support with the genes that change most, and errors."""
    changes = read_csv(paths["changes"])
    most = {label: strongest(part) for label, part in changes.groupby("label")}
    support = [{**row, **most.get(row["label"], {})} for row in _rows(read_csv(paths["support"]))]
    return {"support": support, "errors": _rows(read_csv(paths["errors"])) if "errors" in paths else []}


def strongest(changes: pd.DataFrame) -> dict[str, list[str]]:
    """Return the symbols of the genes that rise and fall most, strongest first."""
    ordered = changes.sort_values("log2_fold_change", ascending=False, kind="stable")
    up, down = ordered[ordered["log2_fold_change"] > 0], ordered[ordered["log2_fold_change"] < 0][::-1]
    return {name: part["symbol"].head(N_GENES).astype(str).tolist() for name, part in (("up", up), ("down", down))}


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")
