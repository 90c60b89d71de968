"""The page of clonotypes: of the reference, and of each query with those that the reference has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from refatlas.io.atomic import read_csv, read_json
from refatlas.report.images import embed_png

# Clonotypes, groups and pairs of groups that the page names of each source.
N_CLONOTYPES, N_GROUPS, N_PAIRS = 15, 60, 15


@dataclass(frozen=True)
class Source:
    """The clonotypes of the reference or of a query.

    Attributes:
        name: shown; is_query: whether it is a query.
        summary: clonotypes.json. clonotypes, batches, labels, overlap: the tables of these names.
    """

    name: str
    is_query: bool
    summary: Mapping[str, Any]
    clonotypes: pd.DataFrame
    batches: pd.DataFrame
    labels: pd.DataFrame
    overlap: pd.DataFrame


def read_sources(reference: Mapping[str, str], queries: Mapping[str, Mapping[str, str]]) -> list[Source]:
    """Return the reference and the queries.

    Args:
        reference: paths by kind. queries: paths by kind and query.
    """
    names = list(queries["summary"])
    paths = [("the reference", False, reference)]
    paths += [(name, True, {kind: of_kind[name] for kind, of_kind in queries.items()}) for name in names]
    return [
        Source(name, is_query, read_json(p["summary"]), *(read_csv(p[kind]) for kind in list(p) if kind != "summary"))
        for name, is_query, p in paths
    ]


def clonotype_context(
    sources: Sequence[Source], figure: str, v_genes: bool, scores: pd.DataFrame | None = None
) -> dict[str, Any]:
    """Return the values that the page's template shows.

    Args:
        figure: path of the figure. v_genes: whether the V genes are part of a clonotype.
        scores: receptor_models.csv; None without such models or folds.
    """
    return {
        "v_genes": v_genes,
        "scores": [] if scores is None else _rows(scores),
        "figure": embed_png(figure),
        "limits": {"clonotypes": N_CLONOTYPES, "groups": N_GROUPS, "pairs": N_PAIRS},
        "sources": [
            {
                "name": source.name,
                "is_query": source.is_query,
                "folder": f"results/queries/{source.name}" if source.is_query else "results/reference",
                "summary": source.summary,
                "clonotypes": _rows(_shown(source).head(N_CLONOTYPES)),
                "groups": {
                    "batch": _rows(source.batches.head(N_GROUPS)),
                    "label": _rows(source.labels.head(N_GROUPS)),
                },
                "more": {"batch": len(source.batches) > N_GROUPS, "label": len(source.labels) > N_GROUPS},
                "pairs": _rows(
                    source.overlap.sort_values(
                        ["n_shared", "grouping", "first", "second"], ascending=[False, *[True] * 3]
                    ).head(N_PAIRS)
                ),
                "n_pairs": len(source.overlap),
            }
            for source in sources
        ],
    }


def _shown(source: Source) -> pd.DataFrame:
    """Return the clonotypes that are shown: of a query, those in the reference first."""
    if not source.is_query:
        return source.clonotypes
    known = source.clonotypes["reference_cells"] > 0
    return pd.concat([source.clonotypes[known], source.clonotypes[~known]])


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")
