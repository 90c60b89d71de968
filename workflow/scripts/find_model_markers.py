"""Markers of labels or clusters by a trained model, beside those of the plain test.

in:  model.pt of the reference, its counts, and the plain test's markers.parquet; for clusters, clusters.parquet and
     cluster_stability.csv, whose suggested resolution is taken
out: GROUPING.parquet (all genes and proteins of every group), GROUPING_top.csv (the first ones),
     GROUPING_agreement.csv (one row per group), and a figure of both changes
"""

import pandas as pd

from refatlas.differential.model_markers import (
    agreement,
    first_markers,
    group_names,
    grouping_of,
    model_markers,
    plain_markers,
    with_plain,
)
from refatlas.io.atomic import write_table
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.model_marker_figure import plot_changes


def main(smk) -> None:
    from refatlas.models.marker_model import MarkerModel

    i, out, settings = smk.input, smk.output, smk.params.settings
    model = MarkerModel(i.model, i.counts, settings)
    obs, symbols = model.cells.obs, model.cells.var["symbol"].astype(str)
    grouping, groups = grouping_of(obs, i.get("clusters"), i.get("stability"))
    markers, sides = model_markers(model, groups, symbols, settings["cells"], smk.params.seed)
    markers = with_plain(markers, plain_markers(pd.read_parquet(i.plain), grouping, symbols.index))
    agreed = agreement(markers, sides, group_names(groups), obs["batch"].to_numpy())
    write_table(markers, out.markers)
    write_table(first_markers(markers), out.top)
    write_table(agreed, out.agreement)
    save_figure(plot_changes(markers, agreed, smk.wildcards.model), out.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
