"""Genes of different files matched by id without version, then by symbol, then by symbol whatever its separators."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import listed
from refatlas.io.cell_tables import as_text
from refatlas.io.count_file import CountFile
from refatlas.io.matrix_rows import summable
from refatlas.prepare.gene_aliases import current_symbols, replacement_note
from refatlas.prepare.gene_columns import NameColumns, find_names
from refatlas.prepare.gene_names import GENE_ID, PLACEHOLDER, folded, spreadsheet_dates, without_version
from refatlas.prepare.gene_union import renumbered, respelled, united_ids, without_copies, without_foreign_ids
from refatlas.prepare.orthologs import translate

# As tables write a missing symbol.
MISSING = ("nan", "NaN", "NA", "None", "<NA>", "null", "NULL", "n/a", "N/A")


def gene_table(
    file: CountFile,
    gene_key: str | None = None,
    previous_symbols: bool = False,
    orthologs: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """Return id (without version) and symbol of each gene of a file.

    What is to be said of the names is added to the file's notes.

    Args:
        file: with its table of genes.
        gene_key: gene column to match by, or "index". Ids are looked for in no other column;
            symbols are, to name the genes, if it holds ids.
        previous_symbols: replace former symbols by today's.
        orthologs: of a file of another species than the atlas: of, to and table; genes then have the
            names of their one-to-one orthologs, or none.

    Returns:
        One row per column of the counts, in the file's order: gene_id and symbol, missing where the
        file has none, and name, as in the file. Of another species, own_symbol is the file's own, and
        attrs has `orthologs`, how many were found.

    Raises:
        InputError: the file has no such gene column, or no names of genes, or an error of `translate`.
    """
    found = find_names(file, gene_key)
    table = pd.DataFrame({"gene_id": None, "symbol": None, "name": file.genes.index.astype(str)}, dtype=object)
    if found.ids is not None:
        ids = found.columns[found.ids].astype(str)
        table["gene_id"] = without_version(ids).where(ids.str.fullmatch(GENE_ID), None)
    if found.symbols is not None:
        table["symbol"] = _symbols(
            found.columns[found.symbols], table["gene_id"], keep_numbered=found.symbols == gene_key
        )
    unnamed = table["gene_id"].isna() & table["symbol"].isna()
    if not found.nameless:
        named = unnamed & ~table["name"].str.fullmatch(PLACEHOLDER)
        table.loc[named, "symbol"] = table.loc[named, "name"]
    file.notes += [*found.notes, *_symbol_notes(table, found)]
    if previous_symbols and orthologs is not None and orthologs["of"] == "human":
        table = _with_current_symbols(table, file)
    if orthologs is not None:
        table, facts, notes = translate(table, orthologs, file.path)
        table.attrs["orthologs"] = facts.as_dict()
        file.notes += notes
    if previous_symbols:
        table = _with_current_symbols(table, file)
    return table


def _with_current_symbols(table: pd.DataFrame, file: CountFile) -> pd.DataFrame:
    today = current_symbols(table["symbol"])
    note = replacement_note(table["symbol"], today)
    file.notes += [note] if note else []
    return table.assign(symbol=today)


def _symbols(column: pd.Series, ids: pd.Series, keep_numbered: bool) -> pd.Series:
    """Return symbols as text, missing where the file has none; "unknown_7" is none."""
    known = column.notna() & (column != "")
    text = column.where(known, None)
    text[known] = column[known].map(as_text)
    written_missing = text.isin(MISSING) & (text.duplicated(keep=False) | ids.notna())
    numbered = text.fillna("").astype(str).str.fullmatch(PLACEHOLDER) & (not keep_numbered)
    return text.where(~written_missing & ~numbered, None)


def _symbol_notes(table: pd.DataFrame, found: NameColumns) -> list[str]:
    notes = []
    nameless = table["gene_id"].isna() & table["symbol"].isna()
    if nameless.any():
        notes.append(
            f"genes: {int(nameless.sum())} have neither id nor symbol ({listed(table['name'][nameless], 3)}) and match"
            " no gene"
        )
    dates = spreadsheet_dates(table["symbol"])
    if dates:
        notes.append(
            f"genes: {len(dates)} symbols are dates, as a spreadsheet writes them: {listed(dates, 30)}; they match no"
            " gene by symbol, so mend them in the file"
        )
    return notes


def genes_from_names(names: list[str], previous_symbols: bool = False) -> pd.DataFrame:
    """Return a table as of `gene_table` from names, each an id or a symbol."""
    column = pd.Series(names, dtype=object)
    is_id = column.str.fullmatch(GENE_ID)
    symbols = column.where(~is_id, None)
    return pd.DataFrame(
        {
            "gene_id": without_version(column).where(is_id, None),
            "symbol": current_symbols(symbols) if previous_symbols else symbols,
            "name": column,
        }
    )


def merge_genes(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the genes of all files, with the id as key where any file has one, else the symbol.

    A symbol that no file gives to two genes is one gene, whatever ids files give it: the key is the
    id of most files, or of the first. In files with only symbols, a symbol means the id that other
    files give it, if it is exactly one. Symbols that differ in separators alone are one gene, if no
    file has both.

    Args:
        tables: of `gene_table`.

    Returns:
        Indexed by gene (the key), in order of first appearance: gene_id, symbol.
    """
    tables = without_foreign_ids(tables)
    united = united_ids(tables)
    united = united.drop(renumbered(united, tables))
    alone = pd.concat([t.loc[t["gene_id"].isna(), "symbol"] for t in tables]).dropna().drop_duplicates()
    known = without_copies(united)["symbol"].dropna()
    new = alone[~alone.isin(known[~known.duplicated(keep=False)])]
    new = new[~without_version(new.astype(str)).where(new.astype(str).str.fullmatch(GENE_ID), "").isin(united.index)]
    extra = pd.DataFrame(
        {"gene_id": None, "symbol": new.to_numpy()}, index=pd.Index(new.to_numpy(), name="gene"), dtype=object
    )
    genes = pd.concat([united, extra[~extra.index.isin(united.index)]])
    return genes.drop(respelled(genes, tables))


def match_steps(reference: pd.DataFrame, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return for each gene of a file the row of the same gene in `reference`, and how it was found.

    Genes are matched by id first; then by symbol, if the symbol is unique in the reference and its
    gene was not matched by id; then by symbol with any separators, as R changes them, if it is
    unique in both.

    Args:
        reference: indexed by gene, with gene_id and symbol.
        table: the file's genes, of `gene_table`.

    Returns:
        Rows, -1 for none, and "id", "symbol", "separators" or "" for each gene.
    """
    by_id = pd.Series(np.arange(len(reference)), index=reference["gene_id"].fillna(""))
    rows = _looked_up(by_id[by_id.index != ""], _ids(table))
    how = np.where(rows >= 0, "id", "").astype(object)
    names = reference["symbol"].fillna("")
    symbols = pd.Series(np.arange(len(reference)), index=names)
    symbols = symbols[names.index.isin(without_copies(reference).index)]
    symbols = symbols[(symbols.index != "") & ~symbols.index.duplicated(keep=False) & ~symbols.isin(rows)]
    by_symbol = np.where(rows < 0, _looked_up(symbols, table["symbol"].fillna("")), -1)
    how[by_symbol >= 0] = "symbol"
    rows = np.where(rows >= 0, rows, by_symbol)
    left = (rows < 0) & table["symbol"].notna().to_numpy()
    if left.any():
        by_letters = np.where(left, _by_letters(names, table["symbol"].fillna(""), rows), -1)
        how[by_letters >= 0] = "separators"
        rows = np.where(by_letters >= 0, by_letters, rows)
    return rows, how


def _ids(table: pd.DataFrame) -> pd.Series:
    """Return the ids of a file's genes; a symbol that is an id counts as one."""
    symbols = table["symbol"].fillna("").astype(str)
    written = without_version(symbols).where(symbols.str.fullmatch(GENE_ID), "")
    return table["gene_id"].where(table["gene_id"].notna(), written)


def _looked_up(places: pd.Series, names: pd.Series) -> np.ndarray:
    return places.reindex(names).fillna(-1).astype(int).to_numpy()


def _by_letters(reference: pd.Series, symbols: pd.Series, rows: np.ndarray) -> np.ndarray:
    """Return matches of symbols without regard to separators; genes in `rows` are taken."""
    known, wanted = folded(reference), folded(symbols)
    places = pd.Series(np.arange(len(known)), index=known.to_numpy())
    places = places[(places.index.str.strip(".") != "") & ~places.index.duplicated(keep=False) & ~places.isin(rows)]
    return np.where(wanted.duplicated(keep=False), -1, _looked_up(places, wanted))


def match_genes(reference: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Return for each gene of a file the row of the same gene in `reference`, or -1.

    Args:
        reference, table: as of `match_steps`.
    """
    return match_steps(reference, table)[0]


def with_reference_names(table: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Return a file's genes with the reference's id and symbol of the same gene where the file has none.

    Args:
        table: the file's genes, of `gene_table`.
        reference: as of `match_steps`.
    """
    rows, named = match_genes(reference, table), table.copy()
    for column in ("gene_id", "symbol"):
        missing = table[column].isna().to_numpy() & (rows >= 0)
        named.loc[missing, column] = reference[column].to_numpy(dtype=object)[rows[missing]]
    return named


def match_selected(genes: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Return for each gene of a file its position among the selected genes, or -1.

    Genes are matched against all genes of the reference: a symbol that two of them share stays
    unmatched, even if only one of them is selected.

    Args:
        genes: genes.parquet of the reference, with the column selected.
        table: the file's genes, of `gene_table`.
    """
    places = np.where(genes["selected"], np.cumsum(genes["selected"]) - 1, -1)
    rows = match_genes(genes, table)
    return np.where(rows >= 0, places[rows], -1)


def reindex_genes(block: sparse.csr_matrix, rows: np.ndarray, n_genes: int) -> sparse.csr_matrix:
    """Return a block of cells × file columns as cells × reference genes.

    Columns of the same gene are summed; genes without a column are empty.

    Args:
        block: counts.
        rows: gene of each column, of `match_genes`, shape (n_columns,).
        n_genes: number of reference genes.
    """
    wanted = rows[block.indices] >= 0
    kept = np.concatenate([[0], np.cumsum(wanted)])[block.indptr]
    taken = sparse.csr_matrix((block.data[wanted], rows[block.indices[wanted]], kept), shape=(block.shape[0], n_genes))
    taken = summable(taken)
    taken.sum_duplicates()
    return taken
