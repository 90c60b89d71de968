"""Scores of all sources of labels, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from refatlas.evaluate.transfer_scores import (
    COLUMNS,
    SourceLabels,
    detection_rows,
    score_one,
    score_sources,
    score_transfer,
    source_labels,
)
from refatlas.transfer.label_table import label_table


def test_a_label_without_a_parent_is_scored_as_wrong_at_the_coarser_level():
    cells = pd.Index(["q:1", "q:2"])
    table = label_table(cells, "knn", ["A", "B"], np.array([[0.9, 0.1], [0.2, 0.8]]))
    training = pd.DataFrame({"label": ["A", "B"], "label_2": ["X", None]})
    found = pd.DataFrame(
        {
            "label": ["A", "B"],
            "confidence": [0.9, 0.8],
            "label_2": ["X", None],
            "confidence_2": [0.9, np.nan],
            "set": [["A"], ["B", "A"]],
            "novelty": [0.5, 0.5],
        },
        index=cells,
    )
    query = pd.DataFrame({"batch": "b", "label": ["A", "B"], "label_2": ["X", "Y"]}, index=cells)
    sources = source_labels(
        {"m": table},
        pd.DataFrame({"source": []}),
        found,
        pd.DataFrame({"label_2": ["X", None]}, index=["A", "B"]),
        training,
    )
    scores = score_sources({"split": "atlas", "query": "q"}, query, sources, training, {})["scores"]
    fine = scores[(scores["model"] == "delivered") & (scores["level"] == 1) & (scores["batch"] == "all")].iloc[0]
    assert (fine["coverage"], fine["set_size"]) == (1.0, 1.5)
    coarse = scores[(scores["level"] == 2) & (scores["batch"] == "all")].set_index("model")
    assert (coarse.loc["m", "accuracy"], coarse.loc["delivered", "n_seen"]) == (1.0, 1)


def test_cells_without_sets_have_no_coverage():
    truth = pd.Series(["A", "B"], index=["q:1", "q:2"])
    table = pd.DataFrame({"label": ["A", "A"], "confidence": [0.9, 0.8], "set": [["A"], []]}, index=truth.index)
    assert "coverage" not in score_one(SourceLabels("delivered", "all sources", 1, table), truth, {"A", "B"})
    sets = table.assign(set=pd.Series([["A"], ["A"]], index=truth.index))
    assert score_one(SourceLabels("delivered", "all sources", 1, sets), truth, {"A", "B"})["coverage"] == 0.5


def test_novelty_measures_are_scored_by_model_and_name():
    truth = pd.Series(["A", "A", "new"], index=list("xyz"))
    measures = {
        "m": pd.DataFrame({"distance": [1.0, 2.0, 3.0]}, index=truth.index),
        "linear": pd.DataFrame({"neighborhood_shift": [3.0, 2.0, 1.0]}, index=truth.index),
    }
    rows = detection_rows({"split": "atlas", "query": "q"}, measures, truth, {"A"})
    assert [(row["model"], row["source"], row["auroc_unseen"]) for row in rows] == [
        ("m", "distance", 1.0),
        ("linear", "neighborhood_shift", 0.0),
    ]
    assert detection_rows({}, measures, truth, {"A", "new"}) == []


def test_the_files_of_a_query_are_read_by_model(tmp_path):
    cells = pd.DataFrame({"batch": "b", "label": ["A", "new"]}, index=pd.Index(["q:1", "q:2"], name="cell"))
    label_table(cells.index, "knn", ["A", "B"], np.array([[0.9, 0.1], [0.4, 0.6]])).to_parquet(tmp_path / "labels")
    pd.DataFrame({"distance": [1.0, 9.0]}, index=cells.index).to_parquet(tmp_path / "distance")
    pd.DataFrame({"deviance_ratio": [2.0, 1.0]}, index=cells.index).to_parquet(tmp_path / "fit")
    models = {"m": {kind: str(tmp_path / kind) for kind in ("labels", "distance", "fit")}}
    label_table(cells.index, "knn", ["A", "B"], np.array([[0.2, 0.8], [0.4, 0.6]])).to_parquet(tmp_path / "matched")
    pd.DataFrame({"energy": [1.0, 2.0], "given": "B"}, index=cells.index).to_parquet(tmp_path / "measures")
    matched = {"labels": str(tmp_path / "matched"), "measures": str(tmp_path / "measures")}
    delivered = pd.DataFrame({"label": "A", "confidence": 0.9, "novelty": [0.1, 0.9]}, index=cells.index)
    delivered["set"] = pd.Series([["A"], ["A"]], index=cells.index)
    sources = pd.DataFrame({"cell": cells.index, "source": "m:knn", "label": "A", "confidence": 0.8})
    reference = pd.DataFrame({"label": ["A", "A", "B"], "keep": [True, True, False]})
    found = score_transfer("atlas", "q", models, matched, cells, sources, delivered, reference)
    scores = found["scores"].query("batch == 'all'").set_index(["model", "source"])
    assert {name: list(table.columns) for name, table in found.items()} == COLUMNS
    assert scores.loc[("m", "knn"), "accuracy"] == 1
    assert scores.loc[("m", "knn"), "ece_calibrated"] == pytest.approx(0.2)
    assert scores.loc[("matched", "knn"), "accuracy"] == 0
    assert scores.loc[("matched", "energy"), "auroc_unseen"] == 1
    assert scores.loc[("delivered", "all sources"), "auroc_unseen"] == 1
    assert scores.loc[("m", "distance"), "auroc_unseen"] == 1
    assert scores.loc[("m", "deviance_ratio"), "auroc_unseen"] == 0
    assert scores.loc[("majority", "majority"), "n_seen"] == 1
