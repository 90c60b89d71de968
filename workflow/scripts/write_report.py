"""Writes the report: one self-contained page.

in:  scan.json of the datasets; check.json, verdict.json and labels.csv of the queries; genes.parquet, score tables, figures, training.csv and mapping.json; folders of
     the types' own tables and figures, trees of labels;
     fold.json of the folds, and calibration.json if there are any; provenance.json
out: index.html
"""

import base64
from pathlib import Path

import jinja2
import pandas as pd
import yaml

import refatlas
from refatlas.jobs import read_csv, read_json, run_job, write_text

TEMPLATE = Path(refatlas.__file__).parents[2] / "report" / "index.html.j2"


def figure(path: str) -> str:
    """Return a PNG as a data address."""
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()


def gene_facts(genes: pd.DataFrame) -> dict:
    """Return the numbers behind the selection, and the first of the selected genes."""
    first = genes[genes["selected"]].sort_values("rank", na_position="last").head(12)
    return {
        "total": len(genes),
        "candidates": int(genes["candidate"].sum()),
        "selected": int(genes["selected"].sum()),
        "included": int((genes["reason"] == "included").sum()),
        "first": list(first["symbol"].fillna(first.index.to_series())),
    }


def training_facts(model: str, kind: str, history: pd.DataFrame) -> dict:
    """Return a row of the table of trainings."""
    if history.empty:
        return {"model": model, "type": kind, "epochs": "", "seconds": "", "cells_per_second": ""}
    seconds = history["seconds"].sum()
    return {"model": model, "type": kind, "epochs": len(history), "seconds": f"{seconds:.0f}", "cells_per_second": f"{history['cells_per_second'].median():,.0f}"}


def query_facts(query: str, check: dict, verdict: dict, labels: pd.DataFrame, mappings: dict[str, dict]) -> dict:
    """Return what the report says of one query."""
    composition = labels.groupby("label").agg(
        cells=("cell", "size"), confidence=("confidence", "mean"), assigned=("status", lambda s: (s == "assigned").mean()), novel=("status", lambda s: (s == "novel").mean())
    )
    return {
        "name": query,
        "check": check,
        "verdict": verdict,
        "status": labels["status"].value_counts().to_dict(),
        "composition": composition.sort_values("cells", ascending=False).reset_index().to_dict("records"),
        "mappings": mappings,
    }


def transfer_tables(scores: pd.DataFrame) -> dict[str, list[dict]]:
    """Return the rows of the table of scores by what they are of: "all held-out batches", then each fold and each query."""
    scores = scores.astype(object).where(scores.notna(), None)
    return {(query if split in ("atlas", "folds") else split): part.to_dict("records") for (split, query), part in scores.groupby(["split", "query"], sort=False)}


def integration_table(scores: pd.DataFrame) -> tuple[list[str], list[dict]]:
    """Return the metrics, and one row a model with each value or the reason why it failed."""
    metrics = list(dict.fromkeys(scores["metric"]))
    rows = []
    for model, part in scores.groupby("model", sort=False):
        part = part[["metric", "value", "half_width", "failed"]].astype({"failed": object}).fillna({"failed": ""}).set_index("metric").astype(object)
        cells = part.where(part.notna(), None).to_dict("index")
        rows.append({"model": model, "cells": cells})
    return metrics, rows


def further_figures(models: list[str], queries: list[str], references: list[str], mapped: list[str], trees: dict[str, str]) -> dict[str, str]:
    """Return the figures that types draw of their own tables, and those of trees of labels, by title.

    Args:
        references: folder of tables of each model. mapped: of each query and model, query by query. trees: figure of a tree by model.
    """
    folders = dict(zip((f"{model}" for model in models), references, strict=True))
    folders |= dict(zip((f"{model}, query {query}" for query in queries for model in models), mapped, strict=True))
    found = {f"{title}: {path.stem.replace('_', ' ')}": figure(path) for title, folder in folders.items() for path in sorted(Path(folder).glob("*.png"))}
    return found | {f"{model}: tree of labels": figure(path) for model, path in trees.items()}


def render(context: dict) -> str:
    """Return the page; every value is escaped, so that HTML in a label is shown as text."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(context)


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
        "trainings": [training_facts(m, spec["type"], pd.read_csv(path)) for (m, spec), path in zip(p.models.items(), i.trainings, strict=True)],
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
        "further_figures": further_figures(p.described, p.queries, i.tables, i.query_tables, dict(zip(p.trees, i.trees, strict=True))),
        "query_figures": {q: figure(path) for q, path in zip(p.queries, i.query_figures, strict=True)},
        "deliver": p.config["deliver"],
        "provenance": read_json(i.provenance),
        "config": yaml.safe_dump(p.config, sort_keys=False, allow_unicode=True),
    }
    write_text(render(context), smk.output.page)
    write_text(context["config"], smk.output.config)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
