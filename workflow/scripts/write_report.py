"""Writes the report: one self-contained page.

in:  scan.json of the datasets; check.json, verdict.json and labels.csv of the queries; genes.parquet, score tables, figures, training.csv and mapping.json; folders of
     the types' own tables and figures, trees of labels;
     fold.json of the folds, and calibration.json if there are any; provenance.json
out: index.html
"""

import pandas as pd
import yaml

from refatlas.io.atomic import read_csv, read_json, write_text
from refatlas.report.page import (
    figure,
    further_figures,
    gene_facts,
    integration_table,
    query_facts,
    render,
    training_facts,
    transfer_tables,
)


def main(smk) -> None:
    p, i = smk.params, smk.input
    integration = read_csv(i.integration)
    metrics, rows = integration_table(integration)
    mappings = iter(i.mappings)
    queries = []
    for query, check, verdict, labels in zip(p.queries, i.checks, i.verdicts, i.labels, strict=True):
        found = {model: read_json(next(mappings)) for model in p.models}
        queries.append(query_facts(query, read_json(check), read_json(verdict), read_csv(labels), found))
    context = {
        "datasets": [read_json(path) for path in i.scans],
        "genes": gene_facts(pd.read_parquet(i.genes)),
        "trainings": [
            training_facts(m, spec["type"], pd.read_csv(path))
            for (m, spec), path in zip(p.models.items(), i.trainings, strict=True)
        ],
        "queries": queries,
        "transfer": transfer_tables(read_csv(i.transfer)),
        "transfer_figure": figure(i.transfer_figure),
        "folds": [{"name": name, **read_json(path)} for name, path in zip(p.folds, i.folds, strict=True)],
        "zip": zip,
        "calibration": read_json(i.calibration) if i.get("calibration") else None,
        "metrics": metrics,
        "integration": rows,
        "integration_cells": int(integration["n_cells"].iloc[0]),
        "integration_k": int(integration["k"].iloc[0]),
        "integration_version": integration["scib_metrics"].iloc[0],
        "training_figures": {m: figure(path) for m, path in zip(p.models, i.training_figures, strict=True)},
        "umap_figures": {m: figure(path) for m, path in zip(p.models, i.umap_figures, strict=True)},
        "further_figures": further_figures(
            p.described, p.queries, i.tables, i.query_tables, dict(zip(p.trees, i.trees, strict=True))
        ),
        "query_figures": {q: figure(path) for q, path in zip(p.queries, i.query_figures, strict=True)},
        "deliver": p.config["deliver"],
        "provenance": read_json(i.provenance),
        "config": yaml.safe_dump(p.config, sort_keys=False, allow_unicode=True),
    }
    write_text(render(context), smk.output.page)
    write_text(context["config"], smk.output.config)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
