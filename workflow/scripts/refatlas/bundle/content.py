"""What a bundle says of its content: the facts that were measured, and its manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

import refatlas
from refatlas.bundle.archive import checksums_of
from refatlas.bundle.facts import cells_facts, held_out_facts, hidden_facts, integration_facts, weak_labels
from refatlas.bundle.manifest import FORMAT, Manifest, digest_of


def measured_facts(
    cells: Mapping[str, str], scores: list[str], label_scores: list[str], integration: str
) -> dict[str, Any]:
    """Return what is known of an atlas: its cells, and the figures of held-out cells.

    Args:
        cells: path of the table of cells, by dataset.
        scores, label_scores: paths of the tables of the folds.
        integration: path of integration.csv.
    """
    table = pd.concat(
        [_kept_columns(path).assign(dataset=dataset) for dataset, path in cells.items()], ignore_index=True
    )
    facts = cells_facts(table) | held_out_facts(scores, label_scores)
    facts |= {"hidden": hidden_facts(scores), "integration": integration_facts(integration)}
    return facts | {"weak_labels": weak_labels(facts)}


def _kept_columns(path: str | Path) -> pd.DataFrame:
    """Return batch, label and keep of a table of cells."""
    table = pd.read_parquet(path)
    return table[[column for column in ("batch", "label", "keep") if column in table]].reset_index(drop=True)


def grown_manifest(
    manifest: Manifest,
    files: Mapping[str, Path | bytes],
    joined_cells: Mapping[str, str],
    rows: Mapping[str, Mapping[str, Any]],
    version: str,
    about: Mapping[str, Any],
) -> Manifest:
    """Return the manifest of the next version of a bundle.

    Counts of all cells stay behind: queries are mapped with a sample, and those of the joined queries' cells are not
    among them. So the new version has the counts of a sample.

    Args:
        manifest: of the version before.
        files: path or content by name.
        joined_cells: path of the table of cells, by query that joins.
        rows: of the sheet, by query that joins.
        version: of the new one.
        about: what is said anew of the atlas, such as its authors; the rest stays.
    """
    tables = {query: _kept_columns(path) for query, path in joined_cells.items()}
    facts = dict(manifest["facts"])
    added = cells_facts(pd.concat([table.assign(dataset=query) for query, table in tables.items()]))
    for key, value in added.items():
        facts[key] = value + facts[key] if isinstance(value, int) else _added(facts.get(key, {}), value)
    joined = [
        {"query": query, "cells": int(table["keep"].sum()), "voting": int(table["label"].notna().sum())}
        for query, table in tables.items()
    ]
    datasets = {
        query: {key: row[key] for key in ("label_keys", "protein_key")}
        | ({"species": row["orthologs"]["of"]} if "orthologs" in row else {})
        for query, row in rows.items()
    }
    return {
        **manifest,
        "refatlas": refatlas.__version__,
        **about,
        "version": version,
        "counts": "sample" if manifest["counts"] == "all" else manifest["counts"],
        "before": {"version": manifest["version"], "digest": digest_of(manifest)},
        "datasets": {**manifest["datasets"], **datasets},
        "grown": [*manifest.get("grown", []), *joined],
        "facts": facts,
        "files": checksums_of(files),
    }


def _added(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Return the sum of two tables of numbers of cells."""
    return {name: old.get(name, 0) + new.get(name, 0) for name in dict.fromkeys([*old, *new])}


def bundle_manifest(
    files: Mapping[str, Path | bytes], facts: dict[str, Any], genes: str, fixed: dict[str, Any]
) -> Manifest:
    """Return the manifest of a bundle.

    Args:
        files: path or content by name.
        facts: of `measured_facts`.
        genes: path of genes.parquet.
        fixed: what the workflow knows: name, version, about, settings, datasets, labels, models and counts.
    """
    return {
        "format": FORMAT,
        "refatlas": refatlas.__version__,
        **fixed,
        "genes": int(pd.read_parquet(genes, columns=["selected"])["selected"].sum()),
        "facts": facts,
        "files": checksums_of(files),
    }
