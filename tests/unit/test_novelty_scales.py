"""Scales of the novelty measures: a shift of a whole batch does not count, one of a few cells does."""

import numpy as np
import pandas as pd
import pytest

from refatlas.transfer.novelty_scales import (
    CENTER,
    HIGHEST,
    LOWER,
    LOWEST,
    PRIOR_CELLS,
    batch_spreads,
    learn_label_scale,
    on_batch_scale,
    on_label_scale,
)

NAMES = ["x", "y"]


def cells(n: int = 200, batch: str = "b", n_labels: int = 4, seed: int = 0) -> pd.DataFrame:
    """Return two measures of cells of some labels."""
    random = np.random.default_rng(seed)
    values = pd.DataFrame(random.normal(0, 1, (n, 2)), columns=NAMES)
    return values.assign(given=[f"l{i % n_labels}" for i in range(n)], batch=batch)


def test_a_batch_is_compared_with_its_usual_cells_by_hand():
    table = cells(101, n_labels=4).assign(x=np.arange(101.0), y=np.nan)
    found = on_batch_scale(table, NAMES)
    center, unit = 100 * CENTER, 100 * (CENTER - LOWER)
    assert found[:, 0] == pytest.approx(np.clip((np.arange(101) - center) / unit, LOWEST, HIGHEST))
    assert not found[:, 1].any()


def test_a_shift_and_another_scale_of_a_whole_batch_do_not_count():
    table = pd.concat([cells(), cells(batch="other", seed=1)], ignore_index=True)
    moved = table.copy()
    moved.loc[table["batch"] == "other", NAMES] = 3 * table.loc[table["batch"] == "other", NAMES] + 7
    assert on_batch_scale(moved, NAMES) == pytest.approx(on_batch_scale(table, NAMES))
    assert on_batch_scale(table[table["batch"] == "b"], NAMES) == pytest.approx(on_batch_scale(table, NAMES)[:200])


def test_a_third_of_novel_cells_stands_out():
    table = cells(300, n_labels=5)
    table.loc[table.index % 3 == 0, "x"] += 20
    found = on_batch_scale(table, NAMES)[:, 0]
    assert found[table.index % 3 == 0].min() > 5
    assert np.median(found[table.index % 3 > 0]) == pytest.approx(0, abs=0.5)


def test_scales_of_labels_by_hand():
    table = pd.DataFrame({"x": [0.0, 1.0, 2.0, 10.0, 11.0, 12.0], "given": list("aaabbb"), "batch": "b"})
    found = learn_label_scale(table, ["x"])
    share = 3 / (3 + PRIOR_CELLS)
    assert found["centers"][""] == [6.0]
    assert found["centers"]["a"] == pytest.approx([share * 1 + (1 - share) * 6])
    # Median absolute deviations are 1 in each label and 5 (of 4, 5, 6) in all.
    assert found["spreads"][""] == pytest.approx([5 * 1.4826])
    assert found["spreads"]["b"] == pytest.approx([(share * 1 + (1 - share) * 5) * 1.4826])


def test_labels_that_differ_by_nature_are_compared_with_themselves():
    known = cells(2000)
    known["x"] += 3 * (known["given"] == "l0")
    scale = learn_label_scale(known, NAMES)
    found = on_label_scale(known, NAMES, scale)[:, 0]
    medians = pd.Series(found).groupby(known["given"]).median()
    assert medians.to_numpy() == pytest.approx(np.zeros(4), abs=0.2)
    unknown = on_label_scale(known.assign(given="never seen"), NAMES, scale)
    assert np.isfinite(unknown).all()


def test_what_the_labels_of_a_batch_share_is_taken_off():
    known = cells(2000)
    scale = learn_label_scale(known, NAMES)
    # Labels that vary alike, so that the shift is the same on the scale of each.
    scale["spreads"] = {label: [1.0, 1.0] for label in scale["spreads"]}
    query = cells(400, seed=1)
    moved = query.assign(x=query["x"] + 4)
    assert on_label_scale(moved, NAMES, scale) == pytest.approx(on_label_scale(query, NAMES, scale), abs=1e-9)
    one = query.assign(x=query["x"] + 4 * (query["given"] == "l0"))
    found = pd.Series(on_label_scale(one, NAMES, scale)[:, 0]).groupby(query["given"]).median()
    assert found["l0"] > 3
    assert found.drop("l0").abs().max() < 0.5


def test_a_shift_of_cells_of_one_label_does_not_count():
    scale = learn_label_scale(cells(2000), NAMES)
    query = cells(400, seed=1)
    one = query[query["given"] == "l0"]
    moved = on_label_scale(one.assign(x=one["x"] + 9), NAMES, scale)
    assert np.median(moved[:, 0]) == pytest.approx(0, abs=1e-9)
    assert moved == pytest.approx(on_label_scale(one, NAMES, scale), abs=1e-9)


def test_a_measure_that_is_missing_says_nothing():
    known, query = cells(500), cells(40, seed=1).assign(y=np.nan)
    assert not on_label_scale(query, NAMES, learn_label_scale(known, NAMES))[:, 1].any()
    scale = learn_label_scale(known.assign(y=np.nan), NAMES)
    assert np.isfinite(on_label_scale(cells(40, seed=1), NAMES, scale)).all()


def test_the_spread_of_a_batch_is_that_between_and_within_labels_by_hand():
    table = pd.DataFrame({"given": np.repeat(list("abc"), 11), "batch": "b"})
    scores = np.concatenate([np.linspace(-1, 1, 11), 3 + np.linspace(-1, 1, 11), 7 + np.linspace(-1, 1, 11)])
    (_, spread), *_ = batch_spreads(table, scores)
    # Medians 0, 3 and 7 deviate from theirs by 3, 0 and 4; cells from that of their label by 0.6.
    assert spread == pytest.approx(np.hypot(3, 0.6))
    (mask, none), *_ = batch_spreads(table[:22], scores[:22])
    assert mask.all()
    assert none is None
