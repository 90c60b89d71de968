"""Tables that people fill in: what an annotation and a label map have in common. Light: Snakemake reads them at every
start.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise

from refatlas.config.sheets import parse_rows
from refatlas.errors import InputError, listed, shown

# Of a name; arrays of text take the memory of their longest value for each value.
MAX_LENGTH = 200
# What models call cells without a label (io.cell_tables has the same, and imports what planning does not need).
UNLABELED = "__unlabeled__"


def read_table(path: str, required: Sequence[str], what: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns of a tab-separated table, and line number and values by column of its rows.

    Args:
        what: the table is, for messages, such as "an annotation".

    Raises:
        InputError: a column is missing or occurs twice, or a row has more values than there are columns.
    """
    table = parse_rows(path)
    header = table[0][1] if table else []
    _require_columns(path, header, required, what)
    for line, values in table[1:]:
        if any(values[len(header) :]):
            raise InputError(
                f"{path}, line {line}: {len(values)} values for {len(header)} columns; is there a tab in a value?"
            )
    return header, [(line, dict(zip(header, values, strict=False))) for line, values in table[1:]]


def _require_columns(path: str, header: Sequence[str], required: Sequence[str], what: str) -> None:
    for column in required:
        if column not in header:
            raise InputError(
                f"{path}: no column {column!r} (it has {listed(header, 12)}); {what} is tab-separated, with the"
                f" columns {', '.join(required)}"
            )
    for column in header:
        if header.count(column) > 1:
            raise InputError(f"{path}: column {shown(repr(column))} occurs twice; names of columns must be unique")


def level_columns(path: str, header: Sequence[str], stem: str) -> list[str]:
    """Return the columns of the label levels, finest first: "label", "label_2" and so on for the stem "label".

    Raises:
        InputError: one of them is left out between others.
    """
    found = {
        name for name in header if name == stem or (name.startswith(f"{stem}_") and name[len(stem) + 1 :].isdigit())
    }
    wanted = [stem, *(f"{stem}_{level}" for level in range(2, len(found) + 1))]
    if found != set(wanted):
        raise InputError(
            f"{path}: the columns of the label levels are {listed(sorted(found))}; name them {', '.join(wanted)},"
            " finest first"
        )
    return wanted


def plain_name(text: str) -> str:
    """Return a name in Unicode's NFC, with single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def require_usable_names(where: str, names: Iterable[str]) -> None:
    """Raise an InputError if a name is too long, or reserved for models.

    Args:
        where: file and line, for the message.
    """
    for name in names:
        if len(name) > MAX_LENGTH or name == UNLABELED:
            reason = f"is longer than {MAX_LENGTH} characters" if len(name) > MAX_LENGTH else "is reserved for models"
            raise InputError(f"{where}: name {shown(repr(name))} {reason}; choose another")


def require_one_parent(path: str, rows: Iterable[tuple[int, str, Sequence[str]]]) -> None:
    """Raise an InputError if a row lacks a level that others have, or a name belongs to two coarser names.

    Args:
        path: of the table.
        rows: line, what is named, and its names, finest first; of rows that have names.
    """
    used = [(line, what, _without_empty_end(names)) for line, what, names in rows]
    n_levels = max((len(names) for _, _, names in used), default=0)
    parents: dict[tuple[int, str], tuple[str, int]] = {}
    for line, what, names in used:
        if (n_names := sum(map(bool, names))) < n_levels:
            raise InputError(
                f"{path}, line {line}: {what} has names at {n_names} of {n_levels} levels"
                f" ({listed(filter(None, names))}); give every one that is named all levels, finest first"
            )
        for level, (name, coarser) in enumerate(pairwise(names)):
            known, known_line = parents.setdefault((level, name), (coarser, line))
            if known != coarser:
                raise InputError(
                    f"{path}, line {line}: name {name!r} belongs to {coarser!r} here and to {known!r} in line"
                    f" {known_line}; give it one coarser name"
                )


def _without_empty_end(names: Sequence[str]) -> Sequence[str]:
    """Return names without the empty ones at the end: levels that the table has, and the row does not."""
    return names[: max((level + 1 for level, name in enumerate(names) if name), default=0)]
