"""Novelty: uniform on known types, high for types that were hidden, and blind to shifts of all cells."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control
from sklearn.metrics import roc_auc_score

from refatlas.transfer.novelty import GRID, learn_novelty, novelty, novelty_scores, tail_probability

MEASURES = ["good", "useless"]


def cells(n: int, seed: int, batch: str = "b", missing: bool = False) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    table = pd.DataFrame(random.normal(0, 1, (n, 2)), columns=MEASURES, index=[f"{batch}{i}" for i in range(n)])
    return table.assign(given=random.choice(list("ABCD"), n), batch=batch, **({"useless": np.nan} if missing else {}))


def held_out(seed: int = 0, missing: bool = False) -> pd.DataFrame:
    return pd.concat([cells(500, seed + i, f"h{i}", missing) for i in range(3)])


def hidden(seed: int = 50) -> pd.DataFrame:
    """Return measures for two hidden labels, whose cells differ in one of the measures."""
    parts = []
    for i, name in enumerate("AB"):
        table = cells(300, seed + i, f"h{i}").assign(hidden=name, fold="fold_1", unseen=np.arange(300) < 60)
        table.loc[table["unseen"], "good"] += 3
        parts.append(table)
    return pd.concat(parts)


@pytest.fixture(scope="module")
def learned():
    return json.loads(json.dumps(learn_novelty(held_out(), hidden())))


@pytest.mark.parametrize("scale", ["batch", "label"])
def test_weights_favour_the_measure_that_tells_hidden_labels_apart(learned, scale):
    good, useless = learned["weights"][scale]
    assert good > 3 * useless
    assert useless >= 0
    assert learned["hidden"] == ["A", "B"]
    assert learned["measures"] == MEASURES


def test_without_hidden_labels_all_measures_count_alike():
    for nothing in (pd.DataFrame(), hidden().assign(unseen=True), hidden().assign(unseen=False)):
        found = learn_novelty(held_out(), nothing)
        assert found["hidden"] == []
        assert found["weights"]["batch"] == found["weights"]["label"]
        assert len(set(found["weights"]["batch"])) == 1


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("with_hidden", [False, True])
def test_p_values_are_uniform_on_cells_like_held_out_ones(missing, with_hidden):
    learned = learn_novelty(held_out(missing=missing), hidden() if with_hidden else pd.DataFrame())
    found = novelty(cells(1000, 77, missing=missing), learned)
    for name in ("novelty", "novelty_in_label"):
        assert np.sort(found[name]) == pytest.approx(np.linspace(0, 1, 1000), abs=0.08)
    assert (found["novelty_fdr"] < 0.05).mean() < 0.01


def test_a_shift_of_all_cells_changes_nothing(learned):
    query = cells(600, 7)
    moved = query.assign(**{name: query[name] + 2 for name in MEASURES})
    found, expected = novelty(moved, learned), novelty(query, learned)
    assert found["novelty"].to_numpy() == pytest.approx(expected["novelty"].to_numpy())
    # Labels that vary more feel the shift less, which is not taken off.
    assert found["novelty_in_label"].to_numpy() == pytest.approx(expected["novelty_in_label"].to_numpy(), abs=0.15)
    assert (found["novelty_in_label"] > 0.9).mean() == pytest.approx(0.1, abs=0.03)


def test_cells_of_an_unseen_type_are_novel_on_both_scales(learned):
    query = cells(600, 8)
    unseen = np.arange(600) < 60
    query.loc[unseen, "good"] += 6
    query.loc[unseen, "given"] = "A"
    found = novelty(query, learned)
    for name in ("novelty", "novelty_in_label"):
        assert roc_auc_score(unseen, found[name]) > 0.95
        assert found.loc[unseen, name].median() > 0.98
    assert found.loc[unseen, "novelty_fdr"].median() < 0.1
    p = 1 - found[["novelty", "novelty_in_label"]].min(axis=1)
    assert found["novelty_fdr"].to_numpy() == pytest.approx(false_discovery_control(p))
    assert list(found.index) == list(query.index)


def test_a_label_that_differs_in_this_laboratory_counts_less_on_the_scale_of_the_label(learned):
    query = cells(600, 9)
    away = dict(zip("ABCD", (-4, -1, 1, 4), strict=True))
    differing = query.assign(good=query["good"] + query["given"].map(away))
    without = {**learned, "spread": None}
    ratios = novelty_scores(differing, learned, "label") / novelty_scores(differing, without, "label")
    assert ratios == pytest.approx(np.full(600, ratios[0]))
    assert ratios[0] < 0.7
    # A batch whose labels differ as those of held-out batches stays as it is.
    usual = novelty_scores(query, learned, "label") / novelty_scores(query, without, "label")
    assert usual.min() > 0.8


def test_p_values_by_hand_and_beyond_the_highest_score():
    quantiles = np.linspace(0, 10, len(GRID)).tolist()
    p = tail_probability(np.array([-1.0, 0.0, 5.0, 9.0, 10.0, 11.0, 12.0]), quantiles, 99)
    assert p[:5] == pytest.approx([1.0, 1.0, 0.5, 0.1, 0.01])
    assert p[5:] == pytest.approx([0.01 * np.exp(-1), 0.01 * np.exp(-2)])
    assert (np.diff(p[1:]) < 0).all()
