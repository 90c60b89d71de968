"""Which of the reference's genes a query has, and whether they are enough."""

from typing import TYPE_CHECKING

import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.prepare.genes import match_selected

if TYPE_CHECKING:
    import anndata as ad


def missing_genes(genes: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Return the selected genes of a reference that a query lacks, in the reference's order.

    Args:
        genes: genes.parquet of the reference.
        table: the query's genes, of `gene_table`.
    """
    selected = genes.index[genes["selected"]]
    return list(selected[~pd.RangeIndex(len(selected)).isin(match_selected(genes, table))])


def require_overlap(where: str, selected: pd.DataFrame, table: pd.DataFrame, missing: list[str], floor: float) -> None:
    """Raise an InputError if too few of the reference's genes are in the query.

    Args:
        where: query and file, for the message.
        selected: the selected genes of the reference.
        table: the query's genes, of `gene_table`.
        missing: of `missing_genes`.
        floor: least share of the selected genes.
    """
    found = len(selected) - len(missing)
    share = found / len(selected)
    if share >= floor:
        return
    reference_kind = "Ensembl ids" if selected["gene_id"].notna().mean() > 0.5 else "symbols"
    query_kind = "Ensembl ids" if table["gene_id"].notna().mean() > 0.5 else "symbols"
    raise InputError(
        f"{where}: {found} of {len(selected)} reference genes found ({share:.0%}), need {floor:.0%}. The reference has"
        f" {reference_kind} ({listed(selected.index, 3)}), the query {query_kind} ({listed(table['name'], 3)}); missing"
        f" are {listed(missing, 5)}. Set gene_key in the sheet to a column with {reference_kind}, or lower"
        " query.min_gene_overlap if the query measures few genes"
    )


def require_same_genes(reference: "ad.AnnData", query: "ad.AnnData") -> None:
    """Raise an InputError unless a query has the reference's genes in the same order.

    Models identify genes by position.
    """
    if not query.var_names.equals(reference.var_names):
        raise InputError(
            "the query's genes are not those of the reference, or in another order; delete the query's counts.h5ad and"
            " run again"
        )


def check_overlap(where: str, genes: pd.DataFrame, table: pd.DataFrame, floor: float) -> dict:
    """Return the share of the reference's selected genes that a query has, and the missing genes.

    Args:
        where: query and file, for the message.
        genes: genes.parquet of the reference.
        table: the query's genes, of `gene_table`.
        floor: least share.

    Returns:
        For check.json: gene_overlap, n_selected and padded_genes (gene and symbol of each).

    Raises:
        InputError: the share is below the floor.
    """
    selected, missing = genes[genes["selected"]], missing_genes(genes, table)
    require_overlap(where, selected, table, missing, floor)
    padded = [{"gene": gene, "symbol": selected.loc[gene, "symbol"]} for gene in missing]
    return {"gene_overlap": 1 - len(missing) / len(selected), "n_selected": len(selected), "padded_genes": padded}


def report_check(path: str, summary: dict, overlap: dict) -> None:
    """Print what was found in a query's file.

    Args:
        path: of the file.
        summary: of the scan.
        overlap: of `check_overlap`.
    """
    n, padded = overlap["n_selected"], [gene["gene"] for gene in overlap["padded_genes"]]
    print(f"{path}: {summary['n_cells']} cells, {summary['n_cells'] - summary['n_kept']} flagged as low quality")
    print(f"  {n - len(padded)} of {n} reference genes found; padded with zeros: {listed(padded)}")
    for note in summary["notes"]:
        print(f"  {note}")
