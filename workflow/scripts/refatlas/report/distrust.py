"""What to distrust in the labels of a query: on which labels its sources disagree, and the findings in short."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

# A source with less weight than this has no say in a cell's label.
LEAST_WEIGHT = 0.005
# The pool among the sources.
DELIVERED = "delivered"
# Weight against a label from which it is named among the findings, and the same for shares of ambiguous cells.
DISPUTED, AMBIGUOUS = 0.2, 0.1
# Names in a sentence.
N_NAMES = 5
# Novel cells' nearest labels that are named.
N_NEAREST = 3


def disagreement(
    delivered: pd.Series, sources: pd.DataFrame, batches: pd.Series, weights: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Return for each delivered label how much of the sources' weight is for another one; the most disputed first.

    A source counts with its weight in the cell's batch: one that the pool does not listen to cannot disagree.

    Args:
        delivered: label of each cell in labels.csv, in the order of `batches`.
        sources: cell, source and label of sources.parquet.
        batches: of each cell, indexed by cell.
        weights: of sources.json, by batch and source; empty where sources have no weights, and then all count alike.

    Returns:
        Rows with label, cells, disputed (share of cells with any weight for another label), against (mean weight for
        other labels), and other and other_share: the label that has most of that weight, and its share of it.
    """
    names = np.array(sorted({*sources["label"].dropna(), *delivered.dropna()}), dtype=object)
    labels = {name: pd.Categorical(part, names).codes for name, part in _by_source(sources, batches.index).items()}
    own, n = pd.Categorical(delivered, names).codes, len(names)
    votes, disputed = np.zeros((n, n)), np.zeros(len(batches), dtype=bool)
    for source, codes in labels.items():
        weight = _weight_of(source, batches, weights, len(labels))
        differ = (codes != own) & (codes >= 0) & (own >= 0) & (weight >= LEAST_WEIGHT)
        np.add.at(votes, (own[differ], codes[differ]), weight[differ])
        disputed |= differ
    rows = [_row(names, votes[i], own == i, disputed, i) for i in np.flatnonzero(votes.sum(axis=1)).tolist()]
    return sorted(rows, key=lambda row: -row["against"])


def _by_source(sources: pd.DataFrame, cells: pd.Index) -> dict[str, pd.Series]:
    """Return the labels of each source, in the order of the cells."""
    return {
        str(name): part.set_index("cell")["label"].reindex(cells)
        for name, part in sources.groupby("source", sort=False, observed=True)
        if name != DELIVERED
    }


def _weight_of(source: str, batches: pd.Series, weights: Mapping[str, Mapping[str, float]], n: int) -> np.ndarray:
    """Return the weight of a source in each cell."""
    if not weights:
        return np.full(len(batches), 1 / n)
    of_batch = {batch: found.get(source, 0.0) for batch, found in weights.items()}
    return batches.map(of_batch).fillna(0.0).to_numpy(dtype=float)


def _row(names: np.ndarray, votes: np.ndarray, own: np.ndarray, disputed: np.ndarray, i: int) -> dict[str, Any]:
    other = int(votes.argmax())
    return {
        "label": names[i],
        "cells": int(own.sum()),
        "disputed": float(disputed[own].mean()),
        "against": float(votes.sum() / own.sum()),
        "other": names[other],
        "other_share": float(votes[other] / votes.sum()),
    }


def nearest_labels(novel_cells: pd.DataFrame, labels: pd.DataFrame) -> dict[str, str]:
    """Return the labels that the cells of each novel group are given, the most frequent first, in words.

    Args:
        novel_cells: novel_cells.csv, with cell and group.
        labels: labels.csv, with cell and label.
    """
    given = novel_cells.merge(labels[["cell", "label"]], on="cell")
    found = {}
    for group, part in given.groupby("group"):
        shares = part["label"].value_counts(normalize=True)[:N_NEAREST]
        found[str(group)] = ", ".join(f"{name} ({100 * share:.0f} %)" for name, share in shares.items())
    return found


def findings(context: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what to distrust in short: sentences, and the part of the page (`to`) that has more.

    Args:
        context: of the query's page.
    """
    found = [
        ("batches", _of_batches(context["parts"][1:])),
        ("novel" if context["novel"] else "labels", _of_novel(context["verdict"], context["status"], context["novel"])),
        ("absent", _of_absent(context["verdict"]["absent_labels"])),
        ("disagreement", _of_disputed(context["disagreement"])),
        ("labels", _of_ambiguous(context["status"], context["verdict"]["n_cells"])),
        ("known", _of_known(context["known"])),
        ("unusual", _of_checks(context["verdict"]["reasons"])),
    ]
    return [{"to": to, "text": text} for to, text in found if text]


def _named(names: list[str]) -> str:
    more = len(names) - N_NAMES
    return ", ".join(names[:N_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _of_batches(batches: list[dict[str, Any]]) -> str:
    bad = {kind: [part["name"] for part in batches if part["verdict"] == kind] for kind in ("fail", "warn")}
    words = {"fail": "have the verdict fail", "warn": "have the verdict warn"}
    return "; ".join(
        f"{len(names):,} of {len(batches):,} batches {words[kind]}: {_named(names)}"
        for kind, names in bad.items()
        if names
    )


def _of_novel(verdict: Mapping[str, Any], status: Mapping[str, int], novel: Mapping[str, Any] | None) -> str:
    n = status.get("novel", 0)
    if verdict["novelty_not_judged"] or not n:
        return ""
    text = f"{n:,} cells ({100 * n / verdict['n_cells']:.0f} %) are novel: unlike the reference"
    if novel is None:
        return text
    groups = [f"{row['n_cells']:,} near {row['label']}" for row in novel["rows"]]
    return f"{text}. Groups of them lie together, as a type or state that the reference lacks would: {_named(groups)}"


def _of_absent(labels: list[str]) -> str:
    return f"no cell has {len(labels):,} of the reference's labels: {_named(labels)}" if labels else ""


def _of_disputed(rows: list[dict[str, Any]]) -> str:
    names = [
        f"{r['label']} ({100 * r['against']:.0f} % against, most often {r['other']})"
        for r in rows
        if r["against"] >= DISPUTED
    ]
    return f"sources disagree on {_named(names)}" if names else ""


def _of_ambiguous(status: Mapping[str, int], n_cells: int) -> str:
    n = status.get("ambiguous", 0)
    return f"{n:,} cells ({100 * n / n_cells:.0f} %) are ambiguous" if n >= AMBIGUOUS * n_cells else ""


def _of_known(known: Mapping[str, Any] | None) -> str:
    """Return which known labels are most often called something else."""
    if known is None:
        return ""
    wrong = []
    for row in known["rows"]:
        missed = [
            (cell["n"], head) for cell, (head,) in zip(row["cells"], known["heads"], strict=True) if not cell["right"]
        ]
        head = max(missed, default=(0, ""))[1]
        share = sum(count for count, _ in missed) / row["n"]
        if share >= DISPUTED:
            wrong.append((share, f"{row['truth']} ({100 * share:.0f} %, most often {head})"))
    names = [name for _, name in sorted(wrong, reverse=True)]
    return f"known labels that are often called otherwise: {_named(names)}" if names else ""


def _of_checks(reasons: list[dict[str, Any]]) -> str:
    # Novel cells have a finding of their own.
    names = [
        r["check"].replace("_", " ")
        for r in reasons
        if r.get("unusual", True) and r["check"] not in ("novel", "novel_group")
    ]
    return f"unusual about the query: {_named(names)}" if names else ""
