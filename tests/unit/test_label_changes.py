"""What the models changed of a query's first labels."""

import pandas as pd
import pytest

from refatlas.transfer.label_changes import changed_cells, count_changes, summarize_changes


def labels(*rows) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["label", "status", "confidence"])
    return table.set_index(pd.Index([f"c{i}" for i in range(len(rows))], name="cell"))


FIRST = labels(("A", "assigned", 0.9), ("A", "assigned", 0.6), ("A", "assigned", 0.8), ("B", "assigned", 0.9))
FINAL = labels(("A", "assigned", 0.8), ("B", "assigned", 0.7), ("B", "assigned", 0.9), ("B", "novel", 0.9))


def test_cells_whose_label_or_status_changed_are_listed():
    cells = changed_cells(FIRST, FINAL)
    assert list(cells["cell"]) == ["c1", "c2", "c3"]
    assert cells.iloc[0].to_dict() == {
        "cell": "c1",
        "first_label": "A",
        "first_status": "assigned",
        "first_confidence": 0.6,
        "label": "B",
        "status": "assigned",
        "confidence": 0.7,
    }


def test_changes_are_counted_the_most_frequent_first():
    counts = count_changes(changed_cells(FIRST, FINAL))
    assert counts[["first_label", "label", "status", "n_cells"]].values.tolist() == [
        ["A", "B", "assigned", 2],
        ["B", "B", "novel", 1],
    ]
    assert counts[["first_confidence", "confidence"]].iloc[0].tolist() == pytest.approx([0.7, 0.8])


def test_one_line_says_what_changed():
    assert summarize_changes(changed_cells(FIRST, FINAL), 4) == (
        "the models changed the label of 2 of 4 cells (50.0%): 2 from A to B; the status alone of 1 more"
    )
    assert summarize_changes(changed_cells(FIRST, FIRST), 4) == "the models changed the label of 0 of 4 cells (0.0%)"


def test_no_change_makes_empty_tables_with_their_columns():
    cells = changed_cells(FIRST, FIRST)
    assert len(cells) == 0
    assert len(count_changes(cells)) == 0
    assert {"first_label", "label", "n_cells", "confidence"} <= set(count_changes(cells).columns)


def test_labels_of_other_cells_are_refused():
    with pytest.raises(ValueError, match="same cells"):
        changed_cells(FIRST, FINAL.iloc[::-1])
