"""How well a query covers the reference."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from refatlas.report import presence as module
from refatlas.report.presence import COVERED, TOO_FEW, label_presence, query_presence

NAMES = ("a", "b", "rare")


def cells_of(counts, seed, shift=0.0, n_latent=10):
    """Return a latent space of blobs, one per label, and the labels."""
    rng = np.random.default_rng(seed)
    centers = 8 * np.eye(len(NAMES), n_latent)
    codes = np.repeat(np.arange(len(NAMES)), counts)
    latent = centers[codes] + rng.normal(size=(len(codes), n_latent)) + shift
    return latent, np.array(NAMES, dtype=object)[codes]


@pytest.fixture(scope="module")
def reference():
    return cells_of((600, 500, 40), seed=0)


def means(reference, query, **options):
    """Return the mean presence of each label."""
    latent, labels = reference
    return pd.Series(query_presence(latent, query, **options)).groupby(labels).mean()


def test_a_query_like_the_reference_covers_all_its_labels_equally(reference):
    query, given = cells_of((300, 250, 20), seed=1)
    assert means(reference, query).to_numpy() == pytest.approx([0.5] * 3, abs=0.06)
    table = label_presence(reference[1], query_presence(reference[0], query), given)
    assert set(table["state"]) == {"covered"}
    assert (table["covered"] > 0.97).all()


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_label_that_the_query_lacks_is_absent(reference, missing):
    counts = [1200, 1000, 200]
    counts[missing] = 0
    query, given = cells_of(counts, seed=2)
    table = label_presence(reference[1], query_presence(reference[0], query), given).set_index("label")
    assert table.loc[NAMES[missing], "state"] == "absent"
    assert table.loc[NAMES[missing], "presence"] < 0.02
    assert (table.drop(NAMES[missing])["state"] == "covered").all()
    assert table.index[0] == NAMES[missing], "what is least present stands first"


def test_a_batch_effect_on_all_cells_hides_no_label(reference):
    query, _ = cells_of((300, 250, 20), seed=3, shift=1.5)
    assert (means(reference, query) > 0.3).all()
    query, _ = cells_of((300, 0, 20), seed=3, shift=1.5)
    assert means(reference, query)["b"] < 0.03


def test_the_number_of_query_cells_alone_changes_little(reference):
    small, large = cells_of((60, 50, 4), seed=4)[0], cells_of((6000, 5000, 400), seed=5)[0]
    assert means(reference, small).to_numpy() == pytest.approx(means(reference, large).to_numpy(), abs=0.12)


def test_presence_is_the_ratio_of_frequencies(reference):
    # "b" has 500 of 1,140 cells of the reference and 100 of 1,140 of the query: a fifth, and 0.2 / 1.2 is a sixth.
    query, _ = cells_of((1000, 100, 40), seed=6)
    assert means(reference, query)["b"] == pytest.approx(1 / 6, abs=0.02)


def test_weights_undo_a_sample_that_keeps_rare_labels():
    # Of 4,000 cells "a" a tenth is in the background, of 400 "rare" all; the query is like the reference.
    latent, labels = cells_of((400, 0, 400), seed=7)
    query, given = cells_of((1000, 0, 100), seed=8)
    weights = np.where(labels == "a", 10.0, 1.0)
    plain, weighted = means((latent, labels), query), means((latent, labels), query, weights=weights)
    assert plain["rare"] < 0.2
    assert weighted.to_numpy() == pytest.approx([0.5, 0.5], abs=0.04)
    table = label_presence(labels, query_presence(latent, query, weights=weights), given, weights).set_index("label")
    assert table["reference_cells"].to_dict() == {"a": 4000, "rare": 400}
    assert table["expected_cells"].to_dict() == pytest.approx({"a": 1000, "rare": 100})


def test_samples_of_large_sets_give_the_same_answer_and_depend_on_the_seed_alone(reference, monkeypatch):
    query, _ = cells_of((300, 0, 20), seed=9)
    whole = query_presence(reference[0], query)
    monkeypatch.setattr(module, "MAX_CELLS", 200)
    first = query_presence(reference[0], query, seed=3)
    assert len(first) == len(whole)
    assert np.array_equal(first, query_presence(reference[0], query, seed=3, threads=2))
    assert not np.array_equal(first, query_presence(reference[0], query, seed=4))
    assert np.mean((first >= COVERED) == (whole >= COVERED)) > 0.95


def test_equal_and_few_cells():
    same = np.zeros((100, 3))
    found = query_presence(same, same[:10], k=5)
    assert np.isfinite(found).all()
    # Of equal cells the first are the nearest: all point at these.
    assert found == pytest.approx(np.full(100, 0.5), abs=0.01)
    one = query_presence(np.ones((1, 3)), np.ones((4, 3)))
    assert one == pytest.approx([0.5])
    few = query_presence(np.arange(4.0)[:, None], np.arange(4.0)[:, None])
    assert few == pytest.approx(np.full(4, 0.5))


def test_a_query_without_cells_covers_nothing(reference):
    found = query_presence(reference[0], np.empty((0, 10)))
    assert found.shape == (1140,)
    assert not found.any()
    assert set(label_presence(reference[1], found, [])["state"]) == {TOO_FEW}


def test_few_query_cells_make_no_rare_label_absent(reference):
    # One of 28 cells would be of the rare label: none is no surprise.
    query, given = cells_of((15, 13, 0), seed=10)
    table = label_presence(reference[1], query_presence(reference[0], query), given).set_index("label")
    assert table.loc["rare", "expected_cells"] == pytest.approx(28 * 40 / 1140)
    assert table.loc["rare", "state"] == TOO_FEW
    assert table.loc["a", "state"] == "covered"


def test_states_worked_out_by_hand():
    labels = ["x"] * 10 + ["y"] * 10 + ["z"] * 10 + ["w"] * 10 + [None] * 10
    presence = np.r_[
        np.full(5, 0.1), np.zeros(5), np.full(10, 0.5), np.full(2, 0.4), np.zeros(8), np.zeros(10), [1] * 10
    ]
    table = label_presence(labels, presence, ["x"] * 3 + ["z"] * 2 + [None] * 45).set_index("label")
    assert list(table.index) == ["w", "x", "z", "y"], "the least present first"
    assert table["reference_cells"].tolist() == [10, 10, 10, 10]
    assert table["query_cells"].tolist() == [0, 3, 2, 0]
    assert table["expected_cells"].tolist() == [10, 10, 10, 10]
    assert table["presence"].tolist() == pytest.approx([0, 0.05, 0.08, 0.5])
    assert table["covered"].tolist() == pytest.approx([0, 0.5, 0.2, 1])
    # All places of "y" are covered, but no query cell has this label.
    assert table["state"].tolist() == ["absent", "covered", "partly", "partly"]


def test_arrays_that_do_not_belong_together_are_refused(reference):
    with pytest.raises(ValueError, match="same dimensions"):
        query_presence(reference[0], np.zeros((5, 3)))
    with pytest.raises(ValueError, match="one for each of the 1140"):
        query_presence(reference[0], np.zeros((5, 10)), weights=np.ones(3))
    with pytest.raises(ValueError, match="positive"):
        query_presence(reference[0], np.zeros((5, 10)), weights=np.zeros(1140))
    with pytest.raises(ValueError, match="not finite"):
        query_presence(reference[0], np.full((5, 10), np.nan))


def without(latent, labels, *missing):
    """Return the cells of all labels but these, and their labels."""
    kept = ~np.isin(labels, missing)
    return latent[kept], labels[kept]


def components(counts, of):
    """Return 30 principal components of log-normalised counts, learned from the cells `of`."""
    values = np.asarray(counts, dtype=np.float64)
    values = np.log1p(1e4 * values / values.sum(axis=1, keepdims=True))
    values = np.clip((values - values[of].mean(axis=0)) / (values[of].std(axis=0) + 1e-3), -10, 10)
    return values @ np.linalg.eigh(values[of].T @ values[of])[1][:, :-31:-1]


def test_on_real_blood_cells(real):
    cells = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    is_query = cells.obs["batch"].astype(str).isin(["1039", "107"]).to_numpy()
    latent, labels = components(cells.X.toarray(), ~is_query), cells.obs["cell_type"].astype(object).to_numpy()
    # A third of the reference takes a ninth of the time.
    reference, of_reference = latent[~is_query][::3], labels[~is_query][::3]
    query, of_query = latent[is_query], labels[is_query]

    whole = label_presence(of_reference, query_presence(reference, query), of_query)
    assert set(whole["state"]) == {"covered"}
    part, given = without(query, of_query, "B cells")
    found = label_presence(of_reference, query_presence(reference, part), given).set_index("label")
    assert found["state"].to_dict() == dict.fromkeys(found.index, "covered") | {"B cells": "absent"}
    assert found.loc["B cells", "presence"] < 0.05
    part, given = without(query, of_query, *[x for x in set(of_query) if "Monocytes" not in x])
    found = label_presence(of_reference, query_presence(reference, part), given).set_index("label")
    assert set(found.index[found["state"] == "absent"]) == {"B cells", "CD4 T cells", "CD8 T cells", "NK cells"}
    assert set(found.index[found["state"] == "covered"]) == {"CD14+ Monocytes", "FCGR3A+ Monocytes"}


def test_on_pancreas_of_another_technology_and_species(real):
    cells = ad.read_h5ad(real("trvae_latent_pancreas_mapindrop.h5ad"))
    is_query = (cells.obs["batch"].astype(str) == "1").to_numpy()
    latent, labels = np.asarray(cells.X), cells.obs["cell_type"].astype(object).to_numpy()
    reference, of_reference = latent[~is_query], labels[~is_query]
    query, of_query = latent[is_query], labels[is_query]

    whole = label_presence(of_reference, query_presence(reference, query), of_query)
    assert set(whole["state"]) == {"covered"}
    part, given = without(query, of_query, "ductal")
    found = label_presence(of_reference, query_presence(reference, part), given).set_index("label")
    assert list(found.index[found["state"] == "absent"]) == ["ductal"]
