"""Delivered labels: properties on drawn probabilities, and of runs without folds."""

import numpy as np
import pandas as pd
import pytest
from test_calibration import probabilities

from refatlas.io.atomic import write_json
from refatlas.transfer.delivery import combine, deliver, deliver_uncalibrated, read_delivered
from refatlas.transfer.evidence import Evidence
from refatlas.transfer.label_levels import learn_levels
from refatlas.transfer.label_table import label_table
from refatlas.transfer.novelty import learn_novelty
from refatlas.transfer.pooling import learn, pooled_probabilities

LABELS = ["A", "B", "C", "D"]
PARENTS = pd.DataFrame({"label_2": ["AB", "AB", "C", "D"]}, index=LABELS)
SOURCES = {"matched:knn": 2.0, "m:knn": 0.5}
GOOD = {"way_back": 0.8, "way_back_expected": 0.8}
FAILED = {"way_back": 0.1, "way_back_expected": 0.8}


def evidence(n: int, seed: int, batches: tuple[str, ...] = ("x", "y", "z")) -> tuple[Evidence, np.ndarray]:
    """Return evidence by sources of a given sharpness, and the columns of the true labels."""
    parts = {name: probabilities(n, sharpness=sharpness, seed=seed) for name, sharpness in SOURCES.items()}
    cells = pd.Index([f"c{seed}_{i}" for i in range(n)])
    groups = np.array([f"s{seed} {batches[i % len(batches)]}" for i in range(n)])
    measures = pd.DataFrame(np.random.default_rng(seed).normal(size=(n, 2)), cells, ["energy", "distance"])
    given = np.array(LABELS)[parts["matched:knn"][0].argmax(axis=1)]
    agreement = dict.fromkeys(np.unique(groups), GOOD)
    found = {name: p for name, (p, _) in parts.items()}
    table = measures.assign(given=given, batch=groups)
    return Evidence(cells, LABELS, found, table, groups, agreement), parts["matched:knn"][1]


@pytest.fixture(scope="module")
def learned():
    cells, truth = evidence(900, 0)
    found = learn(cells, truth, cells.groups, list(SOURCES), 0.1)
    p, _ = pooled_probabilities(cells, found)
    novelty = learn_novelty(cells.measures, pd.DataFrame()) | {"judged": True}
    usual = {"relative": 0.0, "expected": 0.8}
    return {**found, "levels": learn_levels(p, LABELS, truth, PARENTS), "novelty": novelty, "way_back": usual}


def test_levels_agree_and_sets_are_covered_by_their_label(learned):
    cells, truth = evidence(900, 1)
    found = deliver(cells, learned, PARENTS, novel=0.9)
    table = found.cells
    assert (table["label_2"] == table["label"].map(PARENTS["label_2"])).all()
    assert found.shares.sum(axis=1).to_numpy() == pytest.approx(np.ones(900))
    single = table["set"].map(len) == 1
    assert (table.loc[single, "set_label"] == [members[0] for members in table.loc[single, "set"]]).all()
    pairs = table["set"].map(set) == {"A", "B"}
    assert pairs.any()
    assert set(table.loc[pairs, "set_label"]) == {"AB"}
    assert all(label in members for label, members in zip(table["label"], table["set"], strict=True))
    # Among them are labels that are not the most probable: their coarser label is.
    assert (table["label"] != np.array(LABELS)[found.shares.to_numpy().argmax(axis=1)]).any()
    covered = np.array([LABELS[k] in members for k, members in zip(truth, table["set"], strict=True)])
    assert all(covered[truth == k].mean() > 0.8 for k in range(4))


def test_confidence_and_estimated_accuracy_are_right_for_cells_like_the_held_out_ones(learned):
    cells, truth = evidence(1500, 2)
    found = deliver(cells, learned, PARENTS, novel=0.9)
    right = (found.shares.to_numpy().argmax(axis=1) == truth).mean()
    assert set(found.accuracy) == {"", "x", "y", "z"}
    assert found.accuracy[""].value == pytest.approx(right, abs=0.03)
    assert found.accuracy[""].low < right < found.accuracy[""].high
    facts = found.facts()
    assert set(facts["accuracy"]["x"]) == {"value", "low", "high", "confidence", "way_back", "tested"}
    assert set(facts["weights"]) == {"x", "y", "z"}


def test_a_batch_whose_way_back_fails_has_less_confidence_and_the_same_labels(learned):
    cells, _ = evidence(900, 3)
    before = deliver(cells, learned, PARENTS, novel=1.1)
    cells.agreement["s3 y"] = FAILED
    after = deliver(cells, learned, PARENTS, novel=1.1)
    failed = cells.groups == "s3 y"
    assert after.accuracy["y"].value < before.accuracy["y"].value - 0.1
    assert after.accuracy["x"] == before.accuracy["x"]
    highest = after.shares.max(axis=1).to_numpy()
    assert highest[failed].mean() == pytest.approx(after.accuracy["y"].value, abs=0.005)
    assert highest[~failed] == pytest.approx(before.shares.max(axis=1).to_numpy()[~failed])
    first = [found.shares.to_numpy().argmax(axis=1) for found in (before, after)]
    assert (first[0] == first[1]).all()
    assert after.cells["set"].map(len)[failed].mean() > before.cells["set"].map(len)[failed].mean()


def test_cells_unlike_the_reference_are_novel_and_keep_a_label(learned):
    cells, _ = evidence(900, 4)
    unlike = np.arange(900) % 9 == 0
    cells.measures.loc[unlike, ["energy", "distance"]] += 8.0
    found = deliver(cells, learned, PARENTS, novel=0.9).cells
    assert found.loc[unlike, "novel"].mean() > 0.95
    assert found.loc[~unlike, "novel"].mean() < 0.1
    both = (found["novelty"] >= 0.9) & (found["novelty_in_label"] >= 0.9)
    assert (found["novel"] == both).all()
    assert found["label"].notna().all()


def test_with_a_single_batch_of_the_reference_no_cell_is_novel(learned):
    cells, _ = evidence(900, 4)
    cells.measures.iloc[::9, :2] += 8.0
    found = deliver(cells, {**learned, "novelty": {**learned["novelty"], "judged": False}}, PARENTS, novel=0.9).cells
    assert not found["novel"].any()
    assert (found["novelty"] > 0.99).any()


def test_novel_cells_do_not_count_for_the_estimated_accuracy(learned):
    cells, _ = evidence(900, 5)
    unlike = np.arange(900) % 9 == 0
    for name, p in cells.sources.items():
        cells.sources[name] = np.where(unlike[:, None], 0.25, p)
    with_unlike = deliver(cells, learned, PARENTS, novel=1.1).accuracy[""].value
    cells.measures.loc[unlike, ["energy", "distance"]] += 8.0
    assert deliver(cells, learned, PARENTS, novel=0.9).accuracy[""].value > with_unlike + 0.03


def test_cells_of_low_quality_count_neither_for_the_estimate_nor_for_what_is_usual(learned):
    cells, _ = evidence(900, 6)
    kept = np.arange(900) % 4 > 0
    alone = deliver(cells.take(kept), learned, PARENTS, novel=0.9)
    for name, p in cells.sources.items():
        cells.sources[name] = np.where(kept[:, None], p, 0.25)
    cells.measures.loc[~kept, ["energy", "distance"]] -= 6.0
    cells.measures["kept"] = kept
    found = deliver(cells, learned, PARENTS, novel=0.9)
    for batch, estimate in alone.accuracy.items():
        assert found.accuracy[batch].value == pytest.approx(estimate.value, abs=0.01)
    assert (found.cells["novel"][kept] == alone.cells["novel"]).all()


def test_a_batch_of_cells_of_low_quality_alone_says_nothing_of_the_others(learned):
    cells, _ = evidence(900, 7)
    without = deliver(cells, learned, PARENTS, novel=1.1).accuracy
    bad = np.array([group.endswith(" x") for group in cells.groups])
    cells.measures["kept"] = ~bad
    for name, p in cells.sources.items():
        cells.sources[name] = np.where(bad[:, None], 0.25, p)
    found = deliver(cells, learned, PARENTS, novel=1.1).accuracy
    assert found["x"].value < 0.5
    assert found[""].value == pytest.approx(np.mean([without["y"].value, without["z"].value]), abs=0.02)
    cells.measures["kept"] = False
    assert deliver(cells, learned, PARENTS, novel=1.1).accuracy[""].value < found[""].value


def test_labels_of_a_batch_of_one_label_are_not_tested(learned):
    cells, _ = evidence(900, 8)
    one = np.array([group.endswith(" x") for group in cells.groups])
    for name, p in cells.sources.items():
        cells.sources[name] = np.where(one[:, None], [0.97, 0.01, 0.01, 0.01], p)
    found = deliver(cells, learned, PARENTS, novel=1.1).accuracy
    assert {name: estimate.tested for name, estimate in found.items()} == {"": True, "x": False, "y": True, "z": True}


def test_calibration_of_earlier_bundles_has_the_usual_way_back_alone(learned):
    cells, _ = evidence(900, 9)
    found, earlier = (
        deliver(cells, {**learned, "way_back": usual}, PARENTS, novel=1.1).accuracy[""]
        for usual in (learned["way_back"], 0.0)
    )
    assert found == earlier


def test_without_folds_there_are_neither_sets_nor_novelty():
    cells, _ = evidence(90, 1)
    found = deliver_uncalibrated(cells, "m:knn", PARENTS)
    assert found.cells["set"].tolist() == [[]] * 90
    assert found.cells[["novelty", "novelty_in_label", "novelty_fdr"]].isna().all(axis=None)
    assert not found.cells["novel"].any()
    assert found.shares.to_numpy() == pytest.approx(cells.sources["m:knn"], abs=0.01)
    cells.agreement["s1 x"] = FAILED
    lowered = deliver_uncalibrated(cells, "m:knn", PARENTS).accuracy
    assert lowered["x"].value < found.accuracy["x"].value - 0.1
    # The estimate is that of the matched baseline, whichever source is delivered.
    expected = cells.sources["matched:knn"][cells.groups == "s1 y"].max(axis=1).mean()
    assert found.accuracy["y"].value == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("sets", [[["A"], ["B", "A"], []], [[], [], []]])
def test_sets_are_lists_again_after_parquet(tmp_path, sets):
    table = pd.DataFrame({"label": ["A", "B", "A"], "set": pd.Series(sets)}).set_axis(["q:1", "q:2", "q:3"])
    table.to_parquet(tmp_path / "delivered.parquet")
    assert read_delivered(str(tmp_path / "delivered.parquet"))["set"].tolist() == sets


@pytest.mark.parametrize(("source", "labels"), [("n:knn", ["B", "B"]), ("m:knn", ["A", "A"]), ("matched", ["A", "B"])])
def test_without_folds_the_named_source_is_delivered_whatever_the_order_of_models(tmp_path, source, labels):
    cells = pd.DataFrame({"batch": "b"}, index=pd.Index(["q:1", "q:2"], name="cell"))
    shares = {"m": [[0.9, 0.1], [0.8, 0.2]], "n": [[0.1, 0.9], [0.2, 0.8]], "matched": [[0.7, 0.3], [0.4, 0.6]]}
    for name, p in shares.items():
        label_table(cells.index, "knn", ["A", "B"], np.array(p)).to_parquet(tmp_path / name)
    pd.DataFrame({"energy": 0.0, "given": "A"}, index=cells.index).to_parquet(tmp_path / "measures")
    write_json({"agreement": {}}, tmp_path / "agreement")
    matched = {"labels": "matched", "measures": "measures", "agreement": "agreement"}
    matched = {kind: str(tmp_path / name) for kind, name in matched.items()}
    files = {name: {"labels": str(tmp_path / name)} for name in ("m", "n")}
    reference = pd.DataFrame({"label": ["A", "B"], "keep": True})
    for models in (files, dict(reversed(files.items()))):
        delivery, sources = combine(models, matched, cells, reference, None, 0.9, source)
        assert delivery.cells["label"].tolist() == labels
        assert set(sources["source"]) == {"delivered"}
        assert set(delivery.accuracy) == {"", "b"}
