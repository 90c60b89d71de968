"""The cells that clonotypes are made of: those of the reference, or those of a query."""

from collections.abc import Mapping

import pandas as pd

from refatlas.io.cell_tables import read_cells
from refatlas.receptors.sequences import require_same_form, with_cysteine


def read_receptor_tables(paths: Mapping[str, str]) -> pd.DataFrame:
    """Return the receptors of several datasets, or of one query, as one table indexed by cell.

    Args:
        paths: of receptors.parquet, by name.

    Raises:
        InputError: they write CDR3s in different forms.
    """
    tables = {name: pd.read_parquet(path) for name, path in paths.items()}
    require_same_form({name: with_cysteine(table) for name, table in tables.items()})
    return pd.concat(tables.values())


def read_reference_cells(paths: list[str]) -> pd.DataFrame:
    """Return batch and label of the cells that a reference keeps, indexed by cell; no label without labels.

    Args:
        paths: of the datasets' cells.parquet.
    """
    found = read_cells(paths, ["batch", "label", "keep"])
    return found.loc[found["keep"]].drop(columns="keep")


def read_query_cells(path: str, delivered: str | None) -> pd.DataFrame:
    """Return batch and delivered label of all cells of a query, indexed by cell; its known labels are not read.

    Args:
        path: of cells.parquet. delivered: path of delivered.parquet; None without labels.
    """
    found = pd.read_parquet(path, columns=["batch"])
    if delivered is None:
        return found
    return found.assign(label=pd.read_parquet(delivered, columns=["label"])["label"].reindex(found.index))
