"""Writes the page of one query in the report, and what lists of queries show of it.

in:  the query's h5ad, cells.parquet, counts.h5ad, check.json, figure, mapping.json of each model and
     latent.parquet of the delivered one; its labels.csv, verdict.json, sources.json, sources.parquet, groups of novel
     cells, scores and votes of labels made elsewhere, where there are any; background.parquet
out: {name}.html; summary.json, which the index, the project log and MultiQC read
"""

import pandas as pd

from refatlas.io.atomic import read_csv, write_json, write_text
from refatlas.io.labels_csv import read_labels
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.report.cells_to_explore import query_explorer, read_genes, read_query_cells
from refatlas.report.explorer import explorer_html
from refatlas.report.query_page import QueryFiles, presence_in, query_context
from refatlas.report.query_summary import query_summary
from refatlas.report.rendering import render


def summary_of(files, name: str, context: dict) -> dict:
    """Return what lists of queries show of this one."""
    labels, groups = (read_csv(files[kind]) if files.get(kind) else None for kind in ("labels", "novel_groups"))
    return query_summary(name, context["check"], context["mappings"], labels, context["verdict"], groups)


def main(smk) -> None:
    i, p, name = smk.input, smk.params, smk.wildcards.name
    files = QueryFiles(
        i.check, i.figure, by_name(i, "mapping"), by_name(i, "tables"), i.get("labels"), i.get("verdict"),
        i.get("sources"), i.get("source_labels"), i.cells,
        {kind: i[kind] for kind in ("novel_groups", "novel_cells", "novel_figure") if i.get(kind)},
        i.get("known_labels"), (i.scores, i.confusion) if i.get("scores") else (), by_name(i, "votes"),
    )  # fmt: skip
    background, ours = pd.read_parquet(i.background), read_labels(i.labels).columns if i.get("labels") else []
    names = pd.read_parquet(i.cells, columns=["batch"]).index
    cells = read_query_cells(i.exported, names, list(by_name(i, "mapping")), ours)
    presence, of_labels = presence_in(background, pd.read_parquet(i.latent), cells.obs, names, smk.threads)
    explorer = query_explorer(cells, background, presence, read_genes(i.counts, True), p.settings, name)
    context = query_context(name, files, of_labels, explorer_html(explorer, "cells"), bool(p.get("spatial")))
    write_text(render("query.html.j2", context), smk.output.page)
    write_json(summary_of(i, name, context), smk.output.summary)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
