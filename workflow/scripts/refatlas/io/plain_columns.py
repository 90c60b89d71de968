"""Columns of cells and genes in the types that every reader of h5ad files knows.

Numbers, truth values without missing ones, text without missing ones, and categories. Neither the
nullable arrays of pandas nor dates: anndata 0.8, cellxgene and readers in R have no types for them.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

# The largest integer that a floating-point number of 64 bits holds exactly.
EXACT = 2**53
LIMITS = np.iinfo(np.int32)
# Names that tables in h5ad files use for themselves.
TAKEN = ("_index", "__categories")


def plain_column(values: pd.Series) -> pd.Series:
    """Return a column as numbers, truth values, text or categories.

    - Integers with missing values, or beyond 32 bits, become floating-point numbers, and text if
      these could not hold them.
    - Truth values with missing ones, dates and everything else become text.
    - Text becomes categories, unless no value is missing and none occurs twice.
    - A column without any value becomes missing numbers.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _plain_categories(values)
    if isinstance(values.dtype, pd.SparseDtype):
        return plain_column(pd.Series(np.asarray(values), index=values.index))
    kind = values.dtype.kind
    if kind == "f":
        return _plain_numbers(values.astype(np.float64) if values.isna().any() else values)
    if kind in "iu":
        return _plain_integers(values)
    if kind == "b":
        return as_text_column(values) if values.isna().any() else values.astype(bool)
    return _plain_objects(values) if kind in "OUST" else as_text_column(values)


def _plain_numbers(values: pd.Series) -> pd.Series:
    size = np.dtype(getattr(values.dtype, "numpy_dtype", values.dtype)).itemsize
    return values.astype(np.float32 if size <= 4 else np.float64)


def _plain_integers(values: pd.Series) -> pd.Series:
    if values.isna().all():
        return values.astype(np.float64)
    smallest, largest = int(values.min()), int(values.max())
    if not -EXACT <= smallest <= largest <= EXACT:
        return as_text_column(values)
    if values.isna().any() or smallest < LIMITS.min or largest > LIMITS.max:
        return values.astype(np.float64)
    return values.astype(np.dtype(getattr(values.dtype, "numpy_dtype", values.dtype)).newbyteorder("="))


def _plain_objects(values: pd.Series) -> pd.Series:
    """Return a column of Python objects by what they are."""
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "boolean":
        return plain_column(values.astype("boolean"))
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return plain_column(pd.to_numeric(values.astype(object).where(values.notna(), None).map(_number)))
    return as_text_column(values)


def _number(value: Any) -> Any:
    return np.nan if value is None else value if isinstance(value, int) else float(value)


def as_text_column(values: pd.Series) -> pd.Series:
    """Return any column as text: categories, or an array where all values differ and none is missing."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, names = values.cat.codes.to_numpy(), np.asarray(values.cat.categories, dtype=object)
    else:
        present = values.notna().to_numpy()
        texts = np.full(len(values), None, dtype=object)
        texts[present] = [_text(value) for value in values.array[present]]
        codes, names = pd.factorize(texts)
    numbers, unique = pd.factorize(np.array([clean_text(name) for name in names], dtype=object), sort=True)
    if not len(unique):
        return pd.Series(np.nan, index=values.index)
    codes = np.append(numbers, -1)[codes]
    if len(unique) == len(codes) and (codes >= 0).all():
        return pd.Series(unique[codes].astype(object), index=values.index, dtype=object)
    return pd.Series(pd.Categorical.from_codes(codes, unique), index=values.index)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def clean_text(value: Any) -> str:
    """Return a value as text that HDF5 can hold: without null characters and halves of characters."""
    return _text(value).replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _plain_categories(values: pd.Series) -> pd.Series:
    """Return categories whose names are text, or numbers."""
    categories = values.cat.categories
    if not len(categories):
        return pd.Series(np.nan, index=values.index)
    if categories.dtype.kind in "iuf" and not isinstance(categories, pd.IntervalIndex):
        within = categories.dtype.kind == "f" or (categories.min() >= LIMITS.min and categories.max() <= LIMITS.max)
        if within:
            return values
    numbers, unique = pd.factorize(np.array([clean_text(name) for name in categories], dtype=object))
    codes = np.append(numbers, -1)[values.cat.codes.to_numpy()]
    return pd.Series(pd.Categorical.from_codes(codes, unique, ordered=bool(values.cat.ordered)), index=values.index)


def plain_names(names: Iterable[Any], ours: Iterable[str] = ()) -> dict[Any, str]:
    """Return the name of each column in an h5ad file.

    A name that one of our columns has gets the prefix "original_". A "/" becomes "_": in HDF5 it
    would separate folders.

    Args:
        names: of the user's columns, all different.
        ours: names of columns beside them.
    """
    found: dict[Any, str] = {}
    taken = {*ours, *TAKEN}
    for name in names:
        new = clean_text(name).replace("/", "_")
        new = new if new.strip(". ") else "unnamed"
        while new in taken:
            new = f"original_{new}"
        found[name] = new
        taken.add(new)
    return found


def plain_table(table: pd.DataFrame, ours: Iterable[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """Return a table in plain types and names, and a note for each column whose name differs.

    Args:
        table: of cells or genes; its index becomes text.
        ours: names of columns that will stand beside.
    """
    names = plain_names(table.columns, ours)
    columns = {new: plain_column(table[old]) for old, new in names.items()}
    index = pd.Index([clean_text(name) for name in table.index], dtype=object)
    found = pd.DataFrame({new: column.array for new, column in columns.items()}, index=index)
    return found, [f"column {old!r} is kept as {new!r}" for old, new in names.items() if new != old]
