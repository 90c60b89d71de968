"""The file of the reference for people: all its cells with their labels, clusters and places."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from refatlas import __version__
from refatlas.annotate.ontology import with_terms
from refatlas.io.anndata_file import anndata_file, copy_counts, read_frame, write_facts, write_frame, write_spaces
from refatlas.io.cell_tables import suggested_clusters
from refatlas.io.plain_columns import plain_column
from refatlas.io.raw_counts import open_row
from refatlas.report.own_columns import own_columns


def reference_obs(
    counts: str,
    clusters: Mapping[str, Mapping[str, str]],
    rows: Mapping[str, Mapping[str, Any]],
    cells: Mapping[str, str],
    keep: str | list[str],
    terms: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return obs of the reference, in the order of its counts, and notes on the datasets' columns.

    It has dataset, batch, the labels at all levels, cluster_MODEL at the suggested resolution, and
    the datasets' own columns.

    Args:
        counts: path of the reference's counts.
        clusters: paths of clusters.parquet ("clusters") and cluster_stability.csv ("stability"), by
            model.
        rows: of the sheet, by dataset.
        cells: path of each dataset's cells.parquet.
        keep: of the datasets' own columns: "all", "none", or their names.
        terms: terms of the Cell Ontology by label; None adds no columns of them.
    """
    obs = read_frame(counts, "obs")
    obs = pd.DataFrame({name: plain_column(obs[name]) for name in obs}, index=obs.index)
    for model, files in clusters.items():
        obs[f"cluster_{model}"] = cluster_names(suggested_clusters(files["clusters"], files["stability"]), obs.index)
    if terms is not None:
        obs = with_terms(obs, terms)
        obs = pd.DataFrame({name: plain_column(obs[name]) for name in obs}, index=obs.index)
    if keep in ("none", []):
        return obs, []
    tables = {name: dataset_cells(row, name, cells[name]) for name, row in rows.items()}
    own, notes = own_columns(tables, keep, obs.columns)
    return obs.join(own) if not own.index.equals(obs.index) else pd.concat([obs, own], axis=1), notes


def dataset_cells(row: Mapping[str, Any], name: str, cells: str) -> pd.DataFrame:
    """Return the user's columns of a dataset's cells that are in the reference, indexed by cell.

    Args:
        row: of the sheet. name: of the dataset. cells: path of its cells.parquet.
    """
    own = open_row(row).cells
    keep = pd.read_parquet(cells, columns=["keep"])["keep"]
    return own.set_axis(f"{name}:" + own.index)[keep.to_numpy()]


def cluster_names(clusters: pd.Series, cells: pd.Index) -> pd.Categorical:
    """Return the cluster of each cell as categories in the order of their numbers.

    Args:
        clusters: number of each cell's cluster, indexed by cell. cells: their names, in any order.
    """
    found = clusters if clusters.index.equals(cells) else clusters.reindex(cells)
    numbers = np.unique(clusters)
    codes = np.where(found.isna(), -1, np.searchsorted(numbers, found.fillna(numbers[0])))
    return pd.Categorical.from_codes(codes, [str(number) for number in numbers])


def write_reference_file(
    path: str, obs: pd.DataFrame, counts: str, spaces: Mapping[str, Any], notes: list[str]
) -> None:
    """Write the h5ad of the reference; its counts are copied block by block.

    Args:
        path: of the h5ad. obs: of `reference_obs`, with its notes.
        counts: path of the reference's counts.
        spaces: latents, umaps and shown, as of `write_spaces`.
    """
    facts = {"version": __version__, "datasets": ", ".join(obs["dataset"].cat.categories), "notes": "; ".join(notes)}
    with anndata_file(path) as file:
        write_frame(file, "obs", obs)
        write_frame(file, "var", read_frame(counts, "var"))
        copy_counts(file, counts)
        write_spaces(file, obs.index, **spaces)
        write_facts(file, facts)
