"""Tables of the marker genes of cell types, and their genes in a reference."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import as_text
from refatlas.prepare.genes import genes_from_names, match_genes

BUNDLED = Path(__file__).parent / "markers" / "human_cell_types.tsv"
WHERE = "config: suggestions: markers"
# Of types that are found in every tissue.
ANY_TISSUE = "any"
DIRECTIONS = {"": False, "+": False, "present": False, "up": False, "-": True, "absent": True, "down": True}
FORMS = (
    "give a GMT file (its name ends in .gmt; each line is label, description and genes, separated by tabs), or a table"
    " separated by tabs or commas with the columns label and gene, one gene in a row"
)
# Symbols as in mouse and rat: a capital, then a small letter (Cd3d); human ones have capitals only.
RODENT_SYMBOL = r"[A-Z][a-z].*"


class MatchedSets(NamedTuple):
    """Marker genes and their keys in a reference or a query.

    Attributes:
        table: of `read_marker_sets`, with key, missing where there is no such gene.
        note: how many genes were found, and how, for the log.
    """

    table: pd.DataFrame
    note: str


def read_marker_sets(path: str | Path | None, tissues: Sequence[str] = ()) -> pd.DataFrame:
    """Return marker genes, one row per label and gene.

    Args:
        path: of a GMT file or a table; None for the bundled table of human cell types.
        tissues: whose types are taken, and those of ANY_TISSUE or without tissue; none takes all.

    Returns:
        label, gene, absent (whether the gene must be absent rather than present), and tissue, ""
        if there is none.

    Raises:
        InputError: the file cannot be read, has no gene, a line is wrong, or a tissue is unknown.
    """
    source = Path(path or BUNDLED)
    lines = _read_lines(source)
    rows = _gmt_rows(lines, source) if source.suffix.casefold() == ".gmt" else _table_rows(lines, source)
    if not rows:
        raise InputError(f"{WHERE}: {source} has no marker genes; {FORMS}")
    sets = pd.DataFrame(rows, columns=["label", "gene", "absent", "tissue", "line"])
    _check_sets(sets, source)
    sets = sets.drop(columns="line").drop_duplicates(["label", "gene", "tissue"], ignore_index=True)
    return _of_tissues(sets, tissues, source) if tissues else sets


def _read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the numbered lines of a text file that are neither empty nor comments."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{WHERE}: {path}: byte {error.start} is not valid UTF-8; {FORMS}") from None
    except OSError as error:
        raise InputError(f"{WHERE}: {path} cannot be read ({error.strerror}); {FORMS}") from None
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip() and line[0] != "#"]


def _gmt_rows(lines: list[tuple[int, str]], path: Path) -> list[tuple]:
    rows, labels = [], set()
    for number, line in lines:
        label, *rest = [as_text(field.strip()) for field in line.split("\t")]
        genes = [gene for gene in rest[1:] if gene]
        if not label or not genes:
            raise InputError(
                f"{WHERE}: {path}, line {number}: {shown(line, 40)!r} has no gene; a GMT line is label, description and"
                " genes, separated by tabs"
            )
        if label in labels:
            raise InputError(f"{WHERE}: {path}, line {number}: label {shown(label)!r} appears twice; name it once")
        labels.add(label)
        rows += [(label, *_signed(gene, False), "", number) for gene in genes]
    return rows


def _table_rows(lines: list[tuple[int, str]], path: Path) -> list[tuple]:
    header = lines[0][1] if lines else ""
    delimiter = next((mark for mark in "\t;" if mark in header), ",")
    try:
        parsed = list(csv.reader((line for _, line in lines), delimiter=delimiter))
    except csv.Error as error:
        raise InputError(f"{WHERE}: {path} is no table ({error}); {FORMS}") from None
    columns = [name.strip().casefold() for name in parsed[0]] if parsed else []
    if lines and ("label" not in columns or "gene" not in columns):
        raise InputError(f"{WHERE}: {path}, line {lines[0][0]}: the columns are {listed(columns)}; {FORMS}")
    if len(parsed) != len(lines):
        raise InputError(f"{WHERE}: {path}: a value in quotation marks has a line break; {FORMS}")
    rows = []
    for (number, _), values in zip(lines[1:], parsed[1:], strict=True):
        found = dict(zip(columns, [as_text(value.strip()) for value in values], strict=False))
        rows.append(_table_row(found, f"{WHERE}: {path}, line {number}", number))
    return rows


def _table_row(found: dict[str, str], where: str, number: int) -> tuple:
    label, gene = found.get("label", ""), found.get("gene", "")
    if not label or not gene:
        raise InputError(f"{where}: the {'label' if not label else 'gene'} is empty; give a label and a gene")
    if re.search(r"[,;|\s]", gene):
        raise InputError(f"{where}: {shown(gene)!r} is not the name of one gene; give each gene in a row of its own")
    direction = found.get("direction", "").casefold()
    if direction not in DIRECTIONS:
        raise InputError(f"{where}: direction {shown(direction)!r} is unknown; use {listed(filter(None, DIRECTIONS))}")
    return label, *_signed(gene, DIRECTIONS[direction]), found.get("tissue", "").casefold(), number


def _signed(gene: str, absent: bool) -> tuple[str, bool]:
    """Return a gene without the sign before it, and whether it must be absent."""
    return (gene[1:].strip(), True) if gene.startswith("-") else (gene.removeprefix("+"), absent)


def _check_sets(sets: pd.DataFrame, path: Path) -> None:
    directions = sets.groupby(["label", "gene"])["absent"].transform("nunique")
    if (directions > 1).any():
        row = sets[directions > 1].iloc[-1]
        raise InputError(
            f"{WHERE}: {path}, line {row['line']}: gene {shown(row['gene'])!r} of {shown(row['label'])!r} is both"
            " present and absent; keep one of them"
        )
    present = set(sets.loc[~sets["absent"], "label"])
    if without := [label for label in dict.fromkeys(sets["label"]) if label not in present]:
        raise InputError(
            f"{WHERE}: {path}: {shown(without[0])!r} has only genes that must be absent; give at least one that must"
            " be present"
        )


def _of_tissues(sets: pd.DataFrame, tissues: Sequence[str], path: Path) -> pd.DataFrame:
    of_rows = sets["tissue"].map(lambda text: {part.strip() for part in text.split(",") if part.strip()})
    known = sorted(set().union(*of_rows))
    if not known:
        raise InputError(
            f"config: suggestions: tissues: {path} has no tissues; add a column tissue, or give an empty list"
        )
    wanted = {str(tissue).strip().casefold() for tissue in tissues}
    if unknown := sorted(wanted - set(known)):
        raise InputError(
            f"config: suggestions: tissues: {shown(unknown[0])!r} is not in {path}; it has {listed(known, 30)}"
        )
    return sets[of_rows.map(lambda own: not own or bool(own & (wanted | {ANY_TISSUE})))].reset_index(drop=True)


def match_marker_sets(
    sets: pd.DataFrame, genes: pd.DataFrame, path: str | Path | None, source: str = "reference"
) -> MatchedSets:
    """Return marker genes with their keys in a reference or a query, by Ensembl id or symbol.

    Capitals and small letters count, unless the symbols there look like those of mice and the table's do not.

    Args:
        sets: of `read_marker_sets`.
        genes: of the reference or the query, indexed by gene, with gene_id and symbol.
        path: of the table; None for the bundled one, which need not fit the reference.
        source: "reference" or "query". A query may lack all genes of the table.

    Raises:
        InputError: no gene that must be present is in the reference.
    """
    names = list(dict.fromkeys(sets["gene"]))
    as_rodent = _is_rodent(genes["symbol"]) and not _is_rodent(pd.Series(names))
    table, wanted = genes, names
    if as_rodent:
        table, wanted = genes.assign(symbol=genes["symbol"].str.upper()), [name.upper() for name in names]
    rows = match_genes(table, genes_from_names(wanted))
    keys = pd.Series([genes.index[row] if row >= 0 else None for row in rows], index=names, dtype=object)
    matched = sets.assign(key=sets["gene"].map(keys))
    if source == "reference" and path is not None and matched.loc[~matched["absent"], "key"].isna().all():
        raise InputError(
            f"{WHERE}: {path}: none of its {len(names)} genes is in the reference. Its genes are {listed(names, 4)},"
            f" those of the reference {listed(_shown_genes(genes), 4)}. Use symbols or Ensembl ids of the reference's"
            " species, written as in its files"
        )
    return MatchedSets(matched, _matching_note(matched, keys, as_rodent, source))


def _is_rodent(symbols: pd.Series) -> bool:
    return bool(symbols.dropna().astype(str).str.fullmatch(RODENT_SYMBOL).mean() > 0.5)


def _shown_genes(genes: pd.DataFrame) -> list[str]:
    return [
        key if symbol is None or symbol != symbol or symbol == key else f"{key} ({symbol})"
        for key, symbol in genes["symbol"].iloc[:8].items()
    ]


def _matching_note(matched: pd.DataFrame, keys: pd.Series, as_rodent: bool, source: str) -> str:
    present = matched[~matched["absent"]]
    n_found = present.groupby("label", sort=False)["key"].count()
    if keys.isna().all():
        return f"none of {len(keys)} marker genes of {len(n_found)} labels is in the {source}; they suggest no names"
    note = f"{int(keys.notna().sum())} of {len(keys)} marker genes of {len(n_found)} labels found"
    if as_rodent:
        note += f", by symbol in capitals, because symbols of the {source} look like those of mice, unlike the table's"
    if empty := list(n_found.index[n_found == 0]):
        note += f"; labels without any of their genes: {listed(empty)}"
    return note
