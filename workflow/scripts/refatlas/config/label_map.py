"""The table that gives the datasets' labels common names, checked before anything runs.

Light: Snakemake reads it at every start.
"""

import os
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from refatlas.config.sheets import parse_rows
from refatlas.config.validation import did_you_mean, require_plain_path
from refatlas.errors import InputError, listed, shown

REQUIRED = ("dataset", "label", "name")
# In the column name: the cells lose their label.
NO_LABEL = "-"
MAX_LENGTH = 200
UNLABELED = "__unlabeled__"


@dataclass(frozen=True)
class MappedLabel:
    """One row of the map.

    Attributes:
        line: in the file.
        dataset: its name.
        label: the dataset's own name, at its finest level.
        names: the common names, finest level first; ("-",) if the cells lose their label, empty if nothing is decided
            and the label stays as it is.
    """

    line: int
    dataset: str
    label: str
    names: tuple[str, ...]


def read_label_map(path: str, datasets: Collection[str]) -> list[MappedLabel]:
    """Return the rows of a label map, one per dataset and label.

    Args:
        path: of a tab-separated table with the columns dataset, label and name; also name_2 … for coarser levels. Other
            columns are not read.
        datasets: names of the reference's datasets.

    Raises:
        InputError: the file or a column is missing; a dataset does not exist; a label occurs twice; or names cannot be
            used, or contradict each other.
    """
    where = f"config: label_map: {path!r}"
    require_plain_path(path, where)
    if not os.path.isfile(path):
        reason = "is not a file" if os.path.exists(path) else "does not exist"
        raise InputError(
            f"{where} {reason} (from {os.getcwd()}); fill in the template that a run without label_map writes,"
            " results/reference/models/MODEL/label_map_template.tsv, and name the copy"
        )
    table = parse_rows(path)
    header = table[0][1] if table else []
    _check_columns(path, header)
    levels = _level_columns(path, header)
    rows = [_read_row(path, line, header, values, levels) for line, values in table[1:]]
    for row in rows:
        _check_row(path, row, datasets)
    _check_unique(path, rows)
    _check_levels(path, [row for row in rows if row.names and row.names != (NO_LABEL,)])
    return rows


def _check_columns(path: str, header: list[str]) -> None:
    for column in REQUIRED:
        if column not in header:
            raise InputError(
                f"{path}: no column {column!r} (it has {listed(header, 12)}); a label map is tab-separated, with the"
                f" columns {', '.join(REQUIRED)}"
            )
    for column in header:
        if header.count(column) > 1:
            raise InputError(f"{path}: column {shown(repr(column))} occurs twice; names of columns must be unique")


def _level_columns(path: str, header: list[str]) -> list[str]:
    """Return the columns name, name_2 and so on; none may be left out between them."""
    found = {column for column in header if column == "name" or (column[:5] == "name_" and column[5:].isdigit())}
    wanted = ["name", *(f"name_{level}" for level in range(2, len(found) + 1))]
    if found != set(wanted):
        raise InputError(
            f"{path}: the columns of the names are {listed(sorted(found))}; name them {', '.join(wanted)}, finest first"
        )
    return wanted


def _read_row(path: str, line: int, header: list[str], values: list[str], levels: list[str]) -> MappedLabel:
    if any(values[len(header) :]):
        raise InputError(
            f"{path}, line {line}: {len(values)} values for {len(header)} columns; is there a tab in a value?"
        )
    texts = [" ".join(unicodedata.normalize("NFC", value).split()) for value in values]
    row = dict(zip(header, texts, strict=False))
    names = [row.get(level, "") for level in levels]
    while names and not names[-1]:
        names.pop()
    if set(names) == {NO_LABEL}:
        names = [NO_LABEL]
    return MappedLabel(line, row.get("dataset", ""), row.get("label", ""), tuple(names))


def _check_row(path: str, row: MappedLabel, datasets: Collection[str]) -> None:
    where = f"{path}, line {row.line}"
    for column in ("dataset", "label"):
        if not getattr(row, column):
            raise InputError(f"{where}: the {column} is empty; give the name of a dataset and one of its labels")
    if row.dataset not in datasets:
        raise InputError(
            f"{where}: there is no dataset {shown(repr(row.dataset))}{did_you_mean(row.dataset, datasets)}; the"
            f" reference has {listed(datasets)}"
        )
    for name in row.names:
        if len(name) > MAX_LENGTH or name == UNLABELED:
            reason = f"is longer than {MAX_LENGTH} characters" if len(name) > MAX_LENGTH else "is reserved for models"
            raise InputError(f"{where}: name {shown(repr(name))} {reason}; choose another")
    if NO_LABEL in row.names and set(row.names) != {NO_LABEL}:
        raise InputError(
            f"{where}: {NO_LABEL!r} in the column name means that the cells lose their label, at all levels; leave the"
            f" other columns of names empty (they are {listed(row.names)})"
        )


def _check_unique(path: str, rows: list[MappedLabel]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        if (row.dataset, row.label) in seen:
            raise InputError(
                f"{path}, line {row.line}: label {shown(repr(row.label))} of dataset {row.dataset!r} is in line"
                f" {seen[row.dataset, row.label]} already; keep one of them"
            )
        seen[row.dataset, row.label] = row.line


def _check_levels(path: str, rows: list[MappedLabel]) -> None:
    """Raise an InputError if a name lacks a level that others have, or belongs to two names of the next level."""
    n_levels = max((len(row.names) for row in rows), default=0)
    parents: dict[tuple[int, str], tuple[str, int]] = {}
    for row in rows:
        n_names = sum(map(bool, row.names))
        if n_names < n_levels:
            raise InputError(
                f"{path}, line {row.line}: label {shown(repr(row.label))} of dataset {row.dataset!r} has names at"
                f" {n_names} of {n_levels} levels ({listed(filter(None, row.names))}); give every named label all"
                " levels, finest first, or leave all its names empty"
            )
        for level, (name, coarser) in enumerate(zip(row.names, row.names[1:], strict=False)):
            known, line = parents.setdefault((level, name), (coarser, row.line))
            if known != coarser:
                raise InputError(
                    f"{path}, line {row.line}: name {name!r} belongs to {coarser!r} here and to {known!r} in line"
                    f" {line}; give it one coarser name"
                )
