"""The vote is scArches', on real data; scores and the deliverable are worked out by hand."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsTransformer

from refatlas.evaluate import integration, transfer_scores
from refatlas.evaluate.label_scores import (
    confusion,
    expected_calibration_error,
    risk_coverage_area,
    score_labels,
    score_unseen,
)
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer import delivery, weighted_knn
from refatlas.transfer.label_table import label_table
from refatlas.transfer.weighted_knn import neighbor_weights, weighted_shares


def scarches_transfer(reference, labels, query, k):
    """Return labels and uncertainties by scArches' own function."""
    ad.read = ad.read_h5ad
    from scarches.utils.knn import weighted_knn_transfer

    finder = KNeighborsTransformer(n_neighbors=k, mode="distance", algorithm="brute", metric="euclidean").fit(reference)
    cells = ad.AnnData(query, obs=pd.DataFrame(index=[str(i) for i in range(len(query))]))
    found, uncertainty = weighted_knn_transfer(cells, "X", labels, "label", finder)
    return found, uncertainty


def test_vote_equals_scarches_on_a_real_latent_space(scripts, real):
    data = ad.read_h5ad(real("trvae_latent_pancreas_mapindrop.h5ad"))
    batch = data.obs["batch"].astype(str).to_numpy()
    reference, query = data[batch == "0"], data[batch == "1"][::10]
    labels = pd.DataFrame({"label": reference.obs["cell_type"].astype(str).to_numpy()})
    expected, uncertainty = scarches_transfer(reference.X, labels, query.X, 50)
    table = weighted_knn.vote_table(labels["label"], *nearest_neighbors(reference.X, query.X, 50, 2), query.obs_names)
    assert np.array_equal(table["label"], expected["label"])
    assert 1 - table["confidence"].to_numpy() == pytest.approx(uncertainty["label"].to_numpy(dtype=float), abs=1e-5)


def test_published_accuracy_of_the_trvae_latent_space(scripts, real):
    # Its publication (Symphony, Kang 2021) votes among 5 neighbours.
    data = ad.read_h5ad(real("trvae_latent_pancreas_mapindrop.h5ad"))
    is_reference = (data.obs["batch"].astype(str) == "0").to_numpy()
    found = nearest_neighbors(data.X[is_reference], data.X[~is_reference], 5, 2)
    table = weighted_knn.vote_table(
        data.obs["cell_type"].astype(str)[is_reference], *found, data.obs_names[~is_reference]
    )
    right = pd.Series(table["label"].to_numpy() == data.obs["cell_type"].astype(str)[~is_reference].to_numpy())
    accuracy = right.groupby(data.obs["species"].astype(str)[~is_reference].to_numpy()).mean()
    assert accuracy["human"] == pytest.approx(0.709, abs=0.02)
    assert accuracy["mouse"] == pytest.approx(0.211, abs=0.02)


def test_vote_weighs_near_neighbors_more():
    share = weighted_shares(np.array([0, 0, 1]), np.array([[0, 1, 2]]), np.array([[0.1, 0.1, 0.8]]), n_labels=2)
    assert share == pytest.approx(np.array([[0.2, 0.8]]))


def test_equal_distances_give_equal_weights():
    assert neighbor_weights(np.array([[1.0, 1.0, 1.0]])) == pytest.approx(np.full((1, 3), 1 / 3))
    assert neighbor_weights(np.array([[0.0]])) == pytest.approx(np.ones((1, 1)))
    assert neighbor_weights(np.array([[1e3, 1e6, 2e6]])) == pytest.approx(np.full((1, 3), 1 / 3))


def test_fewer_reference_cells_than_k():
    indices, distances = nearest_neighbors(np.array([[0.0], [3.0]]), np.array([[1.0]]), k=50)
    assert indices.tolist() == [[0, 1]]
    assert distances.tolist() == [[1.0, 2.0]]


def test_calibration_error_by_hand():
    # Two cells at 0.95, one right: gap 0.45. Two at 0.55, both right: gap 0.45.
    assert expected_calibration_error(np.array([1, 0, 1, 1]), np.array([0.95, 0.95, 0.55, 0.55])) == pytest.approx(0.45)


def test_risk_and_unseen_by_hand():
    # Errors by falling confidence: right, wrong, right: risks 0, 1/2, 1/3.
    assert risk_coverage_area(np.array([1, 1, 0]), np.array([0.9, 0.5, 0.7])) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    found = score_unseen(np.array([True, False, False, False]), np.array([0.8, 0.9, 0.1, 0.2]))
    assert found == pytest.approx({"auroc_unseen": 2 / 3, "fpr95_unseen": 1 / 3})
    assert np.isnan(score_unseen(np.array([False]), np.array([0.5]))["auroc_unseen"])


def test_scores_by_hand():
    truth = pd.Series(["a", "a", "b", "new"])
    scores = score_labels(truth, pd.Series(["a", "b", "b", "a"]), pd.Series([0.9, 0.6, 0.8, 0.5]), known={"a", "b"})
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx(2 / 3)
    assert (scores["n_cells"], scores["n_seen"], scores["auroc_unseen"]) == (4, 3, 1.0)
    assert confusion(truth, pd.Series(["a", "b", "b", "a"])).values.tolist() == [
        ["a", "a", 1],
        ["a", "b", 1],
        ["b", "b", 1],
        ["new", "a", 1],
    ]


def test_a_label_without_a_parent_is_scored_as_wrong_at_the_coarser_level(scripts):
    script, cells = transfer_scores, pd.Index(["q:1", "q:2"])
    table = label_table(cells, "knn", ["A", "B"], np.array([[0.9, 0.1], [0.2, 0.8]]))
    training = pd.DataFrame({"label": ["A", "B"], "label_2": ["X", None]})
    found = pd.DataFrame(
        {
            "label": ["A", "B"],
            "confidence": [0.9, 0.8],
            "label_2": ["X", None],
            "confidence_2": [0.9, np.nan],
            "set": ["A", "B"],
            "novelty": [0.5, 0.5],
        },
        index=cells,
    )
    query = pd.DataFrame({"batch": "b", "label": ["A", "B"], "label_2": ["X", "Y"]}, index=cells)
    sources = script.given_labels(
        {"m": table},
        pd.DataFrame({"source": []}),
        found,
        pd.DataFrame({"label_2": ["X", None]}, index=["A", "B"]),
        training,
    )
    scores = script.score_sources({"split": "atlas", "query": "q"}, query, sources, training, {})["scores"]
    coarse = scores[(scores["level"] == 2) & (scores["batch"] == "all")].set_index("model")
    assert (coarse.loc["m", "accuracy"], coarse.loc["delivered", "n_seen"]) == (1.0, 1)


def delivered(sets, novel=(False, False, False)):
    cells = pd.Index(["q:z", "q:y", "q:x"])
    return pd.DataFrame(
        {
            "label": ["B", "A", "A"],
            "confidence": [0.8, 0.6, 0.9],
            "set": sets,
            "set_label": "",
            "novelty": 0.5,
            "novel": novel,
        },
        index=cells,
    )


CELLS = pd.DataFrame({"barcode": ["x", "y", "z"], "keep": [True, True, False]}, index=["q:x", "q:y", "q:z"])


def test_delivered_labels_keep_order_and_doubt(scripts):
    table = label_table(CELLS.index[::-1], "knn", ["A", "B"], np.array([[0.1, 0.9], [0.6, 0.4], [0.8, 0.2]]))
    rows = delivery.deliverable(CELLS, delivered(["B", "A | B", "A"]), {"m": table}, 0.5, "pass")
    assert rows[["cell", "label", "status"]].values.tolist() == [
        ["x", "A", "assigned"],
        ["y", "A", "ambiguous"],
        ["z", "B", "low_quality"],
    ]
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


def test_statuses_in_their_precedence(scripts):
    statuses = delivery.statuses
    found = delivered(["B", "A | B", "A"], novel=[True, True, False]).loc[CELLS.index]
    assert statuses(CELLS, found, 0.5, "warn").tolist() == ["assigned", "novel", "low_quality"]
    assert statuses(CELLS, found, 0.5, "fail").tolist() == ["mapping_failed"] * 3
    without_sets = delivered(["", "", ""]).loc[CELLS.index]
    assert statuses(CELLS, without_sets, 0.7, "pass").tolist() == ["assigned", "ambiguous", "low_quality"]


def test_a_failed_metric_is_shown_and_no_total_is_made_of_it(scripts):
    script = integration

    def fail():
        raise RuntimeError("no such thing")

    table = script.add_totals(
        script.compute({"clisi": fail, "ilisi": lambda: 0.5, "bras": lambda: 0.7}, ["clisi", "ilisi", "bras"])
    ).set_index("metric")
    assert table.loc["clisi", "failed"] == "RuntimeError: no such thing"
    assert table.loc["batch", "value"] == pytest.approx(0.6)
    assert table.loc[["bio", "total"], "value"].isna().all()


@pytest.mark.parametrize("copies", [1, 30])
def test_outlier_factors_are_scikit_learns(scripts, copies):
    """Also where more cells are equal than neighbours are asked for."""
    from sklearn.neighbors import LocalOutlierFactor

    random = np.random.default_rng(0)
    sample = random.normal(size=(900, 8)) * random.gamma(2, 1, (900, 1))
    sample[:copies] = sample[0]
    query = np.vstack([random.normal(size=(100, 8)) * 3, sample[:20]])
    theirs = -LocalOutlierFactor(n_neighbors=15, novelty=True).fit(sample).score_samples(query)
    np.testing.assert_allclose(weighted_knn.outlier_factors(sample, query, 2), theirs, rtol=1e-9)
