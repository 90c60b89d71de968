"""The page of markers by trained models, beside those of the plain test."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from refatlas.annotate.marker_table import MAX_MARKERS
from refatlas.io.atomic import read_csv
from refatlas.report.images import embed_png

# Genes that are named of each group.
N_GENES = 12


def model_marker_context(
    agreement: Mapping[str, Mapping[str, str]],
    top: Mapping[str, Mapping[str, str]],
    figures: Mapping[str, Mapping[str, str]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the values that the page's template shows.

    Args:
        agreement, top, figures: paths by model and grouping. settings: of the section `differential.markers`.
    """
    return {
        "settings": settings,
        "max_markers": MAX_MARKERS,
        "parts": [
            {
                "model": model,
                "grouping": grouping,
                "rows": _rows(read_csv(path), read_csv(top[model][grouping])),
                "figure": embed_png(figures[model][grouping]),
            }
            for model, paths in agreement.items()
            for grouping, path in paths.items()
        ],
    }


def _rows(agreement: pd.DataFrame, top: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row per group and kind of features, with the symbols of the first genes."""
    first = (
        top[top["rank"] <= N_GENES].groupby(["label", "features"])["symbol"].apply(lambda names: list(map(str, names)))
    )
    rows = agreement.astype(object).where(agreement.notna(), None).to_dict("records")
    return [{**_whole(row), "first": first.get((row["label"], row["features"]), [])} for row in rows]


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose numbers of genes are whole: in a csv with gaps, they are not."""
    counts = ("genes", "differ", "markers", "plain_markers", "both", "top")
    return {name: int(value) if name in counts and value is not None else value for name, value in row.items()}
