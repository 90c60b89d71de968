"""Tables of further cell columns beside a file of counts."""

import re
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed, shown
from refatlas.io.count_file import CountFile
from refatlas.io.matrix_rows import Rows
from refatlas.io.text_table import read_text_table

# What R, pandas and spreadsheets write for a missing value; an empty cell is one as well.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
# Names that say nothing about a cell but its position.
RUNNING_NUMBER = r"\d+"
# How names of the same cell differ between programs, with the words for it.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "with '.' or '_' for '-', as R writes them": lambda name: re.sub(r"[-._]", "-", name),
    "without or with another suffix such as '-1'": lambda name: re.sub(r"[-._]\d+$", "", name),
    "in capitals or small letters, or with spaces around": lambda name: name.strip().casefold(),
    "with another prefix or suffix, such as that of a sample": lambda name: max(
        re.findall(r"[ACGT]{8,}", name), key=len, default=name
    ),
}


def read_metadata(path: str) -> pd.DataFrame:
    """Return a table of cell columns, indexed by its first column, the cells' names.

    Text stays text, so that "01" is not 1; what `MISSING` lists is a missing value.

    Raises:
        InputError: it is no table.
    """
    table = _read_table(path)
    return _indexed(table, 0)


def add_metadata(file: CountFile, path: str, listed_cells: bool = False) -> None:
    """Add the columns of a table to a file's cells; they replace columns of the same name.

    Args:
        file: changed in place.
        path: of the table; see `read_metadata`. If its first column has none of the cells, but
            exactly one of the others has, that one names the cells.
        listed_cells: whether cells that the table does not list are left out.

    Raises:
        InputError: it is no table, lists a cell twice, none of the file's cells or, without
            `listed_cells`, not all of them.
    """
    table, cells = _read_table(path), file.cells.index
    place = _name_column(file, path, table)
    listing = _indexed(table, place)
    if listing.index.has_duplicates:
        raise InputError(
            f"{path}: cell {listing.index[listing.index.duplicated()][0]!r} occurs twice in column"
            f" {_called(table, place)}; names of cells must be unique: give each file a table of its own cells"
        )
    known = cells.isin(listing.index)
    if not known.all():
        if not listed_cells or (_are_numbers(cells) and _are_numbers(listing.index)):
            raise _incomplete(file, path, cells[~known], listing.index, listed_cells)
        select_cells(file, known, f"not listed in {path}")
    others = len(listing) - int(known.sum())
    if others:
        file.notes.append(f"metadata: {others:,} cells of {path} are not in the counts, and are not read")
    both = file.cells.columns.intersection(listing.columns)
    if len(both):
        file.notes.append(f"metadata: {listed(both)} taken from {path} instead of the file")
    file.cells = file.cells.drop(columns=both).join(listing)
    # For messages, which say where a column is from.
    file.cells.attrs["metadata"] = list(listing.columns)


def select_cells(file: CountFile, kept: np.ndarray, reason: str) -> None:
    """Leave cells of a file out; its counts stay unread.

    Args:
        file: changed in place.
        kept: which cells stay, boolean, shape (n_cells,).
        reason: why the others are left out, for the note.
    """
    places, rows = np.flatnonzero(kept), file.rows

    def read(start: int, stop: int) -> sparse.csr_matrix:
        wanted = places[start:stop]
        block = rows.read(int(wanted[0]), int(wanted[-1]) + 1)
        return block if block.shape[0] == len(wanted) else block[wanted - wanted[0]]

    # Of all stored values, also those between the cells: a block is cut by what is read for it.
    file.rows = Rows((len(places), rows.shape[1]), read, rows.ends[places])
    names = file.cells.index[kept]
    file.proteins = {key: partial(_selected_rows, read, names) for key, read in file.proteins.items()}
    file.spaces = {key: partial(_kept_rows, read, places) for key, read in file.spaces.items()}
    file.cells = file.cells[kept]
    file.notes.append(f"cells: {len(kept) - len(places):,} of {len(kept):,} left out, {reason}")


def _kept_rows(read: Callable[[], np.ndarray], places: np.ndarray) -> np.ndarray:
    return read()[places]


def _selected_rows(read: Callable[[], pd.DataFrame], names: pd.Index) -> pd.DataFrame:
    table = read()
    return table[table.index.isin(names)]


def _read_table(path: str) -> pd.DataFrame:
    """Return a table whose first column is the index, if the file has one that is more than row numbers."""
    try:
        with open(path, "rb") as stored:
            is_parquet = stored.read(4) == b"PAR1"
        if is_parquet or path.endswith(".parquet"):
            table = pd.read_parquet(path)
            table = table if _is_row_number(table.index) else table.reset_index()
        else:
            table = read_text_table(path)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"{path}: cannot be read as a table ({type(error).__name__}: {shown(error, 300)}); give csv, tsv or"
            " parquet, text in UTF-8"
        ) from error
    if table.shape[1] == 0:
        raise InputError(f"{path}: the table has no columns; give the cells' names and at least one column more")
    return table.set_axis(table.columns.astype(str), axis=1)


def _is_row_number(index: pd.Index) -> bool:
    return isinstance(index, pd.RangeIndex) and index.name is None


def _indexed(table: pd.DataFrame, place: int) -> pd.DataFrame:
    """Return a table indexed by one of its columns; the words for missing values are missing in the others."""
    others = [i for i in range(table.shape[1]) if i != place]
    found = table.iloc[:, others].set_axis(pd.Index(_texts(table, place)), axis=0)
    if found.empty:
        return found
    columns = [_without_missing(found.iloc[:, i]) for i in range(found.shape[1])]
    return pd.concat(columns, axis=1) if columns else found


def _without_missing(column: pd.Series) -> pd.Series:
    return column.mask(column.isin(MISSING)) if column.dtype == object else column


def _texts(table: pd.DataFrame, place: int) -> pd.Series:
    return table.iloc[:, place].astype(str)


def _called(table: pd.DataFrame, place: int) -> str:
    return shown(repr(table.columns[place])) if table.columns[place] else "1, which has no name,"


def _name_column(file: CountFile, path: str, table: pd.DataFrame) -> int:
    """Return the position of the column with the names of a file's cells: the first, or the only one that has any."""
    cells = file.cells.index
    if not _are_numbers(cells) and cells.isin(table.columns).any():
        raise InputError(
            f"{path}: its first line holds a cell ({listed(cells[cells.isin(table.columns)], 1)}), and no names of"
            " columns; write a header above it"
        )
    if _texts(table, 0).isin(cells).any() and not _are_numbers(cells):
        return 0
    found = [place for place in range(table.shape[1]) if _texts(table, place).isin(cells).any()]
    if len(found) == 1:
        if found[0]:
            file.notes.append(f"metadata: column {_called(table, found[0])} of {path} names the cells")
        return found[0]
    if found and _are_numbers(cells):
        # Any column of numbers holds some of these names; a table that was written with the file has all.
        whole = [place for place in found if set(cells) == set(_texts(table, place))]
        if len(whole) == 1 or 0 in whole:
            return whole[0]
    if found:
        raise InputError(
            f"{path}: columns {listed(map(repr, table.columns[found]))} all hold names of cells of {file.path}"
            f" ({listed(cells, 3)}); put the column that names the cells first"
        )
    raise _strangers(file, path, _texts(table, 0))


def _are_numbers(names: pd.Index) -> bool:
    return bool(names.astype(str).str.fullmatch(RUNNING_NUMBER).all())


def _strangers(file: CountFile, path: str, names: pd.Series) -> InputError:
    """Return the error for a table without any of a file's cells."""
    cells = file.cells.index
    return InputError(
        f"{path}: none of the {len(cells)} cells of {file.path} is in its first column or another one (the counts have"
        f" {listed(cells, 3)}; the table {listed(names, 3)}){_difference(cells, names)}; names must be the same, letter"
        " for letter"
    )


def _incomplete(file: CountFile, path: str, unknown: pd.Index, names: pd.Index, asked: bool) -> InputError:
    """Return the error for a table without some of a file's cells."""
    cells = file.cells.index
    remedy = (
        "the names are running numbers, so the rest may be numbered otherwise: give both the cells' barcodes"
        if asked
        else "add them, remove them from the counts, or set metadata_cells to listed, which leaves them out"
    )
    return InputError(
        f"{path}: {len(unknown)} of the {len(cells)} cells of {file.path} are not in it ({listed(unknown, 3)}; it has"
        f" {listed(names, 3)}){_difference(unknown, names)}; {remedy}"
    )


def _difference(unknown: pd.Index, names: pd.Index | pd.Series) -> str:
    """Return how names of cells are written otherwise in a table, or "" if nothing is known of it."""
    sample, known = list(map(str, unknown[:1000])), list(map(str, names))
    for words, respelled in SPELLINGS.items():
        originals: dict[str, str] = {}
        for name in known:
            originals.setdefault(respelled(name), name)
        hits = [name for name in sample if respelled(name) in originals]
        if 2 * len(hits) >= len(sample) > 0:
            return f": the table has them {words} ({hits[0]!r} is {originals[respelled(hits[0])]!r} there)"
    return ""
