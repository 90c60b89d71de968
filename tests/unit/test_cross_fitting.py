"""Calibration on held-out cells: what is learned from which cells, and that no cell is judged by itself."""

import json

import numpy as np
import pandas as pd
import pytest
from test_delivery import LABELS, evidence

from refatlas.errors import InputError
from refatlas.io.atomic import write_json
from refatlas.transfer import cross_fitting
from refatlas.transfer.cross_fitting import (
    HeldOut,
    are_studies,
    calibrate,
    cross_fit,
    learn_from,
    read_splits,
    seen_cells,
)
from refatlas.transfer.evidence import stack_evidence
from refatlas.transfer.hierarchy import hierarchy
from refatlas.transfer.label_table import label_table

REFERENCE = pd.DataFrame(
    {"label": np.repeat(LABELS, 5), "label_2": np.repeat(["AB", "AB", "C", "D"], 5), "batch": "r:x", "keep": True}
)
PARENTS = hierarchy(REFERENCE)


def held_out(split: int, n: int = 240, batches=("d:x", "d:y"), simulated: bool = False, unseen: int = 0) -> HeldOut:
    """Return the held-out cells of a fold, of which the first have a label that its reference lacks."""
    found, truth = evidence(n, split, batches)
    labels = np.array(LABELS, dtype=object)[truth]
    labels[:unseen] = "new"
    batch = [group.split(" ", 1)[1] for group in found.groups]
    cells = pd.DataFrame({"batch": batch, "label": labels}, index=found.cells)
    hidden = pd.concat(
        [
            found.measures[["energy", "distance", "given"]].assign(hidden=name, unseen=labels == name, batch=batch)
            for name in "AB"
        ]
    )
    hidden.loc[hidden["unseen"], "energy"] += 3
    return HeldOut(f"s{split}", cells, found, np.arange(n) >= unseen, hidden, simulated)


def run(splits, folds=("s1", "s2", "s3"), source=None):
    return calibrate(splits, list(folds), REFERENCE, source, 0.1, 0.9)


@pytest.fixture(scope="module")
def three():
    return [held_out(split) for split in (1, 2, 3)]


def test_calibration_says_from_what_it_was_learned(three, capsys):
    found = run([*three, held_out(4)])
    parameters = json.loads(json.dumps(found.parameters))
    assert parameters["evidence"]["folds"] == ["s1", "s2", "s3"]
    assert parameters["evidence"]["n_cells"] == parameters["novelty"]["n_cells"] == 720
    assert parameters["evidence"]["batches"] == ["d:x", "d:y"]
    assert sum(parameters["evidence"]["labels"].values()) == 720
    assert not parameters["evidence"]["simulated"]
    assert parameters["novelty"]["judged"]
    assert parameters["novelty"]["hidden"] == ["A", "B"]
    assert set(parameters["levels"]) == {"label_2"}
    assert parameters["way_back"] == pytest.approx({"relative": 0.0, "expected": 0.8})
    assert parameters["wanted"] == ["matched:knn", "m:knn"]
    assert parameters["alpha"] == 0.1
    assert "720 held-out cells of 2 batches; weights: " in capsys.readouterr().out


def test_all_held_out_cells_are_delivered_in_their_order(three):
    splits = [*three, held_out(4)]
    found = run(splits)
    for held in splits:
        table, sources = found.delivered[held.split], found.sources[held.split]
        assert table.index.tolist() == held.cells.index.tolist()
        assert sources.groupby("source").size().to_dict() == dict.fromkeys(("delivered", "matched:knn", "m:knn"), 240)
        right = (table["label"] == held.cells["label"]).mean()
        assert table["confidence"].mean() == pytest.approx(right, abs=0.08)


def test_each_fold_is_labelled_by_the_others(three):
    parts = cross_fit(three, None, 0.1, PARENTS)
    assert len(parts) == 720
    for held in three:
        names = {parts[held.split, cell][0] for cell in held.cells.index}
        assert names == {held.split}
        learned = parts[held.split, held.cells.index[0]][1]
        expected = learn_from([other for other in three if other is not held], None, 0.1, PARENTS)
        assert learned == expected
        assert learned["novelty"]["n_cells"] == 480


def test_a_single_fold_is_labelled_by_its_other_batches():
    held = held_out(1, n=360, batches=("d:x", "d:y", "d:z"))
    parts = cross_fit([held], None, 0.1, PARENTS)
    for batch, cells in held.cells.groupby("batch"):
        names = {parts["s1", cell][0] for cell in cells.index}
        assert len(names) == 1
        learned = parts["s1", cells.index[0]][1]
        others = cross_fitting._take(held, (held.cells["batch"] != batch).to_numpy())
        assert learned == learn_from([others], None, 0.1, PARENTS)
        assert batch not in set(others.hidden["batch"])
        assert f"s1 {batch}" not in others.evidence.agreement
        assert len(others.cells) == 240


def test_a_single_batch_is_labelled_in_thirds():
    parts = cross_fit([held_out(1, batches=("d:x",))], None, 0.1, PARENTS)
    assert pd.Series([name for name, _ in parts.values()]).value_counts().tolist() == [80, 80, 80]
    assert all(learned["novelty"]["n_cells"] == 160 for _, learned in parts.values())


def third_of(folds: list[HeldOut]) -> HeldOut:
    """Return a third fold, of simulated batches of every third cell of two others."""
    parts = [cross_fitting._take(held, np.arange(len(held.cells)) % 3 == 0) for held in folds]
    evidence = stack_evidence([part.evidence for part in parts])
    cells = pd.concat([part.cells for part in parts])
    cells["batch"] += ":s3_" + pd.Series(np.arange(len(cells)) % 2 + 1, index=cells.index).astype(str)
    evidence.groups = ("s3 " + cells["batch"]).to_numpy(dtype=str)
    evidence.measures = evidence.measures.assign(batch=evidence.groups)
    evidence.agreement = dict.fromkeys(np.unique(evidence.groups), parts[0].evidence.agreement["s1 d:x"])
    hidden = evidence.measures.assign(hidden="A", unseen=cells["label"] == "A", batch=cells["batch"])
    return HeldOut("s3", cells, evidence, np.ones(len(cells), dtype=bool), hidden, True)


@pytest.fixture
def learned_on(monkeypatch):
    """Folds and cells in place of what is learned on them."""

    def cells_of(used, source, alpha, parents):
        return [held.split for held in used], {cell for held in used for cell in held.cells.index}

    monkeypatch.setattr(cross_fitting, "learn_from", cells_of)


def test_no_cell_is_labelled_by_itself_where_folds_share_cells(learned_on, capsys):
    """Two batches and three folds: the third holds out cells of the others once more."""
    two = [held_out(1, n=180, batches=("d:x",)), held_out(2, n=180, batches=("d:y",))]
    folds = [*two, third_of(two)]
    parts = cross_fit(folds, None, 0.1, PARENTS)
    assert len(parts) == 180 + 180 + 120
    for (split, cell), (_, (names, cells)) in parts.items():
        assert cell not in cells
        assert names == {"s1": ["s2"], "s2": ["s1"], "s3": ["s1", "s2", "s3"]}[split]
    assert {part for (split, _), (part, _) in parts.items() if split == "s3"} == {"0", "1", "2", "3"}
    assert "s3: folds without its cells hold out only 0 cells" in capsys.readouterr().out


def test_folds_that_share_cells_are_calibrated_and_delivered():
    two = [held_out(1, n=180, batches=("d:x",)), held_out(2, n=180, batches=("d:y",))]
    third = third_of(two)
    found = run([*two, third])
    parts = cross_fit([*two, third], None, 0.1, PARENTS)
    assert parts["s1", "c1_0"][1] == learn_from(two[1:], None, 0.1, PARENTS)
    assert found.delivered["s3"].index.tolist() == third.cells.index.tolist()


def test_measures_of_hidden_labels_leave_with_the_batch_of_a_shared_cell():
    two = [held_out(1, n=180, batches=("d:x", "d:z")), held_out(2, n=180, batches=("d:y",))]
    third = third_of(two)
    first, second, own = cross_fitting._without([*two, third], third, pd.Index(["c1_0"]))
    assert set(first.hidden["batch"]) == {"d:z"}
    assert second is two[1]
    assert len(own.cells) == 119


def test_a_split_that_is_only_labelled_has_what_its_cells_have_in_the_first_fold(learned_on):
    two = [held_out(1, n=180, batches=("d:x",)), held_out(2, n=180, batches=("d:y",))]
    known = cross_fitting._parts_of_split("hide_1", cross_fit([*two, third_of(two)], None, 0.1, PARENTS))
    assert len(known) == 360
    assert known["c1_0"][1][0] == ["s2"]
    assert known["c2_0"][1][0] == ["s1"]


def test_of_very_uneven_folds_the_largest_is_labelled_in_thirds(capsys):
    uneven = [held_out(1, n=240, batches=("d:x",)), *(held_out(i, n=14, batches=(f"d:{i}",)) for i in (2, 3))]
    found = run(uneven)
    assert [len(found.delivered[held.split]) for held in uneven] == [240, 14, 14]
    parts = cross_fit(uneven, None, 0.1, PARENTS)
    large = pd.Series([part for (split, _), (part, _) in parts.items() if split == "s1"])
    assert large.value_counts().tolist() == [80, 80, 80]
    assert parts["s1", "c1_0"][1]["novelty"]["n_cells"] == 160 + 28
    assert parts["s2", "c2_0"] == ("s2", learn_from([uneven[0], uneven[2]], None, 0.1, PARENTS))
    assert "s1: folds without its cells hold out only 28 cells" in capsys.readouterr().out


@pytest.mark.parametrize("batches", [("d:x",), ("d:x", "d:y")])
def test_the_fewest_cells_that_are_enough_are_calibrated(batches):
    found = run([held_out(1, n=30, batches=batches)], folds=("s1",))
    assert len(found.delivered["s1"]) == 30


def test_cells_of_labels_that_their_reference_lacks_are_delivered_and_teach_nothing(three):
    with_unseen = held_out(3, unseen=40)
    found = run([*three[:2], with_unseen])
    assert found.parameters["evidence"]["n_cells"] == 680
    assert "new" not in found.parameters["evidence"]["labels"]
    assert len(found.delivered["s3"]) == 240
    kept, cells = seen_cells([with_unseen])
    assert cells.index.tolist() == kept.cells.tolist() == with_unseen.cells.index[40:].tolist()


def test_novelty_is_judged_only_by_batches_that_are_not_simulated(three):
    simulated = [held_out(split, simulated=True) for split in (1, 2, 3)]
    assert not run(simulated).parameters["novelty"]["judged"]
    assert not any(table["novel"].any() for table in run(simulated).delivered.values())
    mixed = run([*three[:2], simulated[2]]).parameters
    assert mixed["novelty"]["judged"]
    assert mixed["evidence"]["simulated"]


def test_too_few_cells_to_learn_from():
    few = [held_out(1, n=40, unseen=20)]
    with pytest.raises(InputError, match="the folds hold out only 20 cells with a label of the reference, need 30"):
        run(few, folds=("s1",))


def test_of_very_many_cells_some_are_drawn(three, monkeypatch):
    monkeypatch.setattr(cross_fitting, "MAX_CELLS", 300)
    kept, cells = seen_cells(three)
    assert len(kept.cells) == len(cells) == pytest.approx(300, abs=60)


@pytest.mark.parametrize(("source", "wanted"), [("matched", ["matched:knn"]), ("m:knn", ["m:knn"])])
def test_a_single_source_is_calibrated_beside_the_others(three, source, wanted):
    found = run(three, source=source).parameters
    assert (found["wanted"], found["weights"]) == (wanted, [1.0])
    assert set(found["sources"]) == {"matched:knn", "m:knn"}


@pytest.mark.parametrize(
    ("groups", "batches", "expected"),
    [
        ("abc", ["x:1", "y:1", "z:1"], True),
        ("aabc", ["w:1", "x:1", "y:1", "z:1"], True),
        ("abc", ["x:1", "y:1", "y:2"], False),
        ("ab", ["x:1", "y:1"], False),
        ("abc", ["1", "2", "3"], False),
    ],
)
def test_folds_are_studies_if_each_has_datasets_of_its_own(groups, batches, expected):
    assert are_studies(np.array(list(groups)), pd.Series(batches)) == expected


@pytest.mark.parametrize(("batch", "simulated"), [("r:x", False), ("r:simulated", True)])
def test_the_files_of_a_fold_are_read(tmp_path, batch, simulated):
    cells = pd.DataFrame(
        {"batch": batch, "label": ["A", "new", None]}, index=pd.Index(["q:1", "q:2", "q:3"], name="cell")
    )
    cells.to_parquet(tmp_path / "cells")
    label_table(cells.index, "knn", ["A", "B"], np.full((3, 2), 0.5)).to_parquet(tmp_path / "labels")
    pd.DataFrame({"energy": 0.0, "given": "A"}, index=cells.index).to_parquet(tmp_path / "measures")
    write_json({"agreement": {"": {"way_back": 1.0}}}, tmp_path / "agreement")
    paths = {f"matched_{kind}": str(tmp_path / kind) for kind in ("labels", "measures", "agreement")}
    files = {"fold_1": {**paths, "cells": str(tmp_path / "cells")}}
    (found,) = read_splits({"fold_1": {"m": str(tmp_path / "labels")}}, files, REFERENCE)
    assert found.seen.tolist() == [True, False, False]
    assert found.simulated == simulated
    assert found.evidence.labels == LABELS
    assert found.hidden.empty
    assert list(found.evidence.sources) == ["matched:knn", "m:knn"]
