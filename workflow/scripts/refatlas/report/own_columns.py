"""The columns that datasets have of their own, as columns of one table of all cells."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from refatlas.errors import InputError, listed
from refatlas.io.plain_columns import as_text_column, plain_column, plain_names

KINDS = {"b": "truth values", "i": "numbers", "u": "numbers", "f": "numbers", "O": "text"}


def kept_columns(tables: Mapping[str, pd.DataFrame], keep: str | list[str]) -> list[str]:
    """Return the columns of datasets that are kept, in the order in which they are found.

    Args:
        tables: cells of each dataset.
        keep: "all", "none", or names of columns.

    Raises:
        InputError: no dataset has a column that is named.
    """
    found = list(dict.fromkeys(name for table in tables.values() for name in table.columns))
    if isinstance(keep, str):
        return found if keep == "all" else []
    missing = [name for name in keep if name not in found]
    if missing:
        raise InputError(
            f"config: export: keep_columns: no dataset has a cell column {listed(map(repr, missing))}; they have"
            f" {listed(map(repr, found), 30)}"
        )
    return [name for name in found if name in keep]


def own_columns(
    tables: Mapping[str, pd.DataFrame], keep: str | list[str], ours: Iterable[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the datasets' own columns, one dataset after the other, and notes on them.

    A column is missing in the cells of a dataset that lacks it. One that holds numbers in one
    dataset and text in another is text.

    Args:
        tables: the cells of each dataset that are in the reference, indexed by their names.
        keep: as of `kept_columns`.
        ours: names of columns that will stand beside.
    """
    wanted, columns, notes = kept_columns(tables, keep), {}, []
    for name, new in plain_names(wanted, ours).items():
        parts = {dataset: plain_column(table[name]) if name in table else None for dataset, table in tables.items()}
        kinds = {dataset: _kind(part) for dataset, part in parts.items()}
        columns[new] = joined([(part, len(tables[dataset])) for dataset, part in parts.items()])
        if len({kind for kind in kinds.values() if kind}) > 1:
            of = "; ".join(f"{kind} in {dataset}" for dataset, kind in kinds.items() if kind)
            notes.append(f"column {name!r} is kept as text: {of}")
        if new != name:
            notes.append(f"column {name!r} is kept as {new!r}")
    index = pd.Index(np.concatenate([table.index for table in tables.values()]), dtype=object)
    return pd.DataFrame({name: column.array for name, column in columns.items()}, index=index), notes


def _kind(part: pd.Series | None) -> str:
    """Return what a column of a dataset holds; "" for one that is absent or without values."""
    if part is None or part.isna().all():
        return ""
    return KINDS[part.dtype.kind]


def joined(parts: list[tuple[pd.Series | None, int]]) -> pd.Series:
    """Return columns of several datasets as one.

    Args:
        parts: the column of each dataset in a plain type, or None where it is absent, and the
            number of its cells.
    """
    kinds = {_kind(part) for part, n in parts if n} - {""}
    absent = any(n and not _kind(part) for part, n in parts)
    if kinds == {"truth values"} and not absent:
        return pd.concat([part for part, n in parts if part is not None and n], ignore_index=True)
    if kinds <= {"numbers"}:
        return plain_column(pd.Series(np.concatenate([_numbers(part, n) for part, n in parts if n])))
    texts = [_categories(part, n) for part, n in parts if n]
    return as_text_column(pd.Series(union_categoricals(texts)))


def _numbers(part: pd.Series | None, n: int) -> np.ndarray:
    """Return a column of numbers; n missing values where there is none."""
    return np.full(n, np.nan, np.float32) if part is None or not _kind(part) else part.to_numpy()


def _categories(part: pd.Series | None, n: int) -> pd.Categorical:
    """Return a column as categories whose names are text; n missing values where there is none."""
    if part is None or not _kind(part):
        return pd.Categorical.from_codes(np.full(n, -1), pd.Index([], dtype=object))
    found = pd.Categorical(as_text_column(part)).remove_unused_categories()
    return pd.Categorical.from_codes(found.codes, pd.Index(found.categories, dtype=object))
