"""Batches, labels and controls in the cell columns of a user's file."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import UNLABELED, as_text
from refatlas.io.count_file import CountFile

# Arrays of text take the memory of their longest value for each value.
MAX_LENGTH = 200
# A file of fewer cells may have a batch or label for most of them; beyond, a column with that many
# values names the cells or measures them.
MIN_CELLS, MAX_SHARE = 100, 0.5
# Text that programs write for a missing value.
MISSING = ("nan", "na", "none", "null", "n/a", "<na>", "nat")


def read_batches(file: CountFile, name: str, row: dict) -> pd.Series:
    """Return the batch of each cell, as name:batch.

    Args:
        name: of the dataset or query.
        row: of the sheet; batch_key "-" makes the file one batch.

    Raises:
        InputError: the column is missing, a cell has no batch, or a batch cannot be written to
            files.
    """
    key = row["batch_key"]
    has_columns = len(file.cells.columns) > 0
    if key == "-" or (key not in file.cells and not has_columns and row["batch_is_default"]):
        file.notes.append(f"batches: none named, so {name!r} is one batch")
        return pd.Series(f"{name}:{name}", index=file.cells.index)
    codes, values = factorize(_column(file, name, key, "batch_key"))
    missing = codes < 0
    missing |= np.isin(codes, [code for code, value in enumerate(values) if not str(value).strip()])
    if missing.any():
        raise InputError(
            f"{name!r} ({file.path}): {int(missing.sum())} cells have no batch in column {key!r}"
            f" ({listed(file.cells.index[missing], 3)}){_what_is_missing(file, key)}; fill it in, or name another"
            " column as batch_key"
        )
    batches = [as_text(value) for value in values]
    _require_few(file, f"{name!r} ({file.path}): batch_key", key, len(np.unique(codes)), len(codes))
    used = [batches[code] for code in np.unique(codes)]
    file.notes += [*_missing_notes("batches", used, key), *spelling_notes("batches", values[np.unique(codes)], key)]
    require_text(batches, f"{name!r} ({file.path}): batch", MAX_LENGTH)
    return pd.Series(np.array([f"{name}:{batch}" for batch in batches], dtype=object)[codes], index=file.cells.index)


def read_labels(file: CountFile, name: str, key: str, unlabeled: list[str]) -> pd.Series:
    """Return the label of each cell in a column, missing for a cell without one.

    Args:
        name: of the dataset or query.
        key: the column.
        unlabeled: values that mean no label.

    Raises:
        InputError: the column is missing, no cell has a label, or a label is reserved or cannot be
            written to files.
    """
    codes, values = factorize(_column(file, name, key, "label_key"))
    known_as_none = {"", *map(as_text, unlabeled)}
    labels = [None if label in known_as_none else label for label in map(as_text, values)]
    counts = np.bincount(codes[codes >= 0], minlength=len(labels))
    used = [label for label, n in zip(labels, counts, strict=True) if label is not None and n]
    n_labelled = sum(int(n) for label, n in zip(labels, counts, strict=True) if label is not None)
    _require_few(file, f"{name!r} ({file.path}): label_key", key, len(used), n_labelled)
    _require_usable_labels(used, f"{name!r} ({file.path}): label", key)
    if not used:
        found = file.cells[key].astype(str).unique()
        raise InputError(
            f"{name!r} ({file.path}): no cell has a label in column {key!r} (values: {listed(found, 5)}); name another"
            " column as label_key, or '-' if there are no labels"
        )
    given = [value for value, label, n in zip(values, labels, counts, strict=True) if label is not None and n]
    file.notes += [*_number_notes(used, key), *_missing_notes("labels", used, key)]
    file.notes += spelling_notes("labels", given, key)
    return pd.Series(np.array([*labels, None], dtype=object)[codes], index=file.cells.index)


def _require_usable_labels(labels: list[str], where: str, key: str) -> None:
    require_text(labels, where, MAX_LENGTH)
    if UNLABELED in labels:
        raise InputError(
            f"{where} {UNLABELED!r} in column {key!r} is what models call cells without a label; rename it, or name it"
            " in the config's unlabeled if it means no label"
        )


def _require_few(file: CountFile, where: str, key: str, n_values: int, n_cells: int) -> None:
    """Raise an InputError if most cells have a value of their own."""
    if n_cells >= MIN_CELLS and n_values > MAX_SHARE * n_cells:
        raise InputError(
            f"{where} {key!r} has {n_values:,} different values for {n_cells:,} cells"
            f" ({listed(file.cells[key].astype(str).unique(), 3)}), so it names or measures cells; name another column"
            f" (the file has {listed(file.cells.columns, 20)})"
        )


def _number_notes(labels: list[str], key: str) -> list[str]:
    """Return a note if all labels are whole numbers: codes of names that are elsewhere, or numbers of clusters."""
    if not all(label.removeprefix("-").isdecimal() for label in labels):
        return []
    return [
        f"labels: column {key!r} holds whole numbers ({listed(sorted(map(int, labels)), 3)}): are they codes, or"
        " numbers of clusters? If another column holds the names, set label_key to it"
    ]


def _missing_notes(what: str, values: list[str], key: str) -> list[str]:
    """Return a note if a batch or label is a word for a missing value."""
    found = [value for value in values if value.casefold() in MISSING]
    remedy = "add it to the config's unlabeled" if what == "labels" else "fill it in, or name another column"
    if not found:
        return []
    return [
        f"{what}: {listed(map(repr, found))} of column {key!r} {'is' if len(found) == 1 else 'are'} taken as names; if"
        f" a missing value is meant, {remedy}"
    ]


def spelling_notes(what: str, values: Iterable[object], key: str) -> list[str]:
    """Return notes on names that are one name but for blanks, and on names that differ in capitals alone.

    Args:
        what: batches or labels.
        values: distinct values of the column, as the file has them.
    """
    same: dict[str, list[str]] = {}
    alike: dict[str, list[str]] = {}
    for value in values:
        same.setdefault(as_text(value), []).append(repr(str(value)))
    for name in same:
        alike.setdefault(name.casefold(), []).append(repr(name))
    merged = [" and ".join(found) for found in same.values() if len(found) > 1]
    others = [" and ".join(found) for found in alike.values() if len(found) > 1]
    notes = [f"{what}: in column {key!r}, {listed(merged, 5)} are one name, as blanks do not count"] if merged else []
    if others:
        notes.append(f"{what}: in column {key!r}, {listed(others, 5)} differ in capitals alone; are they the same?")
    return notes


def _what_is_missing(file: CountFile, key: str) -> str:
    is_table = key in file.cells.attrs.get("metadata", ())
    return ": in the metadata, NA, None, nan and empty cells are missing values" if is_table else ""


def read_controls(file: CountFile, name: str, control: str) -> pd.Series:
    """Return which cells are controls.

    Args:
        name: of the query.
        control: COLUMN=VALUE, as in the sheet.

    Raises:
        InputError: the column is missing, or no cell has the value.
    """
    column, value = (part.strip() for part in control.split("=", 1))
    if column not in file.cells:
        raise InputError(
            f"{name!r} ({file.path}): cell column {column!r} of control {control!r} is not in the file; it has"
            f" {listed(file.cells.columns, 20)}"
        )
    found = file.cells[column].astype(str).map(as_text) == as_text(value)
    if not found.any():
        raise InputError(
            f"{name!r} ({file.path}): no cell has {value!r} in column {column!r}, which control names; it has"
            f" {listed(file.cells[column].astype(str).unique(), 20)}"
        )
    return found


def factorize(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return each cell's code, -1 where the value is missing, and the distinct values.

    Values are converted to text once for each distinct one, not for each cell.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories.to_numpy(dtype=object)
    codes, values = pd.factorize(column)
    return codes, np.asarray(values, dtype=object)


def require_text(names: Iterable[str], where: str, longest: int | None = None) -> None:
    """Raise an InputError if a name cannot be written to files, or is too long.

    No file can hold a NUL or half of a surrogate pair.

    Args:
        where: dataset, file and kind of name, for the message.
        longest: number of characters; None for any.
    """
    names = list(names)
    text = "".join(names)
    if "\0" in text or text.encode("utf-8", errors="ignore").decode() != text:
        broken = next(name for name in names if "\0" in name or name.encode("utf-8", errors="ignore").decode() != name)
        raise InputError(
            f"{where} {shown(repr(broken))} has characters that no file can hold (NUL, or half of a surrogate pair);"
            " rename it"
        )
    if longest is not None and (long := [name for name in names if len(name) > longest]):
        raise InputError(f"{where} {shown(repr(long[0]))} is longer than {longest} characters; rename it")


def _column(file: CountFile, name: str, key: str, setting: str) -> pd.Series:
    if key not in file.cells:
        hint = (
            f"; the file has {listed(file.cells.columns, 20)}"
            if len(file.cells.columns)
            else "; the file has no cell columns, so give a table of them as metadata in the sheet"
        )
        none = "one batch" if setting == "batch_key" else "no labels"
        raise InputError(
            f"{name!r} ({file.path}): no cell column {key!r}{hint}; set {setting} in the sheet or the config, or '-'"
            f" for {none}"
        )
    return file.cells[key]
