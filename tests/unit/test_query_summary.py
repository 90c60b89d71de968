"""The small file of each query that lists of queries read."""

import json

import pandas as pd
import pytest

from refatlas.report.query_summary import query_summary

CHECK = {
    "name": "q",
    "path": "q.h5ad",
    "n_cells": 4,
    "n_kept": 3,
    "gene_overlap": 0.9,
    "median_counts": 500.0,
    "median_genes": 300.0,
    "batches": {"q:1": 3, "q:2": 1},
}
MAPPINGS = {"scvi": {"epochs": 5, "final_loss": 1.5, "converged": True, "device": "cpu", "seconds": 2.0, "notes": []}}
VERDICT = {
    "verdict": "warn",
    "reason": "few",
    "estimated_accuracy": {"value": 0.8},
    "absent_labels": ["B"],
    "reasons": [{"check": "gene_overlap"}],
    "novelty_not_judged": "",
}
LABELS = pd.DataFrame(
    {
        "label": ["T", "T", "NA", "T"],
        "confidence": [0.9, 0.8, 0.4, None],
        "status": ["assigned", "assigned", "novel", "low_quality"],
    }
)
GROUPS = pd.DataFrame(
    {
        "group": [1],
        "n_cells": [20],
        "label": ["T"],
        "label_share": [0.5],
        "suggestion": [""],
        "markers": ["A, B"],
        "novelty": [0.99],
    }
)


def test_summary_of_a_labelled_query():
    found = query_summary("q", CHECK, MAPPINGS, LABELS, VERDICT, GROUPS)
    assert found["cells"] == 4
    assert found["batches"] == {"q:1": 3, "q:2": 1}
    assert found["status"] == {"assigned": 2, "novel": 1, "low_quality": 1}
    assert found["labels"] == {"T": 3, "NA": 1}
    assert found["confidence"] == pytest.approx(0.7)
    assert (found["verdict"], found["estimated_accuracy"], found["absent_labels"]) == ("warn", {"value": 0.8}, ["B"])
    assert (found["unusual"], found["page"]) == (["gene overlap"], "q.html")
    assert found["mappings"]["scvi"]["epochs"] == 5
    assert "notes" not in found["mappings"]["scvi"]
    group = {"group": 1, "n_cells": 20, "label": "T", "label_share": 0.5, "suggestion": None, "markers": "A, B"}
    assert found["novel_groups"] == [group]
    assert "NaN" not in json.dumps(found)


def test_the_address_of_a_page_is_quoted():
    assert query_summary("50% #1", CHECK, MAPPINGS)["page"] == "50%25%20%231.html"


def test_summary_without_labels():
    found = query_summary("q", CHECK, MAPPINGS)
    assert (found["status"], found["labels"], found["verdict"], found["novel_groups"]) == ({}, {}, None, [])
    assert found["estimated_accuracy"] is None
