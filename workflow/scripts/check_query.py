"""Decides before any mapping whether a query can be mapped: its counts, columns, cells, and the reference's genes in it.

in:  the query's own file; the reference's genes.parquet
out: cells.parquet (as of a dataset; cells are flagged, never dropped), genes.parquet (the query's own), check.json (overlap, padded genes, files by size and time, notes)
"""

import pandas as pd

from refatlas.apart import run_apart
from refatlas.counts import open_counts
from refatlas.errors import InputError, listed
from refatlas.files import require_unchanged, stamps
from refatlas.genes import match_selected
from refatlas.jobs import write_json, write_table
from refatlas.scanning import scan


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
        f"{where}: {found} of {len(selected)} reference genes found ({share:.0%}), need {floor:.0%}. The reference has {reference_kind} "
        f"({listed(selected.index, 3)}), the query {query_kind} ({listed(table['name'], 3)}); missing are {listed(missing, 5)}. "
        f"Set gene_key in the sheet to a column with {reference_kind}, or lower query.min_gene_overlap if the query measures few genes"
    )


def main(smk) -> None:
    name, row, files = smk.wildcards.query, smk.params.row, stamps(smk.input.files)
    genes = pd.read_parquet(smk.input.genes)
    selected = genes[genes["selected"]]
    found = scan(open_counts(row["path"], row["layer"], row["metadata"]), name, row, smk.params.qc, smk.params.unlabeled, smk.threads)
    missing = missing_genes(genes, found.genes)
    require_overlap(f"query {name!r} ({row['path']})", selected, found.genes, missing, smk.params.min_gene_overlap)
    summary = found.summary
    summary["gene_overlap"] = 1 - len(missing) / len(selected)
    summary["padded_genes"] = [{"gene": gene, "symbol": selected.loc[gene, "symbol"]} for gene in missing]
    print(f"{row['path']}: {summary['n_cells']} cells, {summary['n_cells'] - summary['n_kept']} flagged as low quality")
    print(f"  {len(selected) - len(missing)} of {len(selected)} reference genes found; padded with zeros: {listed(missing)}")
    for note in summary["notes"]:
        print(f"  {note}")
    require_unchanged(files)
    summary["files"] = files
    write_table(found.cells, smk.output.cells)
    write_table(found.genes, smk.output.genes)
    write_json(summary, smk.output.check)


if "snakemake" in globals():
    run_apart(main, snakemake)  # noqa: F821
