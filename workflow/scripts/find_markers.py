"""Marker genes of groups of cells, such as clusters or labels, over all genes of the users' files.

in:  each dataset's files, scan.json, cells.parquet and genes.parquet; the reference's genes.parquet;
     a table of groups indexed by cell, such as clusters.parquet, or each dataset's cells with labels;
     cluster_stability.csv, if any, whose suggested resolution is drawn
out: markers.parquet (one row per grouping, group and gene), markers.csv (the markers alone), and
     figures of one grouping: a dot plot and a heat map
"""

import pandas as pd

from refatlas.annotate.marker_table import report_markers, select_markers
from refatlas.annotate.markers import CELL_COLUMNS, MarkerDataset, find_markers, group_sizes, read_groups
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import read_cells
from refatlas.io.fingerprints import read_fingerprints, require_unchanged
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.marker_figures import plot_marker_dots, plot_marker_heat, shown_grouping


def main(smk) -> None:
    cells, tables, rows = by_name(smk.input, "cells"), by_name(smk.input, "genes"), smk.params.rows
    files = read_fingerprints(list(by_name(smk.input, "scan").values()))
    datasets = [
        MarkerDataset(row, read_cells([cells[name]], CELL_COLUMNS), pd.read_parquet(tables[name]))
        for name, row in rows.items()
    ]
    groups = read_groups(smk.input.get("groups"), by_name(smk.input, "labels"), smk.params.get("columns"))
    markers = find_markers(datasets, pd.read_parquet(smk.input.selected), groups, smk.resources.mem_mb, smk.threads)
    top = select_markers(markers)
    report_markers(markers, top)
    require_unchanged(files)
    write_table(markers, smk.output.markers)
    write_table(top, smk.output.top)
    shown = shown_grouping(list(groups), None, smk.input.get("stability"))
    sizes = group_sizes(groups[shown], datasets)
    save_figure(plot_marker_dots(markers, top, sizes), smk.output.dot_plot)
    save_figure(plot_marker_heat(markers, top, sizes), smk.output.heat_map)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
