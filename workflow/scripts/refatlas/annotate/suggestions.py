"""Names suggested for clusters: all kinds of evidence, and the name that each cluster's template proposes.

A suggestion is never taken by itself: people fill in the template.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from refatlas.annotate.cell_labels import (
    OF_ALL_DATASETS,
    read_cell_labels,
    suggest_from_datasets,
    suggest_from_labels,
)
from refatlas.annotate.label_text import has_more_words, same_words
from refatlas.annotate.marker_sets import match_marker_sets, read_marker_sets
from refatlas.annotate.marker_suggestions import EVIDENCE, suggest_from_markers
from refatlas.annotate.suggestion_rows import HIGH, LOW, MODERATE, suggestion_table
from refatlas.prepare.genes import merge_genes

OF_DATASETS = "labels of "
SURENESS = (LOW, MODERATE, HIGH)
COLUMNS = ["resolution", "cluster", "suggestion", "sure", "evidence"]


def suggest_names(
    clusters: pd.DataFrame,
    cells: pd.DataFrame,
    markers: pd.DataFrame,
    genes: pd.DataFrame,
    settings: Mapping[str, Any],
    unlabeled: Iterable[str],
) -> pd.DataFrame:
    """Return the suggestions of all kinds of evidence for each cluster, and print what they are based on.

    Args:
        clusters: clusters.parquet of a model.
        cells: of the datasets, indexed by cell, with batch and, if any has labels, label.
        markers: markers.parquet of the clusters.
        genes: genes.parquet of the reference.
        settings: the config's `suggestions`.
        unlabeled: values that mean no label, in the labels of other tools.

    Returns:
        As of `suggestion_table`.

    Raises:
        InputError: a table of the user is wrong.
    """
    tables = [suggest_from_datasets(clusters, cells)]
    for name, path in settings["labels"].items():
        labels, note = read_cell_labels(path, clusters.index, name, unlabeled)
        print(note)
        tables.append(suggest_from_labels(clusters, labels, name))
    tables.append(_from_markers(markers, settings, genes))
    found = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    return found.sort_values(["resolution", "cluster"], key=pd.to_numeric, kind="stable", ignore_index=True)


def propose_from_markers(markers: pd.DataFrame, settings: Mapping[str, Any], genes: pd.DataFrame) -> pd.DataFrame:
    """Return the name that marker genes propose for each group of a query's cells, indexed by group.

    Args:
        markers: of `query_markers`, of one grouping; without any, no table of marker genes is read.
        settings: the config's `suggestions`.
        genes: genes.parquet of the query, of `with_reference_names`. It may lack all genes of the user's table: the
            table is of the reference, and a query with few genes is no error in it.

    Returns:
        suggestion, sure and evidence, as of `overall`.

    Raises:
        InputError: the table of marker genes is wrong.
    """
    found = suggestion_table([])
    if len(markers):
        found = _from_markers(markers, settings, merge_genes([genes]), "query")
    return overall(found).set_index("cluster").drop(columns="resolution")


def _from_markers(
    markers: pd.DataFrame, settings: Mapping[str, Any], genes: pd.DataFrame, source: str = "reference"
) -> pd.DataFrame:
    path = settings["markers"]
    sets, note = match_marker_sets(read_marker_sets(path, settings["tissues"]), genes, path, source)
    print(f"markers: {note}")
    return suggest_from_markers(markers, sets)


def overall(suggestions: pd.DataFrame) -> pd.DataFrame:
    """Return the name to propose for each cluster, how sure it is, and the evidence in a sentence.

    Labels of datasets decide if they are at least moderately sure; else the surest kind of evidence
    does, where labels of datasets go before other tables of labels, and these before markers. Other
    kinds are said to agree, or to have another name. They contradict if they know the proposed name,
    but prefer another one; then markers and other tools' labels are less sure by a step.

    Args:
        suggestions: of `suggest_names`.

    Returns:
        resolution, cluster, suggestion, sure and evidence.
    """
    best = suggestions[suggestions["rank"] == 1]
    known = {kind: sorted(set(part["label"])) for kind, part in suggestions.groupby("evidence")}
    rows = [
        {"resolution": resolution, "cluster": cluster, **_proposal(part.to_dict("records"), known)}
        for (resolution, cluster), part in best.groupby(["resolution", "cluster"], sort=False)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _proposal(kinds: list[dict[str, Any]], known: dict[str, list[str]]) -> dict[str, str]:
    """Return suggestion, sure and evidence of one cluster.

    Args:
        kinds: the best candidate of each kind of evidence.
        known: names that each kind of evidence has for any cluster.
    """
    chosen = max(kinds, key=_precedence)
    sure, sentence = chosen["sure"], f"{chosen['evidence']}: {chosen['support']}"
    others = [kind for kind in kinds if kind is not chosen]
    if agreeing := [kind for kind in others if same_words(kind["label"], chosen["label"])]:
        sentence += "; the same: " + ", ".join(_said(kind) for kind in agreeing)
    contradicted = False
    for kind in (kind for kind in others if kind not in agreeing):
        contradicts = kind["sure"] != LOW and _contradicts(kind, chosen, known)
        contradicted |= contradicts
        sentence += f"; {'but ' if contradicts else ''}{_said(kind)}: {kind['label']}"
    if contradicted and not chosen["evidence"].startswith(OF_DATASETS):
        sure = SURENESS[max(SURENESS.index(sure) - 1, 0)]
    return {"suggestion": chosen["label"], "sure": sure, "evidence": sentence}


def _precedence(kind: dict[str, Any]) -> tuple[bool, int, int, float, bool]:
    """Return what orders kinds of evidence: the one to choose is the greatest."""
    evidence = kind["evidence"]
    of_datasets = evidence.startswith(OF_DATASETS)
    sure = SURENESS.index(kind["sure"])
    place = 2 if of_datasets else int(evidence != EVIDENCE)
    return of_datasets and sure > 0, sure, place, kind["score"], evidence == OF_ALL_DATASETS


def _said(kind: dict[str, Any]) -> str:
    return f"{kind['evidence']} ({kind['sure']})"


def _contradicts(kind: dict[str, Any], chosen: dict[str, Any], known: dict[str, list[str]]) -> bool:
    """Return whether a kind of evidence knows the chosen name, but prefers one that is neither part of it nor wider."""
    a, b = kind["label"], chosen["label"]
    if has_more_words(a, b) or has_more_words(b, a):
        return False
    return any(same_words(name, b) for name in known[kind["evidence"]])
