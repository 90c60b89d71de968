"""Which species a table of orthologs has. Light: Snakemake imports it at every start."""

import csv

from refatlas.errors import InputError, listed, shown

# The table that the package has, in place of a path, and its species.
BUNDLED = "bundled"
BUNDLED_SPECIES = ["human", "mouse"]
ENDINGS = ("_id", "_symbol")


def header_species(columns: list[str]) -> list[str]:
    """Return the species that a table's columns name, such as human of the columns human_id and human_symbol."""
    names = [_species_of(column) for column in columns]
    return list(dict.fromkeys(name for name in names if name))


def _species_of(column: str) -> str:
    name = column.strip().casefold()
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)


def read_header(path: str, where: str) -> tuple[list[str], str]:
    """Return the columns of a table of orthologs and what separates them. Light: planning reads it.

    Raises:
        InputError: it is no text, has no header, or a column twice.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            line = next((line for line in file if line.strip() and not line.startswith("#")), "")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: {path!r} is no text table (tsv or csv): {error}; unpack it if it is packed"
        ) from None
    separator = "\t" if "\t" in line else ","
    columns = [name.strip().casefold() for name in next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])]
    if twice := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
        raise InputError(f"{where}: {path!r} has the column {shown(repr(twice[0]))} twice; leave one out")
    return columns, separator


def require_species(species: str, known: list[str], where: str, table: str) -> None:
    """Raise an InputError if a table has no column of a species.

    Args:
        where: what names the species, for the message.
        table: what to call the table.
    """
    if species not in known:
        raise InputError(
            f"{where} {shown(repr(species))} is no species of {table}, which has {listed(known)}; correct the name, or"
            " set orthologs to a table with a column of that name"
        )
