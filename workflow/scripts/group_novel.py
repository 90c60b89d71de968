"""Puts a query's novel cells into groups of cells that lie together, and describes each.

in:  latent.parquet of the query by one model; its cells.parquet, genes.parquet, check.json, own files and
     delivered.parquet; the reference's genes.parquet, for ids or symbols that the query's file lacks;
     marker genes of cell types
out: novel_groups.csv (one row per group: cells, batches, likeliest label, markers, suggested name),
     novel_cells.csv (the group of each cell), novel_markers.csv, novel_markers.png
"""

import pandas as pd

from refatlas.annotate.marker_table import select_markers
from refatlas.annotate.novel_groups import describe_groups, group_novel_cells, markers_of_groups
from refatlas.annotate.suggestions import propose_from_markers
from refatlas.io.atomic import read_json, write_table
from refatlas.io.fingerprints import require_unchanged
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.prepare.genes import with_reference_names
from refatlas.report.marker_figures import plot_marker_dots
from refatlas.transfer.delivery import read_delivered


def main(smk) -> None:
    i, p, out, cells = smk.input, smk.params, smk.output, pd.read_parquet(smk.input.cells)
    delivered = read_delivered(i.delivered)
    # Cells of low quality have that status, and make no groups.
    novel = delivered["novel"] & cells["keep"].reindex(delivered.index)
    groups = group_novel_cells(pd.read_parquet(i.latent), novel, p.k, p.seed, smk.threads)
    print(f"{groups.nunique()} groups with {len(groups)} of {int(novel.sum())} novel cells")
    genes = with_reference_names(pd.read_parquet(i.genes), pd.read_parquet(i.reference_genes))
    markers = markers_of_groups(p.row, cells, genes, groups, smk.resources.mem_mb, smk.threads)
    require_unchanged(read_json(i.check)["files"])
    top, proposals = select_markers(markers), propose_from_markers(markers, p.suggestions, genes)
    write_table(describe_groups(groups, cells, delivered, top, proposals), out.groups)
    write_table(pd.DataFrame({"cell": cells.loc[groups.index, "barcode"], "group": groups}), out.cells)
    write_table(top, out.markers)
    save_figure(plot_marker_dots(markers, top, groups.value_counts().rename("group")), out.dot_plot)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
