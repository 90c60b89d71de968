"""Cells that people take out of the reference, by name."""

import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.prepare.cell_quality import Scan

REASON = "excluded"


def exclude_cells(found: Scan, dataset: str, path: str, datasets: list[str]) -> None:
    """Mark the cells of a dataset that a table takes out.

    Args:
        found: the scan of the dataset, whose cells and summary are changed.
        dataset: its name.
        path: of a tab- or comma-separated table whose first column is the cell, as dataset:barcode. A list without a
            header is taken as well.
        datasets: names of all datasets.

    Raises:
        InputError: the table cannot be read, or names a cell or dataset that does not exist.
    """
    named = _read_names(path, datasets)
    owners = named.str.split(":", n=1).str[0]
    unknown = named[~owners.isin(datasets)]
    if len(unknown):
        raise InputError(
            f"config: exclude: {path}: cell {shown(repr(unknown[0]))} is of no dataset of the reference; cells are"
            f" named dataset:barcode, and the datasets are {listed(datasets)}"
        )
    own = named[owners == dataset]
    missing = own[~own.isin(found.cells.index)]
    if len(missing):
        raise InputError(
            f"config: exclude: {path}: {len(missing)} cells are not in dataset {dataset!r}: {listed(missing, 3)} (it"
            f" has {listed(found.cells.index, 3)})"
        )
    taken = found.cells.index.isin(own) & found.cells["keep"].to_numpy()
    found.cells.loc[taken, "reason"] = REASON
    found.cells["keep"] = found.cells["reason"] == ""
    found.summary["n_kept"] = int(found.cells["keep"].sum())
    found.summary["low_quality"] = found.cells.loc[~found.cells["keep"], "reason"].value_counts().to_dict()


def _read_names(path: str, datasets: list[str]) -> pd.Index:
    """Return the names in the first column; a header that is the name of a cell is the first of them."""
    try:
        separator = "," if path.removesuffix(".gz").endswith(".csv") else "\t"
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise InputError(
            f"config: exclude: {path} cannot be read as a table ({shown(error, 200)}); its first column must name the"
            " cells, as dataset:barcode"
        ) from error
    header = str(table.columns[0])
    owner, separator, _ = header.partition(":")
    first = [header] if separator and owner in datasets else []
    return pd.Index([*first, *table.iloc[:, 0]])
