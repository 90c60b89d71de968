"""Tables of cells and genes as any version of anndata, and writers in R, store them.

Tables of anndata 0.8 and later are read by anndata itself. In others, categories may be names or
codes, and their names may stand in several places: codes never pass for names.
"""

import warnings
from typing import Any

import h5py
import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed, shown

# Where the names of rows stand if a table does not say.
INDEX_NAMES = ("_index", "index", "cell_names", "obs_names", "var_names", "barcodes", "CellID", "rownames", "names")
# How R stores a missing integer.
MISSING_INTEGER = -(2**31)
CATEGORIES = "__categories"
# Encodings of columns since anndata 0.8.
CURRENT = ("array", "string-array", "categorical", "nullable-integer", "nullable-boolean", "nullable-string-array")


def read_table(group: Any, name: str, path: str) -> pd.DataFrame:
    """Return a stored table of cells or genes, indexed by name as text.

    Args:
        group: of h5py or zarr, which holds the table and may hold uns.
        name: of the table in it, such as "obs" or "raw/var".
        path: of the file, for messages.

    Raises:
        InputError: codes do not fit the names of their categories, or columns differ in length.
    """
    element = group[name]
    if _is_structured(element):
        table = _structured_table(element)
    else:
        table = read_element(element) if _is_current(element) else _grouped_table(element, name, path)
    table = _with_names_from_uns(table, group, f"{path}: {name}", _is_structured(element))
    return table.set_axis(table.index.astype(str))


def table_length(element: Any) -> int:
    """Return the number of rows of a stored table, without reading it."""
    return int((element if _is_structured(element) else element[_index_name(element)]).shape[0])


def read_element(element: Any) -> Any:
    """Return what anndata reads from an element of a file, also of an old one."""
    from anndata import OldFormatWarning
    from anndata.io import read_elem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldFormatWarning)
        return read_elem(element)


def _is_structured(element: Any) -> bool:
    return getattr(element, "dtype", None) is not None and element.dtype.names is not None


def _is_current(element: Any) -> bool:
    """Return whether a table and all its columns are of anndata 0.8 or later, which anndata reads right."""
    attributes = element.attrs
    if _text(attributes.get("encoding-version", "")) != "0.2.0" or not {"_index", "column-order"} <= set(attributes):
        return False
    names = [_text(name) for name in (attributes["_index"], *attributes["column-order"])]
    return CATEGORIES not in element and all(
        name in element
        and _text(element[name].attrs.get("encoding-type", "")) in CURRENT
        and not (
            isinstance(element[name], h5py.Dataset) and element[name].dtype.kind in "SO" and not _is_text(element[name])
        )
        for name in names
    )


def _is_text(stored: h5py.Dataset) -> bool:
    return _text(stored.attrs["encoding-type"]) == "string-array"


def _structured_table(element: Any) -> pd.DataFrame:
    """Return a table of anndata 0.6 and earlier: one array of records, whose first field names them."""
    records = element[:]
    names = list(records.dtype.names)
    index = next((name for name in INDEX_NAMES if name in names), names[0])
    columns = {name: _decoded(records[name]) for name in names if name != index and records[name].ndim == 1}
    return pd.DataFrame(columns, index=_decoded(records[index]))


def _grouped_table(element: Any, name: str, path: str) -> pd.DataFrame:
    """Return a table of one array for each column."""
    if not hasattr(element, "keys"):
        raise InputError(f"{path}: {name} is no table; write the file with a recent anndata")
    index, attributes = _index_name(element), element.attrs
    listed_columns = [_text(column) for column in attributes["column-order"]] if "column-order" in attributes else None
    names = [column for column in element if column != CATEGORIES] if listed_columns is None else listed_columns
    rows = _decoded(np.asarray(_read_column(element, index, path)))
    columns = {}
    for column in names:
        if column in element and column != index:
            values = _read_column(element, column, path)
            if values is None or np.ndim(values) != 1:
                continue
            if len(values) != len(rows):
                raise InputError(
                    f"{path}: column {shown(repr(column))} of {name} has {len(values)} values for {len(rows)} rows;"
                    " write the file again"
                )
            columns[column] = values
    return pd.DataFrame(columns, index=rows)


def _index_name(element: Any) -> str:
    """Return the name of the array that names a table's rows."""
    stated = _text(element.attrs["_index"]) if "_index" in element.attrs else None
    known = [name for name in (stated, *INDEX_NAMES) if name is not None and name in element]
    if known:
        return known[0]
    texts = [name for name in element if hasattr(element[name], "shape") and element[name].dtype.kind in "OSUT"]
    if len(texts) != 1:
        raise ValueError(f"the table {element.name} does not say which column names its rows; it has {listed(element)}")
    return str(texts[0])


def _read_column(element: Any, name: str, path: str) -> Any:
    """Return a column with its categories decoded, or None for one that is no column."""
    stored = element[name]
    if hasattr(stored, "keys"):
        return _read_grouped_column(stored, path)
    if stored.shape is None:
        return None
    names = _names_of_codes(element, name)
    if names is not None:
        return _categorical(stored[...], names, f"{path}: {stored.name}")
    enumerated = h5py.check_enum_dtype(stored.dtype) if isinstance(stored, h5py.Dataset) else None
    if enumerated:
        return _enumerated(stored[...], enumerated)
    encoding = _text(stored.attrs.get("encoding-type", ""))
    return _decoded(np.asarray(stored[...])) if encoding in ("", "array", "string-array") else _read_own(stored)


def _read_own(stored: Any) -> Any:
    values = read_element(stored)
    return _decoded(values) if isinstance(values, np.ndarray) else values


def _read_grouped_column(stored: Any, path: str) -> Any:
    """Return a column that is stored as a group: codes with names, or values with a mask."""
    where = f"{path}: {stored.name}"
    if "codes" in stored and "categories" in stored:
        ordered = bool(stored.attrs.get("ordered", False))
        return _categorical(stored["codes"][...], _read_names(stored["categories"]), where, ordered)
    if "values" in stored and "levels" in stored:
        # h5Seurat stores factors as R has them: the first level is 1.
        codes = _clean_codes(stored["values"][...])
        return _categorical(np.where(codes < 0, -1, codes - 1), _read_names(stored["levels"]), where)
    if "values" in stored and "mask" in stored and not stored.attrs.get("encoding-type"):
        values = pd.Series(_decoded(np.asarray(stored["values"][...])), dtype=object)
        return values.mask(np.asarray(stored["mask"][...], dtype=bool)).to_numpy()
    if _text(stored.attrs.get("encoding-type", "")) in ("", "dict", "dataframe"):
        return None
    return _read_own(stored)


def _names_of_codes(element: Any, name: str) -> np.ndarray | None:
    """Return the names of the categories of a column of codes, if they stand beside it."""
    stored = element[name]
    if "categories" in stored.attrs:
        names = stored.attrs["categories"]
        if isinstance(names, h5py.Reference) and names:
            return _read_names(element.file[names])
        if isinstance(names, bytes | str):
            return _read_names(element[_text(names)])
        if not isinstance(names, h5py.Reference) and np.ndim(names) == 1:
            return _decoded(np.asarray(names))
    if CATEGORIES in element and name in element[CATEGORIES]:
        return _read_names(element[CATEGORIES][name])
    return None


def _read_names(stored: Any) -> np.ndarray:
    """Return names of categories; anndata 0.6 stored a single one as a scalar."""
    values = _read_own(stored) if hasattr(stored, "keys") else stored[...]
    return np.atleast_1d(_decoded(np.atleast_1d(np.asarray(values))))


def _with_names_from_uns(table: pd.DataFrame, group: Any, where: str, old: bool) -> pd.DataFrame:
    """Return a table whose codes are decoded by uns["{column}_categories"], as anndata 0.6 stored them.

    Args:
        old: whether the table is of anndata 0.6, in which such integers are always codes.
    """
    uns = group["uns"] if "uns" in group and hasattr(group["uns"], "keys") else {}
    for column in table.columns:
        values, key = table[column], f"{column}_categories"
        if key in uns and isinstance(values.dtype, np.dtype) and values.dtype.kind in "iu":
            names = _read_names(uns[key])
            if old or (len(values) and values.min() >= -1 and values.max() < len(names)):
                table[column] = _categorical(values.to_numpy(), names, f"{where}/{column}")
    return table


def _clean_codes(codes: np.ndarray) -> np.ndarray:
    """Return codes as integers, -1 for a missing one."""
    codes = np.asarray(codes)
    if codes.dtype.kind == "f":
        codes = np.where(np.isnan(codes), -1, codes)
    codes = codes.astype(np.int64)
    return np.where(codes == MISSING_INTEGER, -1, codes)


def _categorical(codes: np.ndarray, names: np.ndarray, where: str, ordered: bool = False) -> pd.Categorical:
    codes = _clean_codes(codes)
    if len(codes) and (codes.max() >= len(names) or codes.min() < -1):
        raise InputError(
            f"{where} holds codes from {codes.min()} to {codes.max()}, but the file names {len(names)} categories"
            f" ({listed(names, 4)}); write the names into the column"
        )
    # A name may be stored twice: the cells of both are of one category.
    numbers, unique = pd.factorize(names)
    # The code -1 takes the number at the end.
    return pd.Categorical.from_codes(np.append(numbers, -1)[codes], unique, ordered=ordered)


def _enumerated(values: np.ndarray, names: dict[str, int]) -> Any:
    """Return an HDF5 enumeration by its names: R writes factors and logical values so."""
    by_value = {number: _text(name) for name, number in names.items()}
    found = pd.Series([by_value.get(int(value)) for value in values], dtype=object)
    if {name.upper() for name in by_value.values()} <= {"FALSE", "TRUE", "NA"}:
        return found.map({"FALSE": False, "TRUE": True}).astype("boolean").array
    return pd.Categorical(found.where(found != "NA", None))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _decoded(values: np.ndarray) -> np.ndarray:
    """Return an array whose bytes are text, as UTF-8."""
    if values.dtype.kind == "T":
        return values.astype(object)
    if values.dtype.kind == "S":
        return np.array([_text(value) for value in values.ravel()], dtype=object).reshape(values.shape)
    if values.dtype.kind == "O" and any(isinstance(value, bytes) for value in values.ravel()):
        decoded = [_text(value) if isinstance(value, bytes) else value for value in values.ravel()]
        return np.array(decoded, dtype=object).reshape(values.shape)
    return values
