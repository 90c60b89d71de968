"""Calibration, pooling, prediction sets and novelty: worked out by hand, or against libraries."""

import numpy as np
import pandas as pd
import pytest

from refatlas.io.cell_tables import SEPARATOR
from refatlas.neighbors.lisi import lisi
from refatlas.transfer.calibration import (
    calibrated,
    fit_calibrator,
    fit_pool,
    fit_sets,
    fit_temperature,
    left_out,
    log_loss,
    pool,
    prediction_sets,
    temper,
)
from refatlas.transfer.delivery import common_labels, deliver
from refatlas.transfer.evidence import Evidence, HeldOut
from refatlas.transfer.hierarchy import coarser, hierarchy
from refatlas.transfer.neighborhood_shift import MIN_CELLS
from refatlas.transfer.novelty import NEIGHBORS, smooth
from refatlas.transfer.pooling import learn


def probabilities(n: int, n_labels: int = 4, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return true probabilities, raised to a power and normalised so that they are over- or
    underconfident, and labels drawn from the true ones.
    """
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.full(n_labels, 0.4), n)
    truth = np.array([random.choice(n_labels, p=row) for row in p])
    raised = np.maximum(p, 1e-12) ** sharpness
    return raised / raised.sum(axis=1, keepdims=True), truth


def test_temperature_undoes_overconfidence():
    p, truth = probabilities(4000, sharpness=2.5)
    how = fit_temperature(p, truth)
    assert how["temperature"] == pytest.approx(2.5, rel=0.1)
    assert how["floor"] < 0.01


def test_temperature_equals_scikit_learn():
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Given(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(4)

        def fit(self, x, y):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict_proba(self, x):
            return x

        def predict(self, x):
            return x.argmax(axis=1)

    p, truth = probabilities(3000, sharpness=2.0)
    theirs = CalibratedClassifierCV(FrozenEstimator(Given()), method="temperature").fit(p, truth).predict_proba(p)
    ours = calibrated(p, fit_temperature(p, truth))
    assert log_loss(ours, truth) <= log_loss(theirs, truth) + 1e-3
    assert np.abs(ours - theirs).mean() < 0.01


def test_a_floor_gives_votes_of_zero_a_chance():
    assert temper(np.array([[1.0, 0.0]]), 1.0, 0.1) == pytest.approx(np.array([[0.95, 0.05]]))
    assert temper(np.array([[0.8, 0.2]]), 2.0, 0.0) == pytest.approx(np.array([[2 / 3, 1 / 3]]))


@pytest.mark.parametrize(
    "how",
    [
        {"method": "isotonic", "x": [0.2, 0.9], "y": [0.1, 0.6]},
        {"method": "temperature", "temperature": 3.0, "floor": 0.2},
    ],
)
def test_calibrated_rows_sum_to_one_and_keep_their_likeliest_label(how):
    p, _ = probabilities(300)
    found = calibrated(p, how)
    assert found.sum(axis=1) == pytest.approx(np.ones(300))
    rows = np.arange(300)
    assert (found[rows, p.argmax(axis=1)] >= found.max(axis=1) - 1e-12).all()


def test_few_cells_get_a_temperature_and_many_may_get_a_curve():
    p, truth = probabilities(200)
    assert fit_calibrator(p, truth, np.repeat(["a", "b"], 100))["method"] == "temperature"
    # A source that is right half of the time, however sure it says it is: no temperature can say
    # that of each level.
    random = np.random.default_rng(0)
    top = random.uniform(0.5, 1.0, 3000)
    p = np.stack([top, 1 - top], axis=1)
    truth = np.where(random.random(3000) < np.where(top > 0.75, 0.55, 0.95), 0, 1)
    how = fit_calibrator(p, truth, np.repeat(["a", "b", "c"], 1000))
    assert how["method"] == "isotonic"


def test_parts_are_batches_or_thirds():
    assert [mask.tolist() for mask in left_out(np.array(["a", "b", "a"]))] == [
        [True, False, True],
        [False, True, False],
    ]
    assert sum(mask.sum() for mask in left_out(np.array(["a"] * 10))) == 10
    many = np.repeat(np.arange(40).astype(str), 3)
    assert len(left_out(many)) == 6
    assert np.sum(left_out(many), axis=0).tolist() == [1] * len(many)


def test_pool_by_hand():
    sources = [np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]])]
    assert pool(sources, np.array([1.0, 1.0])) == pytest.approx(np.array([[0.8, 0.2]]))
    assert pool(sources, np.array([0.5, 1.0])) == pytest.approx(np.array([[2 / 3, 1 / 3]]))


def test_the_pool_trusts_the_source_that_knows():
    good, truth = probabilities(1000)
    useless = np.random.default_rng(1).dirichlet(np.ones(4), 1000)
    weights = fit_pool([good, useless], truth)
    assert weights[0] > 0.7
    assert weights[1] < 0.1


def test_sets_cover_every_label_as_promised():
    p, truth = probabilities(6000, sharpness=1.7)
    limits = fit_sets(p[:3000], truth[:3000], alpha=0.1)
    inside = prediction_sets(p[3000:], limits)
    covered = pd.Series(inside[np.arange(3000), truth[3000:]]).groupby(truth[3000:]).mean()
    assert covered.between(0.86, 0.94).all()
    assert inside.any(axis=1).all()


def test_limits_of_sets_by_hand():
    # Nine cells of label 0: the smallest of their probabilities is the limit at alpha 0.1, because
    # (9 + 1) * 0.1 = 1.
    p = np.stack([np.linspace(0.1, 0.9, 9), 1 - np.linspace(0.1, 0.9, 9)], axis=1)
    assert fit_sets(p, np.zeros(9, dtype=int), 0.1, prior=0)[0] == pytest.approx(0.1)
    assert fit_sets(p, np.zeros(9, dtype=int), 0.05, prior=0)[0] == 0.0


def test_a_rare_label_takes_most_of_its_limit_from_all_cells():
    # Ninety cells of label 0 with 0.01 … 0.90, ten of label 1 with 0.001 … 0.010, which alone would
    # put label 1 into every set.
    own = np.concatenate([np.arange(1, 91) / 100, np.arange(1, 11) / 1000])
    truth = np.repeat([0, 1], [90, 10])
    p = np.where((truth == 0)[:, None], np.stack([own, 1 - own], axis=1), np.stack([1 - own, own], axis=1))
    alone, joined = fit_sets(p, truth, 0.2, prior=0)[1], fit_sets(p, truth, 0.2, prior=100)[1]
    assert alone == pytest.approx(0.002)
    # Of (110 + 1) * 0.2 = 22.2 cells, the ten own ones take 2 each, and two of the others 1 each.
    assert joined == pytest.approx(0.02)


def evidence(n: int, seed: int, sources: dict[str, float]) -> tuple[Evidence, pd.Series]:
    """Return evidence of several sources, whose sharpness is given, and the true labels."""
    found = {}
    for name, sharpness in sources.items():
        found[name], truth = probabilities(n, sharpness=sharpness, seed=seed)
    cells = pd.Index([f"c{seed}_{i}" for i in range(n)])
    strange = pd.DataFrame(
        np.random.default_rng(seed).gamma(5, 1, (n, 4)),
        index=cells,
        columns=["m:distance", "m:deviance_ratio", "n:distance", "n:deviance_ratio"],
    )
    strange["n:neighborhood_shift"] = np.random.default_rng(seed + 1).gamma(5, 1, n) if n >= MIN_CELLS else np.nan
    labels = ["A", "B", "C", "D"]
    positions = np.random.default_rng(seed).normal(size=(n, 3))
    return Evidence(cells, labels, found, strange, positions, np.full(n, f"batch{seed}")), pd.Series(
        np.array(labels)[truth], index=cells
    )


@pytest.fixture(scope="module")
def learned():
    cells, truth = evidence(900, 0, {"m:knn": 2.0, "n:knn": 0.5})
    batches = np.repeat(["a", "b", "c"], 300)
    codes = pd.Index(cells.labels).get_indexer(truth)
    return learn(cells, truth, batches, ["m:knn", "n:knn"], 0.1), HeldOut(cells.sources, codes, batches)


PARENTS = pd.DataFrame({"label_2": ["AB", "AB", "C", "D"]}, index=["A", "B", "C", "D"])


def test_levels_agree_and_sets_back_off_to_the_common_parent(learned):
    cells, _ = evidence(200, 1, {"m:knn": 2.0, "n:knn": 0.5})
    found, shares, unsure = deliver(cells, *learned, PARENTS, novel=0.99)
    assert unsure == {}
    assert (found["label_2"] == found["label"].map(PARENTS["label_2"])).all()
    assert (found["confidence_2"] >= found["confidence"] - 1e-9).all()
    assert shares.sum(axis=1).to_numpy() == pytest.approx(np.ones(200))
    alone = ~found["set"].str.contains(SEPARATOR, regex=False)
    assert (found.loc[alone, "set_label"] == found.loc[alone, "label"]).all()
    assert set(found.loc[found["set"].isin([f"A{SEPARATOR}B", f"B{SEPARATOR}A"]), "set_label"]) <= {"AB"}
    assert common_labels(pd.Series([f"A{SEPARATOR}C", f"B{SEPARATOR}A", "D"]), PARENTS).tolist() == ["", "AB", "D"]


def test_cells_far_from_the_reference_are_novel(learned):
    cells, _ = evidence(200, 2, {"m:knn": 2.0, "n:knn": 0.5})
    cells.novelty_measures.iloc[:20] = 1000.0
    cells.positions[:20] += 100
    found, _, _ = deliver(cells, *learned, PARENTS, novel=0.99)
    assert found["novel"].iloc[:20].all()
    assert found["novel"].iloc[20:].mean() < 0.05
    assert found["label"].notna().all()


def test_strangeness_is_half_a_cells_own_and_half_of_its_nearest():
    positions = np.repeat([[0.0], [50.0]], NEIGHBORS, axis=0) + np.arange(2 * NEIGHBORS)[:, None] / 100
    values = np.concatenate([np.arange(NEIGHBORS), np.zeros(NEIGHBORS)])
    assert smooth(values, positions) == pytest.approx((values + np.repeat([(NEIGHBORS - 1) / 2, 0], NEIGHBORS)) / 2)
    assert smooth(np.array([1.0, 3.0]), np.zeros((2, 1))) == pytest.approx([1.5, 2.5])


def test_a_strange_cell_among_a_few_is_told_by_itself(learned):
    cells, _ = evidence(10, 2, {"m:knn": 2.0, "n:knn": 0.5})
    cells.novelty_measures.iloc[0] = 1000.0
    found, _, _ = deliver(cells, *learned, PARENTS, novel=0.99)
    assert found["novel"].iloc[0]
    assert found["novelty"].nunique() > 5
    one, _, _ = deliver(cells.take(np.arange(10) == 3), *learned, PARENTS, novel=0.99)
    assert one["novelty"].iloc[0] == found["novelty"].iloc[3]


def test_a_source_that_is_suddenly_unsure_is_left_out(learned):
    cells, _ = evidence(300, 3, {"m:knn": 2.0, "n:knn": 0.5})
    cells.sources["n:knn"] = np.random.default_rng(0).dirichlet(np.full(4, 20.0), 300)
    found, _, unsure = deliver(cells, *learned, PARENTS, novel=0.99)
    assert list(unsure) == ["n:knn"]
    alone = cells.sources["m:knn"].argmax(axis=1)
    assert (found["label"].to_numpy() == np.array(cells.labels)[alone]).all()


def test_held_out_cells_survive_their_file(learned, tmp_path):
    learned[1].save(str(tmp_path / "held_out.npz"))
    again = HeldOut.load(str(tmp_path / "held_out.npz"))
    assert again.truth.tolist() == learned[1].truth.tolist()
    assert again.sources["m:knn"] == pytest.approx(learned[1].sources["m:knn"], abs=1e-6)


def test_hierarchy_takes_the_parent_of_most_cells(capsys):
    cells = pd.DataFrame({"label": ["a", "a", "a", "b", None], "label_2": ["X", "X", "Y", "Y", "Y"]})
    parents = hierarchy(cells)
    assert parents["label_2"].to_dict() == {"a": "X", "b": "Y"}
    assert "'a' stands under several" in capsys.readouterr().out
    shares = pd.DataFrame({"a": [0.6], "b": [0.4]})
    assert coarser(shares, pd.Series(["a"]), parents["label_2"]).iloc[0].tolist() == ["X", 0.6]


def test_lisi_equals_scib_metrics():
    import scib_metrics
    from scib_metrics.nearest_neighbors import NeighborsResults

    from refatlas.neighbors.exact_index import nearest_neighbors

    random = np.random.default_rng(0)
    groups = random.integers(0, 3, 400)
    x = random.normal(size=(400, 5)) + groups[:, None]
    neighbors, distances = nearest_neighbors(x, x, 61)
    theirs = scib_metrics.lisi_knn(NeighborsResults(indices=neighbors, distances=distances), groups, perplexity=20)
    assert lisi(distances[:, 1:], groups[neighbors[:, 1:]], 20) == pytest.approx(theirs, abs=1e-3)
