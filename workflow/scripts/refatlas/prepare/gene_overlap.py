"""Which of the reference's genes a query has, and whether they are enough."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.prepare.gene_mismatch import former_symbols_hint, mismatch
from refatlas.prepare.genes import match_selected, match_steps
from refatlas.prepare.orthologs import why_missing

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
    reason = mismatch(selected, table)
    kinds = [_kind(names["gene_id"]) for names in (selected, table)]
    raise InputError(
        f"{where}: {found} of {len(selected)} reference genes found ({share:.0%}), need {floor:.0%}."
        f"{f' {reason}' if reason else ''} The reference has {kinds[0]} ({listed(selected.index, 3)}), the query"
        f" {kinds[1]} ({listed(table['name'], 3)}); missing are {listed(missing, 5)}. Set gene_key in the sheet to a"
        f" column with {kinds[0]}, or lower query.min_gene_overlap if the query measures few genes"
    )


def _kind(ids: pd.Series) -> str:
    return "Ensembl ids" if ids.notna().mean() > 0.5 else "symbols"


def require_same_genes(reference: "ad.AnnData", query: "ad.AnnData") -> None:
    """Raise an InputError unless a query has the reference's genes in the same order.

    Models identify genes by position.
    """
    if not query.var_names.equals(reference.var_names):
        raise InputError(
            "the query's genes are not those of the reference, or in another order; delete the query's counts.h5ad and"
            " run again"
        )


def check_overlap(
    where: str, genes: pd.DataFrame, table: pd.DataFrame, floor: float, orthologs: dict[str, Any] | None = None
) -> dict:
    """Return the share of the reference's selected genes that a query has, and the missing genes.

    Args:
        where: query and file, for the message.
        genes: genes.parquet of the reference.
        table: the query's genes, of `gene_table`.
        floor: least share.
        orthologs: of the row of a query of another species: of, to and table.

    Returns:
        For check.json: gene_overlap, n_selected, padded_genes (gene and symbol of each), and
        gene_notes on how the others were found.

    Raises:
        InputError: the share is below the floor.
    """
    selected, missing = genes[genes["selected"]], missing_genes(genes, table)
    require_overlap(where, selected, table, missing, floor)
    padded = [{"gene": gene, "symbol": selected.loc[gene, "symbol"]} for gene in missing]
    return {
        "gene_overlap": 1 - len(missing) / len(selected),
        "n_selected": len(selected),
        "padded_genes": padded,
        "gene_notes": [*_notes(genes, table, missing), *why_missing(selected.loc[missing], orthologs)],
    }


def _notes(genes: pd.DataFrame, table: pd.DataFrame, missing: list[str]) -> list[str]:
    """Return how many selected genes were found in each way, if in several, and how more would be."""
    rows, how = match_steps(genes, table)
    chosen = (rows >= 0) & genes["selected"].to_numpy()[rows]
    ways = {"id": "id", "symbol": "symbol", "separators": "symbol with other separators"}
    counts = [(int((chosen & (how == step)).sum()), way) for step, way in ways.items()]
    found = [f"{n:,} by {way}" for n, way in counts if n]
    notes = [f"genes: reference genes were found {', '.join(found)}"] if len(found) > 1 or counts[2][0] else []
    hint = former_symbols_hint(genes, list(table["symbol"].dropna()), missing)
    return [*notes, *([f"genes{hint}"] if hint else [])]


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
    for note in [*overlap["gene_notes"], *summary["notes"]]:
        print(f"  {note}")
