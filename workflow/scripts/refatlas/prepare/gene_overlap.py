"""Which of a reference's genes a query has, and whether they are enough."""

import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.prepare.genes import match_selected


def missing_genes(genes: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Return the selected genes of a reference that a query lacks, in the reference's order."""
    selected = genes.index[genes["selected"]]
    return list(selected[~pd.RangeIndex(len(selected)).isin(match_selected(genes, table))])


def require_overlap(where: str, selected: pd.DataFrame, table: pd.DataFrame, missing: list[str], floor: float) -> None:
    """Raise an InputError if too few of the reference's genes are in the query."""
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


def require_same_genes(reference, query) -> None:
    """Raise an InputError unless a query has the reference's genes in their order: models take
    genes by position.
    """
    if not query.var_names.equals(reference.var_names):
        raise InputError("the query's genes are not the reference's in their order; run build_query again")
