"""Rows of labels.csv, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.transfer.deliverable import deliverable, require_accepted, status_counts, statuses, with_nodes
from refatlas.transfer.label_table import label_table


def delivered(sets, novel=(False, False, False)):
    cells = pd.Index(["q:z", "q:y", "q:x"])
    return pd.DataFrame(
        {
            "label": ["B", "A", "A"],
            "confidence": [0.8, 0.6, 0.9],
            "set": pd.Series([list(labels) for labels in sets], index=cells),
            "set_label": "",
            "novelty": 0.5,
            "novelty_in_label": 0.4,
            "novelty_fdr": 0.9,
            "novel": novel,
        },
        index=cells,
    )


CELLS = pd.DataFrame(
    {"barcode": ["x", "y", "z"], "keep": [True, True, False], "batch": ["b1", "b2", "small"]},
    index=["q:x", "q:y", "q:z"],
)
VERDICT = {"verdict": "warn", "batches": {"b1": {"verdict": "pass"}, "b2": {"verdict": "fail"}}}


def test_rows_of_labels_csv_are_in_the_order_of_the_users_file():
    table = label_table(CELLS.index[::-1], "knn", ["A", "B"], np.array([[0.1, 0.9], [0.6, 0.4], [0.8, 0.2]]))
    rows = deliverable(CELLS, delivered(["B", "AB", "A"]), {"m": table}, 0.5, 0.1, VERDICT)
    assert rows[["cell", "label", "status"]].values.tolist() == [
        ["x", "A", "assigned"],
        ["y", "A", "ambiguous"],
        ["z", "B", "low_quality"],
    ]
    assert rows["set"].tolist() == ["A", "A | B", "B"]
    assert list(rows.columns) == [
        "cell",
        "label",
        "confidence",
        "status",
        "query_verdict",
        "batch_verdict",
        "set",
        "set_label",
        "novelty",
        "novelty_in_label",
        "novelty_fdr",
        "m_label",
        "m_confidence",
    ]


def test_every_row_has_the_verdict_of_its_batch():
    rows = deliverable(CELLS, delivered(["B", "A", "A"]), {}, 0.5, 0.1, VERDICT)
    assert rows["query_verdict"].tolist() == ["warn"] * 3
    # A batch without a verdict has that of the query.
    assert rows["batch_verdict"].tolist() == ["pass", "fail", "warn"]
    assert (rows["label"] == ["A", "A", "B"]).all()


def test_statuses_in_their_precedence():
    found = delivered(["B", "AB", "A"], novel=[True, True, False]).loc[CELLS.index]
    assert statuses(CELLS, found, 0.5, 0.1).tolist() == ["assigned", "novel", "low_quality"]


def test_a_set_of_several_labels_is_ambiguous_only_if_the_label_is_not_confident():
    # Confidences are 0.9, 0.6 and 0.8, in the order of CELLS.
    found, kept = delivered(["AB", "AB", "AB"]).loc[CELLS.index], CELLS.assign(keep=True)
    assert statuses(kept, found, 0.5, 0.1).tolist() == ["assigned", "ambiguous", "ambiguous"]
    assert statuses(kept, found, 0.5, 0.3).tolist() == ["assigned", "ambiguous", "assigned"]


def test_without_sets_a_cell_is_ambiguous_by_its_confidence():
    found = delivered(["", "", ""]).loc[CELLS.index]
    assert statuses(CELLS, found, 0.7, 0.1).tolist() == ["assigned", "ambiguous", "low_quality"]


def test_cells_are_counted_by_status():
    rows = pd.DataFrame({"status": ["assigned", "novel", "assigned"]})
    assert status_counts(rows) == "3 cells: 2 assigned, 1 novel"


def test_nodes_of_label_trees_are_columns():
    table = pd.DataFrame({"node": ["CD14", "rejected", "root"], "probability": [0.6, np.nan, 1.0]}, index=list("abc"))
    rows = with_nodes(pd.DataFrame({"label": ["x", "y"]}, index=["b", "a"]), pd.Index(["b", "a"]), {"m": table})
    assert rows["m_tree_node"].tolist() == ["rejected", "CD14"]
    assert list(rows.columns) == ["label", "m_tree_node", "m_tree_node_probability"]


@pytest.mark.parametrize(("stop", "stops"), [("never", False), ("fail", True), ("warn", True)])
def test_a_failing_verdict_stops_the_run_only_if_requested(stop, stops):
    verdict = {"verdict": "fail", "reason": "genes are missing"}
    if stops:
        with pytest.raises(InputError, match=r"query 'q': FAIL: genes are missing. Its labels are not written"):
            require_accepted("q", verdict, stop, "verdict.json")
    else:
        require_accepted("q", verdict, stop, "verdict.json")
