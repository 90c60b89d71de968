"""The cells that take part in a contrast, with their condition, sample and covariates from the users' files."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.cell_tables import as_text
from refatlas.io.raw_counts import open_row
from refatlas.prepare.cell_columns import factorize

# Columns that every cell has: its name in the sheet, of a dataset or a query, and its batch.
SHEET_COLUMNS = ("dataset", "query")
KNOWN_COLUMNS = (*SHEET_COLUMNS, "batch")
# Not a name that a user's column has.
FILE = "(file)"


class Source(NamedTuple):
    """A file of a sheet whose cells may take part.

    Attributes:
        row: of the sheet.
        cells: cells.parquet, in the order of the file, indexed by cell, with barcode, batch and keep.
        is_query: whether it is a query, of which all cells may take part.
    """

    row: Mapping[str, Any]
    cells: pd.DataFrame
    is_query: bool


def read_participants(
    sources: Mapping[str, Source], contrast: Mapping[str, Any], columns: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the cells of the two groups with the columns of the design as text, and notes.

    Cells without a condition take no part, nor do those of other groups.

    Args:
        sources: by their name in the sheet.
        contrast: its settings.
        columns: of the design; the condition and the sample are added.

    Returns:
        Indexed by cell: file, batch, and each column, as categories.

    Raises:
        InputError: no file has the columns, a group has no cell, or a cell of a group lacks a value.
    """
    wanted = list(dict.fromkeys([contrast["condition"], contrast["sample"], *columns]))
    tables, notes, lacking = [], [], {}
    values: set[str] = set()
    for name, source in sources.items():
        own = open_row(source.row).cells if set(wanted) - set(KNOWN_COLUMNS) else pd.DataFrame(index=source.cells.index)
        missing = [column for column in wanted if column not in KNOWN_COLUMNS and column not in own]
        if missing:
            lacking[name] = f"{name} lacks {listed(map(repr, missing))} (it has {listed(own.columns, 20)})"
            continue
        notes += _shadow_notes(name, own, wanted)
        table = _columns_of(name, source, own, wanted)
        values |= set(table[contrast["condition"]].dropna())
        tables.append(table[table[contrast["condition"]].isin(groups_of(contrast))])
        notes += _other_notes(name, table[contrast["condition"]], contrast)
    if not tables:
        raise InputError(
            f"no file has all columns of the contrast ({listed(map(repr, wanted))}): {'; '.join(lacking.values())};"
            " correct the names, or add the columns by a table of metadata in the sheet"
        )
    _require_groups(values, contrast)
    notes = [f"left out: {text}" for text in lacking.values()] + notes
    return _categories(_complete_cells(pd.concat(tables), wanted)), notes


def groups_of(contrast: Mapping[str, Any]) -> list[str]:
    """Return the test group and the control group as text."""
    return [as_text(group) for group in contrast["groups"]]


def _columns_of(name: str, source: Source, own: pd.DataFrame, wanted: list[str]) -> pd.DataFrame:
    """Return the wanted columns of the cells that may take part, as text; missing values are None."""
    may = np.ones(len(source.cells), dtype=bool) if source.is_query else source.cells["keep"].to_numpy()
    found = {FILE: np.full(len(source.cells), name, dtype=object), "batch": source.cells["batch"].to_numpy(object)}
    for column in wanted:
        if column in SHEET_COLUMNS:
            found[column] = found[FILE]
        elif column != "batch":
            codes, values = factorize(own[column])
            texts = [as_text(value).strip() or None for value in values]
            found[column] = np.array([*texts, None], dtype=object)[codes]
    return pd.DataFrame(found, index=source.cells.index)[may]


def _shadow_notes(name: str, own: pd.DataFrame, wanted: list[str]) -> list[str]:
    """Return a note for a column of a file that a name of the workflow stands before."""
    shadowed = [column for column in wanted if column in SHEET_COLUMNS and column in own]
    return [f"{name}: {column!r} is the name in the sheet, not the file's own column" for column in shadowed]


def _other_notes(name: str, condition: pd.Series, contrast: Mapping[str, Any]) -> list[str]:
    n_missing = int(condition.isna().sum())
    others = sorted(set(condition.dropna()) - set(groups_of(contrast)))
    notes = [f"{name}: {n_missing:,} cells without a condition take no part"] if n_missing else []
    return notes + ([f"{name}: cells of other groups take no part: {listed(others)}"] if others else [])


def _require_groups(values: set[str], contrast: Mapping[str, Any]) -> None:
    for group in groups_of(contrast):
        if group not in values:
            raise InputError(
                f"groups: no cell has {group!r} in column {contrast['condition']!r}; its values are"
                f" {listed(sorted(map(repr, values)), 20)}; correct the name of the group"
            )


def _complete_cells(cells: pd.DataFrame, wanted: list[str]) -> pd.DataFrame:
    """Return the cells, none of which may lack a value of the design."""
    for column in wanted:
        missing = cells[column].isna()
        if missing.any():
            raise InputError(
                f"{int(missing.sum()):,} cells of the two groups have no value in column {column!r}"
                f" ({listed(cells.index[missing], 3)}); fill it in, or leave the column out of the contrast"
            )
    return cells


def _categories(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.rename_axis(index="cell").astype("category")
