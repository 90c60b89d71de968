"""Labels of cells that were made elsewhere, read from the users' files."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import as_text
from refatlas.io.count_file import CountFile
from refatlas.prepare.cell_columns import MAX_LENGTH, MAX_SHARE, MIN_CELLS, factorize, require_text

# Begin of the columns of probabilities, as in tables of labels.
SHARE = "p:"


def read_external_labels(
    file: CountFile, settings: Mapping[str, Any], unlabeled: list[str], cells: pd.Index, where: str
) -> pd.DataFrame:
    """Return what a file says of its cells' labels, as it was made elsewhere.

    Args:
        file: of the counts.
        settings: of the source: key, or probabilities and labels.
        unlabeled: values that mean no label.
        cells: names of the file's cells in the results.
        where: the config's key, for messages.

    Returns:
        One row per cell. With a key: label, None for a cell without one. With probabilities: `p:LABEL` of each label,
        float32; rows sum to 1, or are 0 for a cell without any.

    Raises:
        InputError: the file has no such column or matrix, or it holds no labels or no probabilities.
    """
    if settings["key"] is not None:
        return pd.DataFrame({"label": _labels(file, settings["key"], unlabeled, where)}, index=cells)
    values, names = _matrix(file, settings["probabilities"], settings["labels"], len(cells), where)
    return pd.DataFrame(
        _probabilities(values, cells, f"{where}: {file.path}"), index=cells, columns=[f"{SHARE}{n}" for n in names]
    )


def _labels(file: CountFile, key: str, unlabeled: list[str], where: str) -> np.ndarray:
    """Return the label of each cell in a column, None for a cell without one."""
    if key not in file.cells:
        raise InputError(
            f"{where}: {file.path} has no cell column {key!r}; it has {listed(file.cells.columns, 20)}; write the"
            " labels of its cells into the file, or into the table that metadata of the sheet names, or correct key"
        )
    codes, values = factorize(file.cells[key])
    known_as_none = {"", *map(as_text, unlabeled)}
    names = [None if name in known_as_none else name for name in map(as_text, values)]
    labels = np.array([*names, None], dtype=object)[codes]
    used = pd.Series(labels).value_counts()
    if used.empty:
        raise InputError(
            f"{where}: no cell of {file.path} has a label in column {key!r} (values: {listed(values, 5)}); correct key"
        )
    if used.sum() >= MIN_CELLS and len(used) > MAX_SHARE * used.sum():
        raise InputError(
            f"{where}: column {key!r} of {file.path} has {len(used):,} different values for {used.sum():,} cells"
            f" ({listed(used.index, 3)}), so it names or measures cells; correct key"
        )
    require_text(map(str, used.index), f"{where}: {file.path}: label", MAX_LENGTH)
    return labels


def _matrix(
    file: CountFile, key: str, labels: list[str] | None, n_cells: int, where: str
) -> tuple[np.ndarray, list[str]]:
    """Return a matrix in obsm and the names of its columns."""
    name = key.removeprefix("obsm/")
    if name not in file.spaces:
        raise InputError(
            f"{where}: {file.path} has no {name!r} in obsm; it has {listed(file.spaces, 20)}; write the probabilities"
            " of its cells' labels into the file (h5ad, h5mu or zarr), or correct probabilities"
        )
    values, names = file.read_space(name), labels
    if names is None:
        names = file.names_of_space(name)
    if values.ndim != 2 or len(values) != n_cells or not np.issubdtype(values.dtype, np.number):
        raise InputError(
            f"{where}: {name!r} of {file.path} holds {values.dtype} of shape {values.shape}; probabilities are numbers,"
            f" with a row for each of the {n_cells} cells and a column for each label"
        )
    if names is None:
        raise InputError(
            f"{where}: {name!r} of {file.path} has {values.shape[1]} columns without names; make it a data frame, put"
            f" their names into uns[{f'{name}_names'!r}], or list them as labels in the config"
        )
    names = [as_text(label) for label in names]
    if len(names) != values.shape[1] or len(set(names)) < len(names):
        raise InputError(
            f"{where}: {name!r} of {file.path} has {values.shape[1]} columns, and there are {len(set(names))} different"
            f" names for them ({listed(names, 5)}); give each column a name of its own"
        )
    require_text(names, f"{where}: {file.path}: label", MAX_LENGTH)
    return values, names


def _probabilities(values: np.ndarray, cells: pd.Index, where: str) -> np.ndarray:
    """Return rows that sum to 1, or are 0 for cells without any probability."""
    found = np.where(np.isnan(values).all(axis=1, keepdims=True), 0, values).astype(np.float64)
    wrong = ~(np.isfinite(found) & (found >= 0)).all(axis=1)
    if wrong.any():
        raise InputError(
            f"{where}: {int(wrong.sum())} cells ({listed(cells[wrong], 3)}) have negative or missing"
            f" probabilities, such as {shown(np.nanmin(found[wrong]))}; give probabilities, not scores or logarithms; a"
            " cell without any may have a row of 0 or NaN"
        )
    sums = found.sum(axis=1, keepdims=True)
    shares: np.ndarray = np.divide(found, sums, out=np.zeros_like(found), where=sums > 0).astype(np.float32)
    if not shares.any():
        raise InputError(f"{where}: no cell has any probability; write the probabilities of the cells' labels")
    return shares
