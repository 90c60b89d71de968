"""Genes of different files matched by Ensembl id without version, otherwise by symbol."""

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed
from refatlas.io.cell_tables import as_text
from refatlas.io.count_file import CountFile

ENSEMBL = r"ENS[A-Z]*G\d{6,}(?:\.\d+)?(?:_PAR_Y)?"
VERSION = r"\.\d+(?=$|_PAR_Y$)"
SYMBOL_COLUMNS = (
    "symbol",
    "symbols",
    "gene_symbol",
    "gene_symbols",
    "gene_name",
    "gene_names",
    "feature_name",
    "gene",
    "name",
    "hgnc_symbol",
)


def gene_table(file: CountFile, gene_key: str | None = None) -> pd.DataFrame:
    """Return Ensembl id (without version) and symbol of each gene of a file.

    Args:
        file: with its table of genes.
        gene_key: gene column to use, or "index". The other kind of name is still looked for in the
            other columns.

    Returns:
        One row per column of the counts, in the file's order: gene_id and symbol, missing where the
        file has none, and name, as in the file.

    Raises:
        InputError: the file has no such gene column, or no names of genes.
    """
    columns = {"index": file.genes.index.to_series().reset_index(drop=True)}
    for name in file.genes.columns.difference(["index"], sort=False):
        if file.genes[name].dtype.kind in "OUTS" or isinstance(
            file.genes[name].dtype, pd.CategoricalDtype | pd.StringDtype
        ):
            columns[name] = file.genes[name].astype("object").reset_index(drop=True)
    if gene_key is not None and gene_key not in columns:
        raise InputError(
            f"{file.path}: gene column {gene_key!r} is not in the file; it has {listed(columns)} ('index' means the"
            " genes' names)"
        )
    ids = _find_ids(columns, gene_key)
    symbols = _find_symbols(columns, gene_key)
    if ids is None and symbols is None:
        raise InputError(
            f"{file.path}: the genes are named {listed(columns['index'], 3)}, and no column has ids or symbols"
            f" (columns: {listed(columns)}); name one as gene_key in the sheet"
        )
    table = pd.DataFrame({"gene_id": None, "symbol": None, "name": columns["index"].astype(str)}, dtype=object)
    if ids is not None:
        valid = columns[ids].astype(str).str.fullmatch(ENSEMBL)
        table["gene_id"] = columns[ids].astype(str).str.replace(VERSION, "", regex=True).where(valid, None)
    if symbols is not None:
        known = columns[symbols].notna() & (columns[symbols] != "")
        table["symbol"] = columns[symbols].where(known, None)
        table.loc[known, "symbol"] = columns[symbols][known].map(as_text)
    unnamed = table["gene_id"].isna() & table["symbol"].isna()
    table.loc[unnamed, "symbol"] = table.loc[unnamed, "name"]
    return table


def genes_from_names(names: list[str]) -> pd.DataFrame:
    """Return a table as of `gene_table` from names, each an Ensembl id or a symbol."""
    column = pd.Series(names, dtype=object)
    is_id = column.str.fullmatch(ENSEMBL)
    return pd.DataFrame(
        {
            "gene_id": column.str.replace(VERSION, "", regex=True).where(is_id, None),
            "symbol": column.where(~is_id, None),
            "name": column,
        }
    )


def _is_ensembl(names: pd.Series) -> bool:
    return bool(names.astype(str).str.fullmatch(ENSEMBL).mean() > 0.5)


def _find_ids(columns: dict[str, pd.Series], gene_key: str | None) -> str | None:
    order = [gene_key] if gene_key is not None and _is_ensembl(columns[gene_key]) else list(columns)
    return next((name for name in order if _is_ensembl(columns[name])), None)


def _find_symbols(columns: dict[str, pd.Series], gene_key: str | None) -> str | None:
    if gene_key is not None and not _is_ensembl(columns[gene_key]):
        return gene_key
    named = {name.casefold(): name for name in columns if not _is_ensembl(columns[name])}
    column = next((named[name] for name in SYMBOL_COLUMNS if name in named), None)
    is_numbered = columns["index"].astype(str).str.fullmatch(r"\d+").mean() > 0.5
    return column if _is_ensembl(columns["index"]) or is_numbered else "index"


def merge_genes(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the genes of all files, with the id as key where any file has one, else the symbol.

    In files with only symbols, a symbol means the id that other files give it, if it is exactly
    one.

    Args:
        tables: of `gene_table`.

    Returns:
        Indexed by gene (the key), in order of first appearance: gene_id, symbol.
    """
    named = pd.concat([t.loc[t["gene_id"].notna(), ["gene_id", "symbol"]] for t in tables])
    named = (
        named.sort_values("symbol", key=lambda s: s.isna(), kind="stable")
        .drop_duplicates("gene_id")
        .sort_index(kind="stable")
    )
    order = pd.concat([t["gene_id"].dropna() for t in tables]).drop_duplicates()
    united = named.set_index("gene_id", drop=False).loc[order]
    united.index.name = "gene"
    alone = pd.concat([t.loc[t["gene_id"].isna(), "symbol"] for t in tables]).dropna().drop_duplicates()
    known = united["symbol"].dropna()
    new = alone[~alone.isin(known[~known.duplicated(keep=False)])]
    extra = pd.DataFrame(
        {"gene_id": None, "symbol": new.to_numpy()}, index=pd.Index(new.to_numpy(), name="gene"), dtype=object
    )
    return pd.concat([united, extra[~extra.index.isin(united.index)]])


def match_genes(reference: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Return for each gene of a file the row of the same gene in `reference`, or -1.

    Genes are matched by id first; then by symbol, if the symbol is unique in the reference and its
    gene was not matched by id.

    Args:
        reference: indexed by gene, with gene_id and symbol.
        table: the file's genes, of `gene_table`.
    """
    by_id = pd.Series(np.arange(len(reference)), index=reference["gene_id"].fillna(""))
    by_id = by_id[by_id.index != ""]
    rows = by_id.reindex(table["gene_id"].fillna("")).fillna(-1).astype(int).to_numpy()
    symbols = pd.Series(np.arange(len(reference)), index=reference["symbol"].fillna(""))
    symbols = symbols[(symbols.index != "") & ~symbols.index.duplicated(keep=False) & ~symbols.isin(rows)]
    by_symbol = symbols.reindex(table["symbol"].fillna("")).fillna(-1).astype(int).to_numpy()
    return np.where(rows >= 0, rows, by_symbol)


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
    taken.sum_duplicates()
    return taken
