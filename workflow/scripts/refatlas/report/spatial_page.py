"""The page of places in the tissue: how well held-out spots are placed, and where the types of each query lie."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from refatlas.io.atomic import read_csv, read_json
from refatlas.report.images import embed_png
from refatlas.spatial.held_out import CLEAR, ERRORS

# Types whose distances make a table that can be read, and regions of a table of shares.
MOST_TYPES, MOST_REGIONS = 15, 9


def spatial_context(
    spots: str,
    methods: str,
    tissue: str,
    accuracy: str,
    queries: Mapping[str, Mapping[str, str]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the values that the page's template shows.

    Args:
        spots, methods, tissue, accuracy: paths. queries: paths by query and kind. settings: of the section `spatial`.
    """
    scores = read_csv(methods)
    verdicts = scores[scores["chosen"]].set_index("partition")
    return {
        "settings": settings,
        "spots": read_json(spots),
        "scores": scores.astype(object).where(scores.notna(), None).to_dict("records"),
        "verdicts": {name: row.to_dict() for name, row in verdicts.iterrows()},
        "clear": CLEAR,
        "errors": ERRORS,
        "tissue": embed_png(tissue),
        "accuracy": embed_png(accuracy),
        "queries": [
            {"name": name, **read_json(files["summary"]), **_types(files), "figure": embed_png(files["figure"])}
            for name, files in queries.items()
        ],
    }


def _types(files: Mapping[str, str]) -> dict[str, Any]:
    """Return tables of a query: shares of regions by type, and distances between types, of each partition."""
    types = pd.read_csv(files["types"], converters={"label": str, "region": str, "partition": str})
    between = pd.read_csv(files["distances"], converters={"label_1": str, "label_2": str, "partition": str})
    shares = {}
    for name, part in types.groupby("partition", sort=False):
        regions = list(dict.fromkeys(part["region"]))
        if len(regions) <= MOST_REGIONS:
            rows = [
                {**own.iloc[0][["label", "cells", "placed"]], "shares": list(own["share"])}
                for _, own in part.groupby("label", sort=False)
            ]
            shares[name] = {
                "head": [["type", "name"], "cells", "placed", *([region] for region in regions)],
                "rows": rows,
            }
    return {
        "shares": shares,
        "between": {name: _matrix(part) for name, part in between.groupby("partition", sort=False)},
    }


def _matrix(pairs: pd.DataFrame) -> dict[str, Any]:
    """Return the divergences of types as a square table, of the first MOST_TYPES."""
    labels = list(dict.fromkeys(pairs["label_1"]))[:MOST_TYPES]
    known = {(r.label_1, r.label_2): r.divergence for r in pairs.itertuples()}
    known |= {(second, first): value for (first, second), value in known.items()}
    return {
        "labels": labels,
        "head": [["type", "name"], *([label] for label in labels)],
        "rows": [[known[first, second] for second in labels] for first in labels],
    }
