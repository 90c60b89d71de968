"""Delivered labels: properties on drawn probabilities, and rows of labels.csv worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from test_calibration import probabilities

from refatlas.errors import InputError
from refatlas.transfer.delivery import (
    combine,
    deliver,
    deliver_uncalibrated,
    deliverable,
    read_delivered,
    require_accepted,
    statuses,
    with_nodes,
)
from refatlas.transfer.evidence import Evidence, HeldOut
from refatlas.transfer.label_table import label_table
from refatlas.transfer.neighborhood_shift import MIN_CELLS
from refatlas.transfer.pooling import learn


def evidence(n: int, seed: int, sources: dict[str, float]) -> tuple[Evidence, pd.Series]:
    """Return evidence by several sources of a given sharpness, and the true labels."""
    found = {}
    for name, sharpness in sources.items():
        found[name], truth = probabilities(n, sharpness=sharpness, seed=seed)
    cells = pd.Index([f"c{seed}_{i}" for i in range(n)])
    measures = pd.DataFrame(
        np.random.default_rng(seed).gamma(5, 1, (n, 4)),
        index=cells,
        columns=["m:distance", "m:deviance_ratio", "n:distance", "n:deviance_ratio"],
    )
    measures["n:neighborhood_shift"] = np.random.default_rng(seed + 1).gamma(5, 1, n) if n >= MIN_CELLS else np.nan
    labels = ["A", "B", "C", "D"]
    positions = np.random.default_rng(seed).normal(size=(n, 3))
    return Evidence(cells, labels, found, measures, positions, np.full(n, f"batch{seed}")), pd.Series(
        np.array(labels)[truth], index=cells
    )


@pytest.fixture(scope="module")
def learned():
    cells, truth = evidence(900, 0, {"m:knn": 2.0, "n:knn": 0.5})
    batches = np.repeat(["a", "b", "c"], 300)
    codes = pd.Index(cells.labels).get_indexer(truth)
    return learn(cells, truth, batches, ["m:knn", "n:knn"], 0.1), HeldOut(cells.sources, codes, batches)


PARENTS = pd.DataFrame({"label_2": ["AB", "AB", "C", "D"]}, index=["A", "B", "C", "D"])


def test_levels_agree_and_sets_begin_with_the_label(learned):
    cells, _ = evidence(200, 1, {"m:knn": 2.0, "n:knn": 0.5})
    found, shares, left_out = deliver(cells, *learned, PARENTS, novel=0.99)
    assert left_out == {}
    assert (found["label_2"] == found["label"].map(PARENTS["label_2"])).all()
    assert (found["confidence_2"] >= found["confidence"] - 1e-9).all()
    assert shares.sum(axis=1).to_numpy() == pytest.approx(np.ones(200))
    assert [members[0] for members in found["set"]] == found["label"].tolist()
    single = found["set"].map(len) == 1
    assert (found.loc[single, "set_label"] == found.loc[single, "label"]).all()
    pairs = found["set"].map(set) == {"A", "B"}
    assert pairs.any()
    assert set(found.loc[pairs, "set_label"]) == {"AB"}


def test_cells_far_from_the_reference_are_novel(learned):
    cells, _ = evidence(200, 2, {"m:knn": 2.0, "n:knn": 0.5})
    cells.novelty_measures.iloc[:20] = 1000.0
    cells.positions[:20] += 100
    found, _, _ = deliver(cells, *learned, PARENTS, novel=0.99)
    assert found["novel"].iloc[:20].all()
    assert found["novel"].iloc[20:].mean() < 0.05
    assert found["label"].notna().all()


def test_a_novel_cell_of_a_small_batch_is_detected_by_itself(learned):
    cells, _ = evidence(10, 2, {"m:knn": 2.0, "n:knn": 0.5})
    cells.novelty_measures.iloc[0] = 1000.0
    found, _, _ = deliver(cells, *learned, PARENTS, novel=0.99)
    assert found["novel"].iloc[0]
    assert found["novelty"].nunique() > 5
    one, _, _ = deliver(cells.take(np.arange(10) == 3), *learned, PARENTS, novel=0.99)
    assert one["novelty"].iloc[0] == found["novelty"].iloc[3]


def test_an_unusually_unconfident_source_is_left_out(learned):
    cells, _ = evidence(300, 3, {"m:knn": 2.0, "n:knn": 0.5})
    cells.sources["n:knn"] = np.random.default_rng(0).dirichlet(np.full(4, 20.0), 300)
    found, _, left_out = deliver(cells, *learned, PARENTS, novel=0.99)
    assert list(left_out) == ["n:knn"]
    others = cells.sources["m:knn"].argmax(axis=1)
    assert (found["label"].to_numpy() == np.array(cells.labels)[others]).all()


def test_a_source_by_itself_has_neither_sets_nor_novelty():
    cells, _ = evidence(5, 1, {"m:knn": 2.0})
    found, shares = deliver_uncalibrated(cells, "m:knn", PARENTS)
    assert found["set"].tolist() == [[]] * 5
    assert found["novelty"].isna().all()
    assert (found["confidence"] == shares.max(axis=1)).all()


@pytest.mark.parametrize("sets", [[["A"], ["B", "A"], []], [[], [], []]])
def test_sets_are_lists_again_after_parquet(tmp_path, sets):
    table = pd.DataFrame({"label": ["A", "B", "A"], "set": pd.Series(sets)}).set_axis(["q:1", "q:2", "q:3"])
    table.to_parquet(tmp_path / "delivered.parquet")
    assert read_delivered(str(tmp_path / "delivered.parquet"))["set"].tolist() == sets


def delivered(sets, novel=(False, False, False)):
    cells = pd.Index(["q:z", "q:y", "q:x"])
    return pd.DataFrame(
        {
            "label": ["B", "A", "A"],
            "confidence": [0.8, 0.6, 0.9],
            "set": pd.Series([list(labels) for labels in sets], index=cells),
            "set_label": "",
            "novelty": 0.5,
            "novel": novel,
        },
        index=cells,
    )


CELLS = pd.DataFrame({"barcode": ["x", "y", "z"], "keep": [True, True, False]}, index=["q:x", "q:y", "q:z"])


def test_rows_of_labels_csv_are_in_the_order_of_the_users_file():
    table = label_table(CELLS.index[::-1], "knn", ["A", "B"], np.array([[0.1, 0.9], [0.6, 0.4], [0.8, 0.2]]))
    rows = deliverable(CELLS, delivered(["B", "AB", "A"]), {"m": table}, 0.5, "pass")
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
        "set",
        "set_label",
        "novelty",
        "m_label",
        "m_confidence",
    ]


def test_statuses_in_their_precedence():
    found = delivered(["B", "AB", "A"], novel=[True, True, False]).loc[CELLS.index]
    assert statuses(CELLS, found, 0.5, "warn").tolist() == ["assigned", "novel", "low_quality"]
    assert statuses(CELLS, found, 0.5, "fail").tolist() == ["mapping_failed"] * 3
    without_sets = delivered(["", "", ""]).loc[CELLS.index]
    assert statuses(CELLS, without_sets, 0.7, "pass").tolist() == ["assigned", "ambiguous", "low_quality"]


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


def write_model(folder, cells, name, p):
    """Write the files of one model; return their paths by kind."""
    folder.mkdir()
    label_table(cells, "knn", ["A", "B"], p).to_parquet(folder / "labels.parquet")
    pd.DataFrame({"distance": 1.0}, index=cells).to_parquet(folder / "distance.parquet")
    pd.DataFrame({"deviance_ratio": 1.0}, index=cells).to_parquet(folder / "fit.parquet")
    pd.DataFrame({"latent_1": [0.0, 1.0]}, index=cells).to_parquet(folder / "latent.parquet")
    return {kind: str(folder / f"{kind}.parquet") for kind in ("labels", "distance", "fit", "latent")}


def test_without_folds_the_named_source_is_delivered_whatever_the_order_of_models(tmp_path):
    cells = pd.DataFrame({"batch": "b"}, index=pd.Index(["q:1", "q:2"], name="cell"))
    shares = {"m": [[0.9, 0.1], [0.8, 0.2]], "n": [[0.1, 0.9], [0.2, 0.8]]}
    files = {name: write_model(tmp_path / name, cells.index, name, np.array(p)) for name, p in shares.items()}
    reference = pd.DataFrame({"label": ["A", "B"], "keep": True})
    for models in (files, dict(reversed(files.items()))):
        delivered, sources, left_out = combine(
            models, files["m"]["latent"], cells, reference, None, None, 0.95, "n:knn"
        )
        assert delivered["label"].tolist() == ["B", "B"]
        assert delivered["confidence"].tolist() == pytest.approx([0.9, 0.8])
        assert set(sources["source"]) == {"delivered"}
        assert left_out == {}
