"""The report: one self-contained page."""

import base64
from pathlib import Path

import jinja2
import pandas as pd

TEMPLATE = Path(__file__).parent / "templates" / "index.html.j2"


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
    return {
        "model": model,
        "type": kind,
        "epochs": len(history),
        "seconds": f"{seconds:.0f}",
        "cells_per_second": f"{history['cells_per_second'].median():,.0f}",
    }


def query_facts(query: str, check: dict, verdict: dict, labels: pd.DataFrame, mappings: dict[str, dict]) -> dict:
    """Return what the report says of one query."""
    composition = labels.groupby("label").agg(
        cells=("cell", "size"),
        confidence=("confidence", "mean"),
        assigned=("status", lambda s: (s == "assigned").mean()),
        novel=("status", lambda s: (s == "novel").mean()),
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
    """Return the rows of the table of scores by what they are of: "all held-out batches", then each
    fold and each query.
    """
    scores = scores.astype(object).where(scores.notna(), None)
    return {
        (query if split in ("atlas", "folds") else split): part.to_dict("records")
        for (split, query), part in scores.groupby(["split", "query"], sort=False)
    }


def integration_table(scores: pd.DataFrame) -> tuple[list[str], list[dict]]:
    """Return the metrics, and one row a model with each value or the reason why it failed."""
    metrics = list(dict.fromkeys(scores["metric"]))
    rows = []
    for model, part in scores.groupby("model", sort=False):
        part = (
            part[["metric", "value", "half_width", "failed"]]
            .astype({"failed": object})
            .fillna({"failed": ""})
            .set_index("metric")
            .astype(object)
        )
        cells = part.where(part.notna(), None).to_dict("index")
        rows.append({"model": model, "cells": cells})
    return metrics, rows


def further_figures(
    models: list[str], queries: list[str], references: list[str], mapped: list[str], trees: dict[str, str]
) -> dict[str, str]:
    """Return the figures that types draw of their own tables, and those of trees of labels, by
    title.

    Args:
        references: folder of tables of each model. mapped: of each query and model, query by query.
            trees: figure of a tree by model.
    """
    folders = dict(zip((f"{model}" for model in models), references, strict=True))
    folders |= dict(zip((f"{model}, query {query}" for query in queries for model in models), mapped, strict=True))
    found = {
        f"{title}: {path.stem.replace('_', ' ')}": figure(path)
        for title, folder in folders.items()
        for path in sorted(Path(folder).glob("*.png"))
    }
    return found | {f"{model}: tree of labels": figure(path) for model, path in trees.items()}


def render(context: dict) -> str:
    """Return the page; every value is escaped, so that HTML in a label is shown as text."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(context)
