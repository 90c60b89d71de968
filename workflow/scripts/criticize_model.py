"""Compares counts of cells with counts that a trained model replicates for them (posterior predictive checks).

in:  model.pt and counts.h5ad of a reference (training and validation cells), or of a query or held-out cells and then
     labels.parquet by the same model, if the reference has labels
out: criticism.csv (one row for all cells and one for each batch), criticism_genes.parquet, criticism.png
"""

import pandas as pd

from refatlas.evaluate.criticism import coverage_curve, criticism_table
from refatlas.evaluate.model_criticism import CriticismJob, check_mapped, check_reference, features_of
from refatlas.io.atomic import write_table
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.criticism_figure import plot_criticism


def main(smk) -> None:
    i, p, out = smk.input, smk.params, smk.output
    job = CriticismJob(p.kind, i.model, i.counts, p.max_cells, p.n_samples, p.seed)
    if p.cells == "reference":
        found = {name: rest for name, *rest in check_reference(job, p.pretrained)}
    else:
        found = {p.cells: check_mapped(job, i.get("labels"))}
    fixed = {"model": smk.wildcards.model, "split": p.split}
    rows = [{**fixed, "cells": name, **row} for name, (_, checks) in found.items() for row in checks.rows()]
    genes = {name: features_of(cells, checks) for name, (cells, checks) in found.items()}
    first = next(iter(found))
    shown = genes[first][(genes[first]["features"] == "rna") & genes[first]["measured"]]
    curves = {name: coverage_curve(*checks.whole("rna")) for name, (_, checks) in found.items()}
    write_table(criticism_table(rows), out.table)
    write_table(pd.concat([table.assign(cells=name) for name, table in genes.items()]), out.genes)
    save_figure(plot_criticism(f"{smk.wildcards.model}, {p.split}", first, shown, curves), out.figure)
    print("; ".join(f"{name}: {cells.n_obs} cells" for name, (cells, _) in found.items()))


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
