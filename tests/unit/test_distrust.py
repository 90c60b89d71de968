"""What to distrust in a query's labels: disagreement by the sources' weights, and the findings in short."""

import pandas as pd
import pytest

from refatlas.report.distrust import disagreement, findings, nearest_labels

BATCHES = pd.Series(["b1", "b1", "b2", "b2"], index=[f"q:{i}" for i in range(4)])
DELIVERED = pd.Series(["T", "T", "T", "B"])
WEIGHTS = {"b1": {"s1": 0.75, "s2": 0.25, "s3": 0.0}, "b2": {"s1": 0.5, "s2": 0.5, "s3": 0.0}}


def sources(**labels: list[str]) -> pd.DataFrame:
    parts = [pd.DataFrame({"cell": BATCHES.index, "source": name, "label": given}) for name, given in labels.items()]
    return pd.concat(parts, ignore_index=True)


def test_sources_count_by_their_weights_in_the_batch():
    found = disagreement(
        DELIVERED,
        sources(delivered=["T"] * 4, s1=["T", "NK", "T", "B"], s2=["T", "T", "B", "B"], s3=["B", "B", "B", "T"]),
        BATCHES,
        WEIGHTS,
    )
    # s1 has 0.75 in the first batch, s2 0.5 in the second; s3 has no weight.
    assert found == [
        {
            "label": "T",
            "cells": 3,
            "disputed": pytest.approx(2 / 3),
            "against": pytest.approx(1.25 / 3),
            "other": "NK",
            "other_share": pytest.approx(0.75 / 1.25),
        }
    ]


def test_without_weights_all_sources_count_alike():
    table = sources(s1=["B", "T", "T", "B"], s2=["T", "T", "T", "B"])
    (row,) = disagreement(DELIVERED, table.iloc[::-1], BATCHES, {})
    assert (row["label"], row["other"]) == ("T", "B")
    assert row["against"] == pytest.approx(0.5 / 3)


def test_sources_that_agree_have_no_row():
    assert disagreement(DELIVERED, sources(s1=list(DELIVERED)), BATCHES, WEIGHTS) == []


def test_labels_of_novel_cells_are_named_by_frequency():
    cells = pd.DataFrame({"cell": list("abcd"), "group": [1, 1, 1, 2]})
    labels = pd.DataFrame({"cell": list("dcba"), "label": ["B", "T", "NK", "T"]})
    assert nearest_labels(cells, labels) == {"1": "T (67 %), NK (33 %)", "2": "B (100 %)"}


def context(**changed) -> dict:
    verdict = {"n_cells": 100, "novelty_not_judged": "", "absent_labels": [], "reasons": []}
    found = {"parts": [{"name": "all cells", "verdict": "pass"}], "status": {"assigned": 100}, "novel": None}
    return {"verdict": verdict, "disagreement": [], "known": None, **found, **changed}


def test_a_query_in_which_nothing_stands_out():
    assert findings(context()) == []


def test_known_labels_that_are_called_otherwise():
    rows = [
        {"truth": "mast", "n": 4, "cells": [{"n": 1, "right": False}, {"n": 3, "right": False}]},
        {"truth": "B", "n": 10, "cells": [{"n": 9, "right": True}, {"n": 1, "right": False}]},
    ]
    (found,) = findings(context(known={"heads": [["B"], ["T"]], "rows": rows}))
    assert found == {"to": "known", "text": "known labels that are often called otherwise: mast (100 %, most often T)"}


def test_scattered_novel_ambiguous_and_many_absent_labels():
    verdict = context()["verdict"] | {"absent_labels": list("ABCDEFG"), "reasons": [{"check": "gene_overlap"}]}
    status = {"assigned": 70, "novel": 10, "ambiguous": 20}
    texts = [(row["to"], row["text"]) for row in findings(context(verdict=verdict, status=status))]
    assert texts == [
        ("labels", "10 cells (10 %) are novel: unlike the reference"),
        ("absent", "no cell has 7 of the reference's labels: A, B, C, D, E and 2 more"),
        ("labels", "20 cells (20 %) are ambiguous"),
        ("unusual", "unusual about the query: gene overlap"),
    ]


def test_novelty_that_is_not_judged_is_no_finding():
    verdict = context()["verdict"] | {"novelty_not_judged": "a single batch"}
    assert findings(context(verdict=verdict, status={"novel": 10})) == []
