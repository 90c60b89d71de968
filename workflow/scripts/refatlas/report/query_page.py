"""The page of one query in the report."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from refatlas.io.atomic import read_csv, read_json
from refatlas.report.annotation_sections import summarize_novel_groups
from refatlas.report.distrust import LEAST_WEIGHT, disagreement, findings, nearest_labels
from refatlas.report.images import embed_png, folder_figures
from refatlas.report.presence import label_presence, query_presence

# Shares of a known label's cells from which a cell of the confusion table has a darker shade.
SHADES = (0.01, 0.1, 0.4, 0.8)
# Columns that only scores over several batches have.
INTERVAL = {"macro_f1_low": None, "macro_f1_high": None}


@dataclass(frozen=True)
class QueryFiles:
    """Paths of the results that a query's page shows.

    Attributes:
        check: check.json.
        figure: umap.png.
        mappings: mapping.json, by model.
        tables: folders of tables, by model, of models that have some.
        labels: labels.csv; like all that follows, None or absent where the reference has no labels.
        verdict: verdict.json.
        sources: sources.json.
        source_labels: sources.parquet. cells: cells.parquet.
        novel: novel_groups, novel_cells and novel_figure, where groups of novel cells were searched.
        known_labels: known_labels.json, where there are known labels and an annotation.
        scores: scores.csv and confusion.csv, where there are known labels.
        votes: votes.json, by source of labels that were made elsewhere.
    """

    check: str
    figure: str
    mappings: dict[str, str]
    tables: dict[str, str] = field(default_factory=dict)
    labels: str | None = None
    verdict: str | None = None
    sources: str | None = None
    source_labels: str | None = None
    cells: str | None = None
    novel: dict[str, str] = field(default_factory=dict)
    known_labels: str | None = None
    scores: tuple[str, ...] = ()
    votes: dict[str, str] = field(default_factory=dict)


def query_context(
    query: str, files: QueryFiles, presence: pd.DataFrame | None, explorer: str, spatial: bool = False
) -> dict[str, Any]:
    """Return the values that the page's template shows.

    Args:
        query: its name.
        files: its results.
        presence: of the reference's labels (see `label_presence`); None without labels.
        explorer: the embedding to explore, as HTML.
        spatial: whether there is a page of places in a tissue.
    """
    context: dict[str, Any] = {
        "name": query,
        "spatial": spatial,
        "explorer": explorer,
        "check": read_json(files.check),
        "mappings": {model: read_json(path) for model, path in files.mappings.items()},
        "figure": embed_png(files.figure),
        "tables": folder_figures(files.tables),
        "novel": summarize_novel_groups(files.novel),
        "known_labels": read_json(files.known_labels) if files.known_labels else None,
        "known": known_context(*files.scores) if files.scores else None,
        "external": {source: read_json(path) for source, path in files.votes.items()},
        "verdict": None,
        "weights": {},
        "weight_heads": [],
    }
    if files.labels is None or files.verdict is None:
        return context
    context |= label_context(files, read_csv(files.labels), read_json(files.verdict), presence)
    if context["novel"]:
        nearest = nearest_labels(read_csv(files.novel["novel_cells"]), read_csv(files.labels))
        context["novel"]["rows"] = [row | {"nearest": nearest[str(row["group"])]} for row in context["novel"]["rows"]]
    return context | {"findings": findings(context)}


def label_context(
    files: QueryFiles, labels: pd.DataFrame, verdict: dict[str, Any], presence: pd.DataFrame | None
) -> dict[str, Any]:
    """Return what the page shows of the labels of the query, and of their verdict.

    Args:
        files: of the query. labels: its labels.csv. verdict: its verdict.json.
        presence: of the reference's labels.
    """
    found = read_json(files.sources)["weights"] if files.sources else {}
    weights = weights_table(found)
    disputed = []
    if files.source_labels and files.cells:
        sources = pd.read_parquet(files.source_labels, columns=["cell", "source", "label"])
        # Both have the cells in the order of the user's file.
        batches = pd.read_parquet(files.cells, columns=["batch"])["batch"]
        disputed = disagreement(labels["label"], sources, batches, found)
    return {
        "verdict": verdict,
        "parts": judged_parts(verdict),
        "status": labels["status"].value_counts().to_dict(),
        "composition": composition(labels),
        "disagreement": disputed,
        "presence": [] if presence is None else presence.to_dict("records"),
        "weights": weights,
        "weight_heads": [[batch] for batch in next(iter(weights.values()), {})],
    }


def composition(labels: pd.DataFrame) -> list[dict[str, Any]]:
    """Return cells, mean confidence, and shares of assigned and novel cells of each label, the largest first.

    Args:
        labels: labels.csv.
    """
    found = labels.groupby("label").agg(
        cells=("cell", "size"),
        confidence=("confidence", "mean"),
        assigned=("status", lambda status: (status == "assigned").mean()),
        novel=("status", lambda status: (status == "novel").mean()),
    )
    return found.sort_values("cells", ascending=False).reset_index().to_dict("records")


def known_context(scores: str, confusion: str) -> dict[str, Any]:
    """Return the confusion of known and delivered labels at the finest level, and the scores of all sources.

    Args:
        scores: path of scores.csv. confusion: of confusion.csv.
    """
    table = read_csv(confusion)
    table = table[(table["model"] == "delivered") & (table["level"] == 1)]
    counts = table.pivot_table(index="truth", columns="label", values="n_cells", aggfunc="sum", fill_value=0)
    # Labels that both have come first, in one order, so that right ones are the diagonal.
    shared = [label for label in counts.index if label in counts.columns]
    counts = counts.loc[[*shared, *counts.index.difference(shared)], [*shared, *counts.columns.difference(shared)]]
    rows = [
        {
            "truth": truth,
            "n": int(row.sum()),
            "cells": [_cell(n, row.sum(), truth == label) for label, n in row.items()],
        }
        for truth, row in counts.iterrows()
    ]
    found = read_csv(scores)
    found = found[found["batch"] == "all"].astype(object)
    found = found.where(found.notna(), None)
    return {
        "heads": [[label] for label in counts.columns],
        "rows": rows,
        "scores": [INTERVAL | row for row in found.to_dict("records")],
    }


def _cell(n: int, total: int, right: bool) -> dict[str, Any]:
    return {"n": int(n), "shade": sum(n / total >= limit for limit in SHADES), "right": right}


def judged_parts(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    """Return verdict, estimated accuracy and share of novel cells of a query, and of its batches if there are several.

    way_back is relative to what is usual, from 0 to 1; None where it is unknown.

    Args:
        verdict: verdict.json.
    """
    batches = verdict["batches"] if len(verdict["batches"]) > 1 else {}
    parts = {"all cells": verdict, **batches}
    return [
        {**part, "name": name, "way_back": None if part["way_back"] is None else math.exp(part["way_back"])}
        for name, part in parts.items()
    ]


def weights_table(weights: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the weight of each source by batch, without sources that have none anywhere.

    Args:
        weights: of sources.json, by batch and source; empty without folds.
    """
    sources = dict.fromkeys(source for of_batch in weights.values() for source in of_batch)
    table = {source: {batch: of_batch[source] for batch, of_batch in weights.items()} for source in sources}
    return {source: row for source, row in table.items() if max(row.values()) >= LEAST_WEIGHT}


def presence_in(
    background: pd.DataFrame, latent: pd.DataFrame, obs: pd.DataFrame, names: pd.Index, threads: int = 1
) -> tuple[np.ndarray, pd.DataFrame | None]:
    """Return how present each background cell is in a query, and each label; None for labels if there are none.

    Novel cells of the query do not count: they are of no type of the reference.

    Args:
        background: background.parquet, with the latent space of one model.
        latent: of the query by the same model.
        obs: of the query's h5ad, in the order of `names`.
        names: of its cells in the workflow.
        threads: number of threads.
    """
    space, weights = [name for name in background if name.startswith("latent_")], background["weight"].to_numpy()
    status = obs["status"].to_numpy() if "status" in obs else np.full(len(obs), "assigned")
    known = pd.Series(status != "novel", index=names)
    rows = latent[known.reindex(latent.index).to_numpy(dtype=bool)]
    found = query_presence(background[space].to_numpy(), rows.to_numpy(), 0, threads=threads, weights=weights)
    if "label" not in background or "label" not in obs:
        return found, None
    given = obs["label"].astype(object).where(known.to_numpy(), None)
    return found, label_presence(background["label"], found, given, weights)
