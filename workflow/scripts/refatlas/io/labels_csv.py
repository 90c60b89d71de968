"""The labels of a query (labels.csv) as columns of an AnnData."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from refatlas.errors import InputError, listed, shown

if TYPE_CHECKING:
    import anndata as ad

# The status of a cell whose label is to be used.
ASSIGNED = "assigned"
# All other columns hold text, also where it looks like a number or a missing value.
NUMBERS = r"(?:.*_)?(?:confidence|probability|novelty)(?:_\d+|_in_label|_fdr)?"


def read_labels(path: str | Path) -> pd.DataFrame:
    """Return a labels.csv, indexed by cell; text stays text, empty numbers are missing.

    Raises:
        InputError: the file is no labels.csv, or names a cell twice.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as csv ({shown(error, 300)}); give the labels.csv of a query, such as"
            " results/queries/my_query/labels.csv"
        ) from error
    missing = [column for column in ("cell", "label") if column not in table]
    if missing:
        raise InputError(
            f"{path}: column {missing[0]!r} is missing; the file has {listed(table.columns, 20)}; give the labels.csv"
            " of a query"
        )
    table = table.set_index("cell")
    if table.index.has_duplicates:
        raise InputError(
            f"{path}: cell {shown(table.index[table.index.duplicated()][0])!r} occurs twice; names of cells must be"
            " unique"
        )
    for column in table.columns[table.columns.str.fullmatch(NUMBERS)]:
        table[column] = pd.to_numeric(table[column].replace("", None))
    return table


def add_labels(adata: "ad.AnnData", path: str | Path, prefix: str = "", overwrite: bool = False) -> "ad.AnnData":
    """Add the labels of a query to the cells of an AnnData, by the cells' names.

    Args:
        adata: the query, or some of its cells in any order; its obs is changed in place.
        path: of the query's labels.csv.
        prefix: of the new columns' names: "refatlas_" makes refatlas_label, refatlas_confidence, …
        overwrite: replace columns of obs that have these names.

    Returns:
        The same AnnData, with label, confidence, status and all further columns of labels.csv in
        obs.

    Raises:
        InputError: a cell is not in labels.csv, a name of a cell is not unique, or obs has a column
            already.
    """
    table, cells = read_labels(path), adata.obs_names
    if cells.has_duplicates:
        raise InputError(
            f"adata: cell {shown(cells[cells.duplicated()][0])!r} occurs twice in obs_names; names of cells must be"
            " unique (adata.obs_names_make_unique() changes them, and then they do not match labels.csv)"
        )
    missing = cells[~cells.isin(table.index)]
    if len(missing):
        raise InputError(
            f"{path}: {len(missing)} of the {len(cells)} cells of adata are not in it ({listed(missing, 3)}; it has"
            f" {listed(table.index, 3)}); give the labels.csv of the same query, with the names of cells unchanged"
        )
    table = table.loc[cells].add_prefix(prefix)
    existing = adata.obs.columns.intersection(table.columns)
    if len(existing) and not overwrite:
        raise InputError(
            f"adata: obs has {listed(existing)} already; set a prefix, such as prefix='refatlas_', or overwrite=True"
        )
    adata.obs[list(table.columns)] = table
    return adata
