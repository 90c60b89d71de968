"""The page of posterior predictive checks in the report."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from refatlas.evaluate.criticism import ALL
from refatlas.evaluate.criticism_notes import compared
from refatlas.evaluate.tables import stack_tables
from refatlas.io.atomic import read_csv
from refatlas.report.images import embed_png

# Figures of further queries are in their folders: the page is to stay small.
MAX_FIGURES = 20


def criticism_context(
    usual: str,
    queries: Mapping[str, Mapping[str, str]],
    figures: Mapping[str, str],
    query_figures: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Return the values that the page's template shows.

    Args:
        usual: path of criticism.csv of the evaluation.
        queries: path of criticism.csv by query and model.
        figures: path of the reference's figure by model; empty with an atlas bundle.
        query_figures: path of the figure by query and model.
    """
    known = read_csv(usual)
    tables = {query: stack_tables(paths.values()) for query, paths in queries.items()}
    shown = pd.concat([known, *tables.values()], ignore_index=True)
    whole = shown[shown["batch"] == ALL].astype(object)
    whole = whole.where(whole.notna(), None)
    found = [(query, path) for query, paths in query_figures.items() for path in paths.items()]
    return {
        "rows": whole.to_dict("records"),
        "queries": [
            {"query": query, "model": model, "rows": compared(_of(table, model), _of(known, model))}
            for query, table in tables.items()
            for model in queries[query]
        ],
        "figures": [(f"reference by {model}", embed_png(path)) for model, path in figures.items()]
        + [(f"query {query} by {model}", embed_png(path)) for query, (model, path) in found[:MAX_FIGURES]],
        "n_more": max(len(found) - MAX_FIGURES, 0),
    }


def _of(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return the rows of one model, of genes."""
    return table[(table["model"] == model) & (table["features"] == "rna")]
