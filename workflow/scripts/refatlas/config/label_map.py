"""The table that gives the datasets' labels common names, checked before anything runs.

Light: Snakemake reads it at every start.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass

from refatlas.config.validation import did_you_mean, require_plain_path
from refatlas.config.written_tables import (
    level_columns,
    plain_name,
    read_table,
    require_one_parent,
    require_usable_names,
)
from refatlas.errors import InputError, listed, shown

REQUIRED = ("dataset", "label", "name")
# In the column name: the cells lose their label.
NO_LABEL = "-"


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
    header, table = read_table(path, REQUIRED, "a label map")
    levels = level_columns(path, header, "name")
    rows = [_read_row(line, row, levels) for line, row in table]
    for row in rows:
        _check_row(path, row, datasets)
    _check_unique(path, rows)
    named = [row for row in rows if row.names and row.names != (NO_LABEL,)]
    require_one_parent(
        path, ((row.line, f"label {shown(repr(row.label))} of dataset {row.dataset!r}", row.names) for row in named)
    )
    return rows


def _read_row(line: int, row: dict[str, str], levels: list[str]) -> MappedLabel:
    names = [plain_name(row.get(level, "")) for level in levels]
    while names and not names[-1]:
        names.pop()
    if set(names) == {NO_LABEL}:
        names = [NO_LABEL]
    return MappedLabel(line, plain_name(row.get("dataset", "")), plain_name(row.get("label", "")), tuple(names))


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
    require_usable_names(where, row.names)
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
