"""Tables with one row per cell, and the names of their columns. Light to import."""

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyarrow import parquet

if TYPE_CHECKING:
    import anndata as ad

UNLABELED = "__unlabeled__"
# Between the labels of a prediction set in labels.csv.
SEPARATOR = " | "
# Spaces, also those at which no line breaks; a tab or a line break within a name stays.
BLANKS = re.compile(r"[ \u00a0]+")


def as_text(value: object) -> str:
    """Return a batch, label or symbol as text, in Unicode's NFC, without blanks around it and with single spaces in it.

    Integers stored as floats lose their ".0"; é is one character, however it was typed.
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return BLANKS.sub(" ", unicodedata.normalize("NFC", str(value))).strip()


def label_column(level: int) -> str:
    """Return the name of a label level's column: label, label_2, …; 1 is the finest."""
    return "label" if level == 1 else f"label_{level}"


def read_cells(paths: Iterable[str], columns: list[str] | None = None, named: bool = True) -> pd.DataFrame:
    """Return the cells of several datasets as one table.

    A label level that a dataset lacks is missing there.

    Args:
        paths: of each dataset's cells.parquet.
        columns: to read; None for all but the barcodes.
        named: whether the index has the cells' names, which take most of the memory of what is left.
    """
    return pd.concat([_read(path, columns, named) for path in paths], ignore_index=not named)


def _read(path: str, columns: list[str] | None, named: bool) -> pd.DataFrame:
    stored = parquet.read_schema(path).names
    wanted = [
        name
        for name in stored
        if name != "barcode" and (columns is None or name in columns or name == "cell") and (named or name != "cell")
    ]
    return parquet.read_table(path, columns=wanted).to_pandas(ignore_metadata=not named)


def read_values(path: str) -> np.ndarray:
    """Return the numbers of a table with one row per cell, without the cells' names.

    Returns:
        A latent space or a UMAP, shape (n_cells, n_columns), in the table's order.
    """
    columns = [name for name in parquet.read_schema(path).names if name != "cell"]
    return parquet.read_table(path, columns=columns).to_pandas(ignore_metadata=True).to_numpy()


def mark_training_cells(cells: pd.DataFrame, fold: str | None) -> pd.DataFrame:
    """Return a dataset's cells, with `keep` only for those that a fold trains on.

    Args:
        fold: path of its fold.parquet; None for the whole reference, which changes nothing.
    """
    if fold is None:
        return cells
    roles = pd.read_parquet(fold)["role"]
    return cells.assign(keep=cells["keep"] & cells.index.isin(roles.index[roles == "train"]))


def label_columns(cells: pd.DataFrame) -> list[str]:
    """Return the columns of a table of cells that are label levels, finest first."""
    found = [name for name in cells if name == "label" or (name[:6] == "label_" and name[6:].isdigit())]
    return sorted(found, key=lambda name: (len(name), name))


def with_labels_of(cells: pd.DataFrame, labelled: pd.DataFrame) -> pd.DataFrame:
    """Return cells with the labels that the same cells have in another table, missing where it has none.

    Args:
        cells: indexed by cell; labels of their own are dropped.
        labelled: indexed by cell, with label, label_2 ….
    """
    levels = label_columns(labelled)
    kept = cells.drop(columns=label_columns(cells))
    taken = labelled[levels].reindex(cells.index)
    return kept.join(taken.astype(object).where(taken.notna(), None))


def suggested_clusters(clusters: str, stability: str) -> pd.Series:
    """Return the cluster of each cell at the suggested resolution, indexed by cell.

    Args:
        clusters: path of clusters.parquet. stability: path of cluster_stability.csv.
    """
    table = pd.read_csv(stability)
    resolution = f"{table.loc[table['suggested'], 'resolution'].iloc[0]:g}"
    return pd.read_parquet(clusters, columns=[resolution])[resolution]


def latent_table(latent: np.ndarray, counts: "ad.AnnData") -> pd.DataFrame:
    """Return a latent space as a table indexed by cell, with columns latent_1 and so on."""
    columns = [f"latent_{i + 1}" for i in range(latent.shape[1])]
    return pd.DataFrame(latent, index=pd.Index(counts.obs_names, name="cell"), columns=columns)
