"""A table of names by which a file's proteins are those of the atlas. Light: Snakemake imports it at every start.

Antibodies of one protein have many names: of clones, catalogues and kits. Which are the same is for people to say;
`likely_names` suggests.
"""

import csv
import difflib
import re
from collections.abc import Mapping, Sequence

from refatlas.errors import InputError, listed, shown

COLUMNS = ("name", "protein")
# What stands around the name of a protein: kits, catalogue numbers of TotalSeq (A0072), hosts and words.
AROUND = re.compile(
    r"\(.*?\)|\btotal[-_ ]?seq[-_ ]?[abcd]?\b|\b[abcd]?0\d{3}\b|\b(?:anti|human|hu|mouse|adt|prot|protein|ab)\b",
    re.IGNORECASE,
)


def read_protein_names(path: str, where: str) -> dict[str, str]:
    """Return the atlas' name of each name in a file, of a tsv or csv with the columns `name` and `protein`.

    Args:
        path: of the table; lines that begin with # and empty ones are skipped.
        where: begin of messages: the place in the sheet.

    Raises:
        InputError: it is no text table, lacks a column, or has no rows; a cell is empty, a name has two proteins, or
            two names have the same protein.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [line for line in file if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: {path!r} cannot be read as a tsv or csv: {error}") from None
    separator = "\t" if lines and "\t" in lines[0] else ","
    rows = [[value.strip() for value in row] for row in csv.reader(lines, delimiter=separator)]
    header = [name.casefold() for name in rows[0]] if rows else []
    if missing := [name for name in COLUMNS if name not in header]:
        raise InputError(
            f"{where}: {path!r} has no column {missing[0]!r}; it has {listed(header)}. Give the columns name (in the"
            " file) and protein (in the atlas)"
        )
    found: dict[str, str] = {}
    for row in rows[1:]:
        name, protein = ((row + [""] * len(header))[header.index(column)] for column in COLUMNS)
        if not name or not protein:
            raise InputError(f"{where}: {path!r}: a row has no {COLUMNS[bool(name)]} ({listed(row)}); fill it in")
        if found.get(name, protein) != protein:
            raise InputError(
                f"{where}: {path!r}: {shown(repr(name))} is both {shown(repr(found[name]))} and {shown(repr(protein))};"
                " keep one row"
            )
        found[name] = protein
    if not found:
        raise InputError(f"{where}: {path!r} has no rows; name at least one protein, or leave protein_names empty")
    return found


def rename_proteins(columns: Sequence[str], names: Mapping[str, str], where: str) -> list[str]:
    """Return the names of a file's proteins with those of a table replaced.

    Args:
        columns: of the file. names: of `read_protein_names`, which may have names of other files too.
        where: file and table, for the message.

    Raises:
        InputError: the table has none of the file's names, or two proteins would have the same name.
    """
    if not any(name in names for name in columns):
        raise InputError(
            f"{where}: protein_names has {listed(names, 30)}, and none of them is a protein of the file, which has"
            f" {listed(columns, 30)}; write the names as they are in the file"
        )
    renamed = [names.get(name, name) for name in columns]
    if twice := [name for name in renamed if renamed.count(name) > 1]:
        both = [name for name, other in zip(columns, renamed, strict=True) if other == twice[0]]
        raise InputError(
            f"{where}: {listed(both)} would all be {shown(repr(twice[0]))}; keep the row of one of them in"
            " protein_names, such as the clone of the atlas, and name the others otherwise"
        )
    return renamed


def likely_names(names: Sequence[str], known: Sequence[str], alike: bool = False) -> dict[str, str]:
    """Return for names that match nothing which of the known proteins they may be: a suggestion, never used by itself.

    Args:
        alike: suggest also names with alike letters, such as CD45RO for CD45RA; else those alone that are the same but
            for separators, or go on with a clone (CD3_UCHT1).
    """
    plain = {_plain(protein): protein for protein in known}
    found = {}
    for name in names:
        key = _plain(name)
        close = [p for p in plain if _letters(key) == _letters(p) or _goes_on(key, p)]
        if alike and not close:
            close = difflib.get_close_matches(key, list(plain), n=1, cutoff=0.6)
        if close:
            found[name] = plain[max(close, key=len)]
    return found


def _plain(name: str) -> str:
    return AROUND.sub(" ", name.casefold().replace("_", " ")).strip(" -.:|")


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name))


def _goes_on(name: str, begin: str) -> bool:
    return bool(begin) and name.startswith(begin) and len(name) > len(begin) and not name[len(begin)].isalnum()


def require_matched(where: str, names: Sequence[str], known: Sequence[str], n_matched: int) -> None:
    """Raise an InputError if a file has proteins, and none is one of the atlas'.

    Args:
        where: query and file, for the message.
        names: of the file, after renaming. known: of the atlas.
        n_matched: of them.
    """
    if not names or not known or n_matched:
        return
    likely = [f"{name} may be {protein}" for name, protein in likely_names(names, known, alike=True).items()]
    raise InputError(
        f"{where}: none of its {len(names)} proteins ({listed(names, 30)}) is one of the atlas' {len(known)}"
        f" ({listed(known, 30)}); {f'closest: {listed(likely, 30)}; ' if likely else ''}name those that are the same in"
        " a table, and give its path as protein_names in the sheet; or set protein_key to '-' to map by RNA alone"
    )
