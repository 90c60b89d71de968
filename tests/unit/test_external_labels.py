"""Labels that were made elsewhere: read from files, made votes for the reference's labels, and pooled."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from test_calibration import probabilities

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.external_labels import read_external_labels
from refatlas.transfer.calibration import calibrated, fit_temperature
from refatlas.transfer.deliverable import deliverable
from refatlas.transfer.external_labels import read_given, votes
from refatlas.transfer.hierarchy import coarser
from refatlas.transfer.label_table import probabilities as shares_of
from refatlas.transfer.pooling import choose_weights, fixed_candidates, pool

KEY = {"key": "tool", "probabilities": None, "labels": None}
MATRIX = {"key": None, "probabilities": "obsm/tool", "labels": None}
KNOWN = ["B", "NK", "T"]
STRICT, LENIENT = ({"map": None, "unmapped": kind} for kind in ("error", "no_vote"))


@pytest.fixture
def counts() -> ad.AnnData:
    return small_counts()


def read(counts, tmp_path, settings, unlabeled=()):
    counts.write_h5ad(tmp_path / "a.h5ad")
    cells = pd.Index([f"d:{name}" for name in counts.obs_names])
    return read_external_labels(open_counts(str(tmp_path / "a.h5ad")), settings, list(unlabeled), cells, "config: x")


def labels(*names) -> pd.DataFrame:
    return pd.DataFrame({"label": names}, index=[f"c{i}" for i in range(len(names))])


def shares(rows, names) -> pd.DataFrame:
    return pd.DataFrame(rows, index=[f"c{i}" for i in range(len(rows))], columns=[f"p:{name}" for name in names])


def test_a_column_is_read_and_cells_may_lack_a_label(counts, tmp_path):
    counts.obs["tool"] = ["T", None, "", "unassigned", *["B"] * 56]
    found = read(counts, tmp_path, KEY, ["unassigned"])
    assert found["label"].tolist()[:5] == ["T", None, None, None, "B"]
    assert found.index[0] == "d:cell0"


def test_rows_of_probabilities_are_divided_by_their_sums(counts, tmp_path):
    values = np.tile([0.9, 0.6], (60, 1))
    values[3], values[4] = 0, np.nan
    counts.obsm["tool"] = pd.DataFrame(values, index=counts.obs_names, columns=["T", "B"])
    found = read(counts, tmp_path, MATRIX)
    assert list(found.columns) == ["p:T", "p:B"]
    assert found.iloc[0].tolist() == pytest.approx([0.6, 0.4])
    assert found.iloc[[3, 4]].to_numpy().tolist() == [[0, 0], [0, 0]]


def test_names_of_the_columns_come_from_the_config_or_from_uns(counts, tmp_path):
    counts.obsm["tool"] = np.tile([0.5, 0.5], (60, 1))
    assert list(read(counts, tmp_path, {**MATRIX, "labels": ["T", "B"]})) == ["p:T", "p:B"]
    with pytest.raises(InputError, match=r"has 2 columns without names; make it a data frame, put .*'tool_names'"):
        read(counts, tmp_path, MATRIX)
    counts.uns["tool_names"] = np.array(["T", "NK"])
    assert list(read(counts, tmp_path, MATRIX)) == ["p:T", "p:NK"]


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        (KEY, lambda c: None, r"config: x: .*a.h5ad has no cell column 'tool'; it has batch, cell_type"),
        (KEY, lambda c: c.obs.insert(0, "tool", [""] * 60), "no cell of .* has a label in column 'tool'"),
        (MATRIX, lambda c: None, r"has no 'tool' in obsm; it has none"),
        ({**MATRIX, "labels": ["T"]}, lambda c: c.obsm.update(tool=np.ones((60, 2))), "2 columns, and there are 1"),
        (
            {**MATRIX, "labels": ["T", "B"]},
            lambda c: c.obsm.update(tool=np.tile([-1.0, 2.0], (60, 1))),
            r"60 cells .* have negative or missing probabilities, such as -1.0; give probabilities, not scores",
        ),
        ({**MATRIX, "labels": ["T", "B"]}, lambda c: c.obsm.update(tool=np.zeros((60, 2))), "no cell has any probab"),
    ],
)
def test_what_is_no_label_is_refused(counts, tmp_path, settings, change, message):
    change(counts)
    with pytest.raises(InputError, match=message):
        read(counts, tmp_path, settings)


def test_a_column_that_measures_cells_is_refused(tmp_path):
    counts = small_counts(n_cells=120)
    counts.obs["tool"] = np.arange(120) / 7
    with pytest.raises(InputError, match=r"120 different values for 120 cells .* so it names or measures cells"):
        read(counts, tmp_path, KEY)


def test_a_label_is_a_vote_of_certainty_1_and_none_is_no_vote():
    found = votes(labels("T", None, "B"), KNOWN, STRICT, "x")
    assert found.table["label"].tolist() == ["T", None, "B"]
    assert found.table["confidence"].fillna(-1).tolist() == [1, -1, 1]
    assert shares_of(found.table, "external", KNOWN).to_numpy().tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert found.facts == {"n_cells": 3, "n_votes": 2, "n_missing": 1, "left_out": {}, "unknown": {}}


def test_unknown_labels_are_refused_with_counts_unless_the_map_or_no_vote_says_otherwise():
    given = labels("T", "B-cell", "B-cell", "HSC")
    with pytest.raises(InputError, match=r"3 cells have labels .*: 'B-cell' \(2 cells.*\), 'HSC' \(1 cells\)"):
        votes(given, KNOWN, STRICT, "x")
    found = votes(given, KNOWN, {"map": {"B-cell": "B", "HSC": "-"}, "unmapped": "error"}, "x")
    assert found.table["label"].tolist() == ["T", "B", "B", None]
    assert found.facts["left_out"] == {"HSC": 1}
    found = votes(given, KNOWN, LENIENT, "x")
    assert found.table["label"].tolist() == ["T", None, None, None]
    assert found.facts["unknown"] == {"B-cell": 2, "HSC": 1}
    with pytest.raises(InputError, match="map gives 'B-cell' the name 'Bcell', which is no label of the reference"):
        votes(given, KNOWN, {"map": {"B-cell": "Bcell"}, "unmapped": "error"}, "x")


def test_probabilities_of_several_names_add_up_and_those_of_unknown_labels_are_spread():
    given = shares([[0.3, 0.3, 0.4, 0.0], [0.1, 0.1, 0.2, 0.6], [0, 0, 0, 0]], ["T 4", "T 8", "B", "HSC"])
    found = votes(given, KNOWN, {"map": {"T 4": "T", "T 8": "T"}, "unmapped": "no_vote"}, "x")
    assert found.table["label"].tolist() == ["T", None, None]
    assert found.table["confidence"][0] == pytest.approx(0.6)
    assert found.facts["unknown"] == {"HSC": 1}
    given = shares([[0.5, 0.3, 0.2]], ["T", "B", "HSC"])
    found = votes(given, KNOWN, STRICT, "x")
    assert shares_of(found.table, "external", KNOWN).to_numpy()[0] == pytest.approx([0.3667, 0.0667, 0.5667], abs=1e-3)


def test_labels_belong_to_the_cells_that_they_were_made_for(tmp_path):
    labels("T", "B").to_parquet(tmp_path / "a")
    labels("NK").set_axis(["z"]).to_parquet(tmp_path / "b")
    found = read_given([str(tmp_path / "a"), str(tmp_path / "b")], pd.Index(["z", "c0"]))
    assert found["label"].to_dict() == {"z": "NK", "c0": "T"}


def test_a_label_that_one_file_lacks_has_probability_0_there(tmp_path):
    shares([[0.1, 0.9], [0.0, 0.0]], ["B", "T"]).to_parquet(tmp_path / "a")
    shares([[0.2, 0.7, 0.1]], ["B", "HSC", "T"]).set_axis(["z"]).to_parquet(tmp_path / "b")
    given = read_given([str(tmp_path / "a"), str(tmp_path / "b")], pd.Index(["c0", "z", "c1"]))
    with pytest.raises(InputError, match=r"1 cells have labels that the reference lacks .*: 'HSC' \(1 cells\)"):
        votes(given, KNOWN, STRICT, "x")
    found = votes(given, KNOWN, LENIENT, "x")
    assert found.table["label"].tolist() == ["T", None, None]
    assert found.table["confidence"].fillna(-1).tolist() == pytest.approx([0.9, -1, -1])
    assert found.facts == {"n_cells": 3, "n_votes": 1, "n_missing": 1, "left_out": {}, "unknown": {"HSC": 1}}


def test_a_cell_without_a_vote_is_labelled_by_the_other_sources():
    p, none = np.array([[0.7, 0.2, 0.1]]), np.zeros((1, 3))
    calibrator = {"method": "temperature", "temperature": 1.3, "floor": 0.1}
    np.testing.assert_allclose(pool([p, calibrated(none, calibrator)], np.array([1.0, 1.0])), p)
    found = coarser(pd.DataFrame(np.vstack([p, none]), columns=KNOWN), pd.Series({"B": "b", "NK": "t", "T": "t"}))
    assert found["label"].tolist() == ["b", None]


def test_certain_votes_get_the_confidence_that_they_have_earned():
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 2000)
    given = np.where(random.random(2000) < 0.8, truth, (truth + random.integers(1, 4, 2000)) % 4)
    p = np.eye(4)[given]
    assert calibrated(p, fit_temperature(p, truth)).max(axis=1).mean() == pytest.approx(0.8, abs=0.02)
    p = np.eye(4)[random.permutation(given)]
    assert calibrated(p, fit_temperature(p, truth)).max(axis=1).mean() < 0.32


def test_they_are_added_to_the_first_candidate():
    found = fixed_candidates(["matched:knn", "m:knn", "a:external", "b:external"])
    assert found["balanced"].tolist() == [0.5, 0.5, 0, 0]
    assert found["with a"] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert found["with all external"] == pytest.approx([1 / 3, 1 / 3, 1 / 6, 1 / 6])
    found = fixed_candidates(["matched:knn", "linear:knn", "a:external"])
    assert next(iter(found)) == "matched"
    assert found["with a"].tolist() == [0.5, 0, 0.5]
    assert "with all external" not in found


def test_they_have_weight_only_if_they_help():
    p, truth = probabilities(900)
    groups, useless = np.repeat(["a", "b", "c"], 300), np.full_like(p, 1 / p.shape[1])
    blurred = 0.5 * p + 0.5 * np.random.default_rng(1).dirichlet(np.ones(p.shape[1]), len(p))
    weights, _ = choose_weights({"matched:knn": p, "m:knn": p, "a:external": useless}, truth, groups, False)
    assert weights == [0.5, 0.5, 0]
    weights, _ = choose_weights({"matched:knn": blurred, "m:knn": blurred, "a:external": p}, truth, groups, False)
    assert weights == pytest.approx([1 / 3, 1 / 3, 1 / 3])


def test_their_columns_have_the_name_of_the_source():
    table = votes(labels("T", None), KNOWN, STRICT, "x").table
    cells = pd.DataFrame({"barcode": ["x", "y"], "keep": True, "batch": "b"}, index=["c0", "c1"])
    delivered = pd.DataFrame(
        {"label": ["T", "B"], "confidence": 0.9, "set": [["T"], ["B"]], "novel": False}, cells.index
    )
    rows = deliverable(cells, delivered, {"tool": table}, 0.5, 0.1, {"verdict": "pass", "batches": {}})
    assert rows["tool_label"].tolist() == ["T", None]
    assert rows["tool_confidence"].isna().tolist() == [False, True]


def test_blanks_make_no_other_label(tmp_path):
    counts = small_counts()
    counts.obs["made"] = ["T cell", "T cell ", "unknown "] * 20
    counts.write_h5ad(tmp_path / "a.h5ad")
    settings = {"key": "made", "probabilities": None, "labels": None}
    found = read_external_labels(open_counts(tmp_path / "a.h5ad"), settings, ["unknown"], counts.obs_names, "x")
    assert found["label"].value_counts(dropna=False).to_dict() == {"T cell": 40, None: 20}
