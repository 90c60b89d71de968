"""The project log: what was done in a run, as a dictionary for JSON and as Markdown."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from refatlas.io.atomic import read_json, write_json, write_text

FACT = re.compile(r"^\| (?P<key>[^|]+?) \| (?P<value>.*) \|$", re.MULTILINE)
# Results of a run, relative to the folder of results.
ARTIFACTS = {
    "report": "report/index.html",
    "reference": "reference/reference.h5ad",
    "models": "reference/models/{model}/model.pt",
    "queries": "queries/{query}/{query}.h5ad",
    "provenance": "provenance.json",
}
LABELS = {"labels": "queries/{query}/labels.csv"}
LOSS = re.compile(r"(?P<loss>-?[0-9]+\.[0-9]+) \((?P<name>.+)\)")


def run_log(
    name: str,
    date: datetime,
    code: Mapping[str, Any],
    seed: int,
    datasets: Sequence[Mapping[str, Any]],
    models: Sequence[Mapping[str, Any]],
    queries: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the log of a run, as plain values for JSON.

    Args:
        name: of the project.
        date: of the run.
        code: version, commit and changed of `refatlas.jobs.provenance.describe_code`.
        seed: of the run.
        datasets: scan.json of each.
        models: of `model_entry`.
        queries: summary.json of each.
    """
    kept = ("name", "path", "n_cells", "n_kept", "n_genes", "median_counts", "median_genes", "batches", "low_quality")
    return {
        "name": name,
        "date": date.astimezone(UTC).isoformat(timespec="seconds"),
        "refatlas": {key: code[key] for key in ("version", "commit", "changed")},
        "seed": seed,
        "datasets": [{key: scan[key] for key in kept} | {"sha256": _sums(scan)} for scan in datasets],
        "models": list(models),
        "queries": [_short(query) for query in queries],
        "artifacts": ARTIFACTS | (LABELS if any(query["status"] for query in queries) else {}),
    }


def _short(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the log keeps of a query's summary: little, because every run keeps it of every query."""
    mappings = {
        model: {key: found[key] for key in ("epochs", "final_loss", "converged")}
        for model, found in query["mappings"].items()
    }
    kept = ("query", "path", "cells", "status", "verdict", "estimated_accuracy", "novel_groups")
    return {key: query[key] for key in kept} | {"batches": len(query["batches"]), "mappings": mappings}


def model_entry(
    name: str,
    record: str,
    integration: pd.DataFrame,
    stability: pd.DataFrame | None = None,
    checksum: str = "",
) -> dict[str, Any]:
    """Return what the log has of one model.

    Args:
        record: text of its training.md.
        integration: integration.csv of all models.
        stability: its cluster_stability.csv; None without clusters.
        checksum: text of its model.pt.sha256.
    """
    facts = training_facts(record)
    loss = LOSS.fullmatch(facts["final loss"])
    scores = integration[integration["model"] == name].set_index("metric")
    return {
        "model": name,
        "type": facts["type"],
        "cells": _number(facts["cells"]),
        "genes": _number(facts["genes"]),
        "batches": _number(facts["batches"].partition(":")[0]),
        "epochs": _number(facts["epochs"]),
        "loss": float(loss["loss"]) if loss else None,
        "loss_name": loss["name"] if loss else None,
        "converged": facts["converged"] == "yes",
        "device": facts["device"],
        "seconds": float(facts["seconds"]),
        "clusters": None if stability is None else _suggested(stability),
        "integration": {metric: _finite(value) for metric, value in scores["value"].items()},
        "batch_metrics": list(scores.index[scores["kind"] == "batch"]),
        "sha256": checksum.partition(" ")[0].strip(),
    }


def training_facts(record: str) -> dict[str, str]:
    """Return the table of a training.md, as `refatlas.models.training.training_report` writes it, by first column."""
    facts = {found["key"]: found["value"] for found in FACT.finditer(record.partition("\n## ")[0])}
    return {key: value.replace("\\|", "|").replace("&lt;", "<") for key, value in facts.items()}


def keep_run(log: dict[str, Any], folder: str | Path) -> list[str]:
    """Write a log into the folder of all runs, unless the last run differs in nothing but its date.

    Returns:
        Names of the logs of earlier runs, the newest first, without their suffix.
    """
    folder = Path(folder)
    earlier = sorted((path.stem for path in folder.glob("[0-9]*T*Z.json")), reverse=True)
    if earlier and _is_log_of(folder / f"{earlier[0]}.json", log):
        return earlier[1:]
    stem = datetime.fromisoformat(log["date"]).strftime("%Y-%m-%dT%H-%M-%SZ")
    # The Markdown first: a run is in the list once its JSON is there.
    write_text(as_markdown(log), folder / f"{stem}.md")
    write_json(log, folder / f"{stem}.json")
    return [name for name in earlier if name != stem]


def as_markdown(log: Mapping[str, Any], earlier: Iterable[str] = ()) -> str:
    """Return a log as Markdown.

    Args:
        log: of `run_log`.
        earlier: of `keep_run`; they are linked in the folder runs/.
    """
    groups = [{"query": query["query"], **group} for query in log["queries"] for group in query["novel_groups"]]
    parts = [
        f"# Project log: {_text(log['name'])}\n\n" + _facts(log),
        "## Input\n\n" + _table([_dataset_row(dataset) for dataset in log["datasets"]]),
        "## Models\n\n" + _table([_model_row(model) for model in log["models"]]),
        "## Batch correction\n\nOf each model by scib-metrics, from 0 to 1; higher is better.\n\n"
        + _table([{"model": model["model"], **model["integration"]} for model in log["models"]]),
        "## Queries\n\n" + _table([_query_row(query) for query in log["queries"]]),
        "## New types\n\nGroups of cells unlike the reference.\n\n" + _table([_group_row(group) for group in groups]),
        "## Artifacts\n\n" + "\n".join(f"- {what}: `{path}`" for what, path in log["artifacts"].items()),
    ]
    runs = [f"- [{name}](runs/{name}.md)" for name in earlier]
    return "\n\n".join(parts + (["## Earlier runs\n\n" + "\n".join(runs)] if runs else [])) + "\n"


def _facts(log: Mapping[str, Any]) -> str:
    code, datasets = log["refatlas"], log["datasets"]
    commit = f" (commit {code['commit'][:10]}{', changed since' if code['changed'] else ''})" if code["commit"] else ""
    cells, kept = (sum(dataset[key] for dataset in datasets) for key in ("n_cells", "n_kept"))
    rows = {
        "date": log["date"],
        "refatlas": code["version"] + commit,
        "seed": log["seed"],
        "models": ", ".join(model["model"] for model in log["models"]),
        "reference": f"{len(datasets)} datasets, {cells:,} cells, of which {kept:,} are kept, "
        f"{sum(len(dataset['batches']) for dataset in datasets):,} batches",
        "queries": f"{len(log['queries'])}, {sum(query['cells'] for query in log['queries']):,} cells",
    }
    lines = (f"| {key} | {_text(value)} |" for key, value in rows.items())
    return "\n".join(["| | |", "|---|---|", *lines])


def _dataset_row(dataset: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dataset": dataset["name"],
        "file": dataset["path"],
        "cells": dataset["n_cells"],
        "kept": dataset["n_kept"],
        "genes": dataset["n_genes"],
        "batches": len(dataset["batches"]),
        "median counts": dataset["median_counts"],
    }


def _model_row(model: Mapping[str, Any]) -> dict[str, Any]:
    clusters = model["clusters"] or {}
    return {
        "model": model["model"],
        "type": model["type"],
        "batches": model["batches"],
        "epochs": model["epochs"],
        "loss": model["loss"],
        "converged": "yes" if model["converged"] else "no",
        "device": model["device"],
        "seconds": model["seconds"],
        "clusters": clusters.get("clusters"),
        "stability": clusters.get("stability"),
    }


def _query_row(query: Mapping[str, Any]) -> dict[str, Any]:
    accuracy = query["estimated_accuracy"] or {}
    return {
        "query": query["query"],
        "cells": query["cells"],
        "batches": query["batches"],
        "verdict": query["verdict"],
        "estimated accuracy": accuracy.get("value"),
        **{status: query["status"].get(status, 0) for status in ("assigned", "ambiguous", "novel", "low_quality")},
        "new types": len(query["novel_groups"]),
    }


def _group_row(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "query": group["query"],
        "group": group["group"],
        "cells": group["n_cells"],
        "most like": group["label"],
        "suggested name": group["suggestion"],
        "markers": group["markers"],
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows with the same keys as a Markdown table, or "None."."""
    if not rows:
        return "None."
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["| " + " | ".join(_text(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(map(_text, columns)) + " |", "|---" * len(columns) + "|", *lines])


def _text(value: Any) -> str:
    """Return a value for a Markdown table: names are the user's, and start no column, link or element."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return re.sub(r"([\\|\[\]`*])", r"\\\1", " ".join(str(value).split())).replace("<", "&lt;")


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _finite(value: Any) -> float | None:
    return None if not math.isfinite(value) else round(float(value), 4)


def _suggested(stability: pd.DataFrame) -> dict[str, Any]:
    """Return the suggested resolution, its number of clusters and their stability."""
    row = stability[stability["suggested"]].iloc[0]
    return {
        "resolution": float(row["resolution"]),
        "clusters": int(row["n_clusters"]),
        **{key: _finite(row[key]) for key in ("stability", "stability_low", "stability_high")},
    }


def _sums(scan: Mapping[str, Any]) -> dict[str, str]:
    return {path: found["sha256"] for path, found in scan["checksums"].items()}


def _is_log_of(path: Path, log: Mapping[str, Any]) -> bool:
    """Return whether a file has this log but for its date; a file that a user has damaged has another."""
    try:
        return _undated(read_json(path)) == _undated(log)
    except ValueError:
        return False


def _undated(log: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in log.items() if key != "date"}
