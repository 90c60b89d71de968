"""Genes of one species named as their one-to-one orthologs in another, by a table of pairs.

A gene with several orthologs, or whose ortholog has several, is left out: adding counts of paralogs would mix genes
that do different things.
"""

import csv
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.prepare.gene_names import GENE_ID, without_version
from refatlas.prepare.ortholog_columns import BUNDLED, BUNDLED_SPECIES, header_species, read_header, require_species

# Human and mouse, of HGNC; see the head of the table.
TABLE = Path(__file__).with_name("hgnc_orthologs.tsv.gz")
# Genes of a file whose names are not in the table, named in a note.
N_EXAMPLES = 3


@dataclass(frozen=True)
class Orthologs:
    """Pairs of genes of two species.

    Attributes:
        of, to: the species of a file, and that of the atlas.
        pairs: one row per pair: own_id, own_symbol, id and symbol of the ortholog ("" where the table has none), own
            and other (what tells a gene from others: its id, else its symbol), single (whether the pair is one-to-one).
        where: the table, for messages.
    """

    of: str
    to: str
    pairs: pd.DataFrame
    where: str


def read_orthologs(table: str, of: str, to: str) -> Orthologs:
    """Return the pairs of two species.

    Args:
        table: "bundled", or the path of a tsv or csv. Of each species it has the column SPECIES (ids or symbols), or
            SPECIES_id and SPECIES_symbol, or one of these. Lines that begin with # are skipped.
        of, to: species, in lower case.

    Raises:
        InputError: the table lacks a species, or has no one-to-one pair of the two.
    """
    if table == BUNDLED:
        for species in (of, to):
            require_species(species, BUNDLED_SPECIES, "species:", "the bundled table of orthologs")
        return _bundled(of, to)
    where = f"config: orthologs: {table!r}"
    columns, separator = read_header(table, "config: orthologs")
    for species in (of, to):
        require_species(species, header_species(columns), f"{where}:", "the table")
    return _paired(_read_rows(table, columns, separator, where), of, to, where)


def _read_rows(table: str, columns: list[str], separator: str, where: str) -> pd.DataFrame:
    """Return the rows below the header, without lines that begin with #; what a row lacks is "".

    Raises:
        InputError: the file is no text, or a row has more values than the header.
    """
    try:
        text = Path(table).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is no text table: {error}; save it as UTF-8") from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")][1:]
    rows = list(csv.reader(lines, delimiter=separator))
    for row in rows:
        # A separator at the end of a line has no value behind it.
        if any(value.strip() for value in row[len(columns) :]):
            raise InputError(
                f"{where}: the row {shown(repr(separator.join(row)))} has {len(row)} values, and the header"
                f" {len(columns)}; correct the row"
            )
    padded = [[*row[: len(columns)], *[""] * (len(columns) - len(row))] for row in rows]
    return pd.DataFrame(padded, columns=columns, dtype=object)


@cache
def _bundled(of: str, to: str) -> Orthologs:
    rows = pd.read_csv(TABLE, sep="\t", comment="#", dtype=str, keep_default_na=False)
    return _paired(rows, of, to, "the bundled table of orthologs")


def _paired(rows: pd.DataFrame, of: str, to: str, where: str) -> Orthologs:
    own, other = _names(rows, of), _names(rows, to)
    pairs = pd.DataFrame(
        {"own_id": own["id"], "own_symbol": own["symbol"], "id": other["id"], "symbol": other["symbol"]}
    )
    pairs["own"] = own["id"].where(own["id"] != "", own["symbol"])
    pairs["other"] = other["id"].where(other["id"] != "", other["symbol"])
    pairs = pairs[(pairs["own"] != "") & (pairs["other"] != "")].drop_duplicates(["own", "other"])
    n_own, n_other = (pairs.groupby(key)[key].transform("size") for key in ("own", "other"))
    pairs["single"] = (n_own == 1) & (n_other == 1)
    if not pairs["single"].any():
        raise InputError(
            f"{where} has {len(pairs):,} pairs of {of} and {to}, and none is one-to-one; give one pair of genes a row"
        )
    return Orthologs(of, to, pairs.reset_index(drop=True), where)


def _names(rows: pd.DataFrame, species: str) -> pd.DataFrame:
    """Return id and symbol of a species' gene in each row, "" where there is none."""
    empty = pd.Series("", index=rows.index, dtype=object)
    mixed = rows[species].str.strip() if species in rows else empty
    is_id = mixed.str.fullmatch(GENE_ID)
    ids = rows[f"{species}_id"].str.strip() if f"{species}_id" in rows else mixed.where(is_id, "")
    symbols = rows[f"{species}_symbol"].str.strip() if f"{species}_symbol" in rows else mixed.where(~is_id, "")
    return pd.DataFrame({"id": without_version(ids), "symbol": symbols})


@dataclass(frozen=True)
class Translation:
    """How the genes of a file were found in a table of orthologs; the content of `orthologs` in check.json.

    Attributes:
        of, to: species of the file and of the atlas.
        table: of the configuration; None if a gene column of the file names the orthologs.
        n_genes: of the file.
        one_to_one, several, unknown: genes with one ortholog, with several (also: whose ortholog has several), and not
            in the table.
        as_named: whether the file's genes have the names of the atlas' species already, and were left as they are.
    """

    of: str
    to: str
    table: str | None
    n_genes: int
    one_to_one: int = 0
    several: int = 0
    unknown: int = 0
    as_named: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def translate(genes: pd.DataFrame, wanted: dict[str, Any], where: str) -> tuple[pd.DataFrame, Translation, list[str]]:
    """Return a file's genes with the names of their orthologs, how many there were, and notes.

    A gene is looked up by its id, else by its symbol. A gene without a one-to-one ortholog loses id and symbol, so that
    it matches none.

    Args:
        genes: of `gene_table`: gene_id, symbol, name.
        wanted: of the row: of, to and table.
        where: file, for the message.

    Returns:
        The table, with the column own_symbol beside; if the names are those of the atlas' species already, unchanged.

    Raises:
        InputError: of `read_orthologs`, or no gene of the file is in the table.
    """
    of, to, n = wanted["of"], wanted["to"], len(genes)
    if wanted["table"] is None:
        note = f"genes: of {of}, named as genes of {to} by the column that gene_key names"
        return genes, Translation(of, to, None, n), [note]
    orthologs = read_orthologs(wanted["table"], of, to)
    own = _rows(genes, orthologs.pairs, "own_id", "own_symbol", "own")
    already = _rows(genes, orthologs.pairs, "id", "symbol", "other")
    if _are_named(genes, orthologs.pairs, own, already):
        note = f"genes: of {of}, but named as genes of {to} already; taken as they are"
        return genes, Translation(of, to, wanted["table"], n), [note]
    if (own == NOT_KNOWN).all():
        raise InputError(
            f"{where}: none of its {n:,} genes ({listed(genes['name'], N_EXAMPLES)}) is a gene of {of} in"
            f" {orthologs.where} (such as {listed(orthologs.pairs['own_symbol'].replace('', pd.NA).dropna(), 2)},"
            f" {listed(orthologs.pairs['own_id'].replace('', pd.NA).dropna(), 1)}); correct species, or name the column"
            " of ids or symbols as gene_key"
        )
    found = _renamed(genes, orthologs.pairs, own)
    facts = Translation(
        of,
        to,
        wanted["table"],
        n,
        int((own >= 0).sum()),
        int((own == SEVERAL).sum()),
        int((own == NOT_KNOWN).sum()),
        as_named=False,
    )
    return found, facts, _notes(genes, own, facts, orthologs.where)


def _are_named(genes: pd.DataFrame, pairs: pd.DataFrame, own: pd.Series, already: pd.Series) -> bool:
    """Return whether a file's genes have the names of the atlas' species already.

    Ids tell species apart, and decide where the table has any of the file's. Many species share symbols.
    """
    of_own, of_other = (int(genes["gene_id"].isin(set(pairs[key]) - {""}).sum()) for key in ("own_id", "id"))
    if of_own or of_other:
        return of_other > of_own
    return bool((already != NOT_KNOWN).sum() > (own != NOT_KNOWN).sum())


# In place of a row of the table: a gene of several pairs, and one that is in none.
SEVERAL, NOT_KNOWN = -2, -1


def _rows(genes: pd.DataFrame, pairs: pd.DataFrame, ids: str, symbols: str, key: str) -> pd.Series:
    """Return for each gene the row of its one-to-one pair, SEVERAL or NOT_KNOWN."""
    by_id, by_symbol = _places(pairs, ids, key), _places(pairs, symbols, key)
    rows = genes["gene_id"].map(by_id)
    return rows.where(rows.notna(), genes["symbol"].map(by_symbol)).fillna(NOT_KNOWN).astype(int)


def _places(pairs: pd.DataFrame, names: str, key: str) -> pd.Series:
    """Return the row of the pair of each name, or SEVERAL if it is not one-to-one, or names several genes."""
    named = pairs[pairs[names] != ""]
    places = pd.Series(named.index.where(named["single"], SEVERAL), index=named[names])
    several = named.groupby(names)[key].nunique()
    places[places.index.isin(several.index[several > 1])] = SEVERAL
    return places[~places.index.duplicated()]


def _renamed(genes: pd.DataFrame, pairs: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    known = rows.to_numpy() >= 0
    other = pairs.loc[rows.where(known, 0), ["id", "symbol"]].set_axis(genes.index)
    filled = other.where((other != "") & known[:, None], None)
    return genes.assign(own_symbol=genes["symbol"], gene_id=filled["id"], symbol=filled["symbol"])


def _notes(genes: pd.DataFrame, rows: pd.Series, facts: Translation, where: str) -> list[str]:
    missing = genes.loc[(rows == NOT_KNOWN).to_numpy(), "name"]
    lacking = f"{facts.unknown:,} that it does not have" + (f" ({listed(missing, N_EXAMPLES)})" if len(missing) else "")
    return [
        f"genes: {facts.one_to_one:,} of {facts.n_genes:,} genes of {facts.of} have a one-to-one ortholog in {facts.to}"
        f" by {where}; left out are {facts.several:,} that have several or share one, and {lacking}"
    ]


def why_missing(missing: pd.DataFrame, wanted: dict[str, Any] | None) -> list[str]:
    """Return a note on how many of the atlas' genes that a query lacks have no one-to-one ortholog.

    Args:
        missing: genes of the atlas, with gene_id and symbol.
        wanted: of the query's row: of, to and table; None for a query of the atlas' species.
    """
    if wanted is None or wanted["table"] is None or missing.empty:
        return []
    pairs = read_orthologs(wanted["table"], wanted["of"], wanted["to"]).pairs
    rows = _rows(missing, pairs, "id", "symbol", "other")
    return [
        f"genes: of the {len(missing):,} reference genes that are missing, {int((rows == NOT_KNOWN).sum()):,} have no"
        f" ortholog in {wanted['of']} by the table, {int((rows == SEVERAL).sum()):,} have several, and the one-to-one"
        f" ortholog of {int((rows >= 0).sum()):,} is not in the file"
    ]
