"""What the report shows of clusters, of suggested names, and of novel cells in groups."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from refatlas.annotate.suggested_resolution import suggestion_notes
from refatlas.io.atomic import read_csv
from refatlas.report.images import embed_png

# Markers that are named for a cluster, and names that are suggested.
N_MARKERS, N_NAMES = 8, 3


def summarize_clusters(model: str, paths: dict[str, str]) -> dict[str, Any]:
    """Return what the report shows of one model's clusters, at the suggested resolution.

    Args:
        model: its name.
        paths: stability, clusters, suggestions, markers, cluster_figure and dot_plot.
    """
    stability = pd.read_csv(paths["stability"])
    suggested = float(stability.loc[stability["suggested"], "resolution"].iloc[0])
    clusters, markers, names = (read_csv(paths[kind]) for kind in ("clusters", "markers", "suggestions"))
    rows = clusters[clusters["resolution"].astype(float) == suggested]
    return {
        "model": model,
        "resolution": f"{suggested:g}",
        "stability": stability.assign(note=suggestion_notes(stability)).to_dict("records"),
        "rows": [
            {
                **row,
                "markers": list(_of_group(markers, suggested, row["cluster"])["symbol"][:N_MARKERS]),
                "names": _names(names, suggested, row["cluster"]),
            }
            for row in rows.fillna({"flags": "", "flag_reasons": ""}).to_dict("records")
        ],
        "cluster_figure": embed_png(paths["cluster_figure"]),
        "dot_plot": embed_png(paths["dot_plot"]),
    }


def _of_group(markers: pd.DataFrame, resolution: float, cluster: int) -> pd.DataFrame:
    """Return the rows of a cluster in markers.csv, best first."""
    same = pd.to_numeric(markers["grouping"], errors="coerce") == resolution
    return markers[same & (markers["group"].astype(str) == str(cluster))]


def _names(names: pd.DataFrame, resolution: float, cluster: int) -> list[dict[str, Any]]:
    """Return the best names of a cluster by each kind of evidence."""
    own = names[(names["resolution"].astype(float) == resolution) & (names["cluster"].astype(int) == int(cluster))]
    return own[own["rank"] <= N_NAMES].to_dict("records")


def summarize_novel_groups(paths: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the groups of a query's novel cells; None where they were not searched or there are none.

    Args:
        paths: novel_groups and novel_figure, where they are.
    """
    if "novel_groups" not in paths:
        return None
    groups = read_csv(paths["novel_groups"])
    if groups.empty:
        return None
    return {"rows": groups.fillna("").to_dict("records"), "figure": embed_png(paths["novel_figure"])}
