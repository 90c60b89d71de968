"""Regions of a tissue: their geometry by hand, methods on tissues whose truth is known, and what cannot be placed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.errors import InputError
from refatlas.prepare.normalization import log_normalized
from refatlas.spatial.features import fit_features, mean_and_sd, morans_i, neighbor_matrix
from refatlas.spatial.grids import grid_names
from refatlas.spatial.held_out import (
    SCORE_COLUMNS,
    choose,
    cross_calibrated,
    folds_of,
    held_out_table,
    hold_out,
    identifiability,
    placing_threshold,
    score_table,
    standard_error,
    units_of,
)
from refatlas.spatial.methods import METHODS, Training
from refatlas.spatial.placing import (
    HARDLY,
    NO_COUNTS,
    NOT,
    UNCERTAIN,
    UNLIKE,
    Placer,
    cell_table,
    divergence,
    entropy,
    place,
    probability_table,
    summary,
    type_distances,
    type_regions,
    types_of_cells,
)
from refatlas.spatial.regions import Partition, blocks, expected_place, partitions
from simulated_tissue import NAMES, query_of, simulated_cells_of, simulated_tissue

SETTINGS = {
    "grids": [2],
    "methods": ["logistic_regression", "knn"],
    "n_genes": 60,
    "epochs": 5,
    "folds": 5,
    "held_out": "blocks",
    "quantile": 0.05,
}
ALL = np.ones(len(NAMES), dtype=bool)
SQUARE = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
ONE_SECTION = np.full(4, "")


def learned(spots, **changes):
    """Return partitions, what held-out spots were given, choices and a placer."""
    settings = SETTINGS | changes
    parts = partitions(spots, settings["grids"])
    held = hold_out(spots, parts, settings, seed=0)
    choices = [choose(part, held, spots, settings) for part in parts]
    return parts, held, choices, Placer.fit(spots, parts, choices, held, settings, seed=0)


@pytest.fixture(scope="module")
def layered():
    """A tissue of four layers, and all that was learned of it."""
    spots = simulated_tissue()
    return spots, *learned(spots, grids=[])


def test_regions_of_a_grid_have_as_many_spots_each():
    assert list(grid_names(SQUARE, ONE_SECTION, 2)) == ["x1y1", "x1y2", "x2y1", "x2y2"]
    xy = np.random.default_rng(0).gamma(1, 1, (900, 2))
    names, sizes = np.unique(grid_names(xy, np.full(900, ""), 3).astype(str), return_counts=True)
    assert len(names) == 9
    assert sizes.min() == sizes.max() == 100


def test_each_section_has_regions_of_its_own():
    sections = np.array(["a", "a", "b", "b"])
    names = grid_names(np.array([[0.0, 0], [1, 0], [50, 0], [90, 0]]), sections, 2)
    assert list(names) == ["a:x1y1", "a:x2y1", "b:x1y1", "b:x2y1"]


def test_expected_coordinates_and_their_spread_by_hand():
    part = Partition("p", ["l", "r"], np.zeros(0), np.array([[0.0, 0], [10, 0]]), np.array([3.0, 3.0]), ["", ""])
    xy, spread, sections = expected_place(np.array([[1.0, 0.0], [0.5, 0.5]]), part)
    assert xy.tolist() == [[0, 0], [5, 0]]
    # Within a region 3; of the two centres, which are 5 away, the root of 25 + 9.
    assert spread == pytest.approx([3, np.sqrt(34)])
    assert list(sections) == ["", ""]


def test_coordinates_are_those_of_the_most_probable_section():
    centers = np.array([[0.0, 0], [10, 0], [70, 0]])
    part = Partition("p", ["a:1", "a:2", "b:1"], np.zeros(0), centers, np.zeros(3), ["a", "a", "b"])
    xy, _, sections = expected_place(np.array([[0.3, 0.3, 0.4], [0.1, 0.1, 0.8]]), part)
    assert xy.tolist() == [[5, 0], [70, 0]]
    assert list(sections) == ["a", "b"]
    over = Partition("p", ["a", "b"], np.zeros(0), centers[:2], np.zeros(2), [None, None])
    assert np.isnan(expected_place(np.array([[0.5, 0.5]]), over)[0]).all()


def test_morans_i_is_one_for_a_gene_of_one_half_and_near_zero_for_a_random_one():
    spots = simulated_tissue(side=14)
    half = (spots.xy[:, 1] < 7).astype(float)
    values = np.column_stack([half, np.random.default_rng(0).permutation(half), np.ones(len(half))])
    found = morans_i(sparse.csr_matrix(values), spots.xy, spots.sections)
    assert found[0] > 0.8
    assert abs(found[1]) < 0.1
    assert found[2] == -np.inf
    weights = neighbor_matrix(spots.xy, spots.sections)
    assert np.asarray(weights.sum(axis=1)).ravel() == pytest.approx(1)
    assert weights.diagonal().sum() == 0


def test_spots_on_one_place_are_neighbors_of_each_other_and_never_of_themselves():
    xy = np.zeros((9, 2))
    weights = neighbor_matrix(xy, np.full(9, ""))
    assert weights.diagonal().sum() == 0
    assert np.asarray(weights.sum(axis=1)).ravel() == pytest.approx(1)


def test_genes_that_vary_over_the_tissue_are_taken():
    features = fit_features(simulated_tissue(), 32)
    assert set(features.genes) == set(range(32))
    mean, sd = mean_and_sd(sparse.csr_matrix([[1.0, 0.0], [3.0, 0.0]]))
    assert mean.tolist() == [2, 0]
    assert sd.tolist() == [1, 1]


def test_whole_blocks_of_neighbors_are_held_out():
    spots = simulated_tissue()
    units = units_of(spots, "blocks")
    assert np.array_equal(units, blocks(spots.xy, spots.sections))
    folds = folds_of(units, 5, seed=3)
    assert set(folds) == set(range(5))
    assert pd.Series(folds).groupby(units).nunique().max() == 1
    largest = np.ptp(pd.DataFrame(spots.xy).groupby(units).agg(np.ptp).to_numpy(), axis=0)
    assert (largest < 20 / 3).all()
    assert len(np.unique(units_of(spots, "spots"))) == len(spots.xy)


def test_the_standard_error_is_that_of_blocks():
    # Two blocks whose spots agree: the mean of two values, 0 and 1, whatever the number of spots.
    values, units = np.repeat([0.0, 1.0], 50), np.repeat([0, 1], 50)
    assert standard_error(values, units) == pytest.approx(0.5)
    assert standard_error(values, np.arange(100)) == pytest.approx(values.std(ddof=1) / 10)


@pytest.mark.parametrize(
    ("accuracy", "error", "expected"),
    [(0.9, 0.02, "yes"), (0.33, 0.02, "hardly"), (0.28, 0.02, "no"), (0.2, 0.1, "no")],
)
def test_location_is_identifiable_hardly_or_not(accuracy, error, expected):
    assert identifiability(accuracy, error, chance=0.25) == expected


def test_the_threshold_is_a_quantile_of_spots_that_were_placed_rightly():
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.45, 0.55]])
    assert placing_threshold(p, np.array([0, 0, 1, 0]), 0.5) == pytest.approx(0.8)
    assert placing_threshold(p[:1], np.array([1]), 0.05) == 1.0


def test_a_spot_is_calibrated_without_its_own_fold():
    p = np.tile([[0.9, 0.1]], (60, 1))
    folds = np.repeat([0, 1], 30)
    truth = np.concatenate([np.zeros(30, dtype=int), np.tile([0, 1], 15)])
    found = cross_calibrated(p, truth, folds)
    # The first fold learns from the second, in which half are wrong; the second from the first, in which all are right.
    assert found[:30, 0].max() < 0.6
    assert found[30:, 0].min() > 0.9


def test_layers_are_told_and_query_cells_of_known_layers_are_placed(layered):
    _, parts, _, choices, placer = layered
    scores = score_table(choices)
    assert list(scores.columns) == list(SCORE_COLUMNS)
    assert [part.name for part in parts] == ["regions"]
    chosen = scores[scores["chosen"]].iloc[0]
    assert chosen["accuracy"] >= 0.9
    assert chosen["identifiable"] == "yes"
    assert chosen["log_loss"] == scores["log_loss"].min()
    # In the middle of the tissue, a spot is 3.75 layers' half-widths away; by its layer, less along y.
    assert chosen["distance"] < chosen["distance_chance"]
    counts, truth = simulated_cells_of()
    found = place(placer, query_of(counts, NAMES, ALL), 0.75, "query 'q'")
    table = cell_table(placer, found, pd.Index([f"c{i}" for i in range(len(truth))]))
    right = table["region"].to_numpy() == truth
    assert right.mean() >= 0.9
    placed = (table["status"] == "placed").to_numpy()
    assert placed.mean() > 0.8
    assert right[placed].mean() >= right.mean()
    assert found.probabilities[0].sum(axis=1) == pytest.approx(np.ones(len(truth)), abs=1e-5)


def test_grids_are_told_where_genes_differ_both_ways_and_not_where_nothing_differs():
    spots = simulated_tissue(layers=2, bands=2)
    _, _, choices, _ = learned(spots)
    by_grid = score_table(choices).query("chosen").set_index("partition")
    assert by_grid.loc["grid2", "accuracy"] >= 0.9
    plain = simulated_tissue(strength=1.0)
    _, _, choices, placer = learned(plain)
    assert {choice.identifiable for choice in choices} <= {"no", "hardly"}
    counts, _ = simulated_cells_of(n=50)
    table = cell_table(placer, place(placer, query_of(counts, NAMES, ALL), 0.75, "q"), pd.RangeIndex(50))
    assert set(table["status"]) == {"cannot be placed"}
    assert set(table["reason"]) <= {NOT, HARDLY}


def test_cells_that_cannot_be_placed_say_why(layered):
    placer = layered[-1]
    counts, _ = simulated_cells_of()
    odd = counts.toarray()[:3]
    odd[0] = 0
    odd[1] = np.random.default_rng(0).permutation(odd[1] * 3)
    odd[2] = counts.mean(axis=0)
    mixed = sparse.vstack([sparse.csr_matrix(np.rint(odd)), counts], format="csr").astype(np.float32)
    found = place(placer, query_of(mixed, NAMES, ALL), 0.75, "q")
    table = cell_table(placer, found, pd.RangeIndex(mixed.shape[0]))
    assert list(table["reason"][:2]) == [NO_COUNTS, UNLIKE]
    assert table["reason"][2] == UNCERTAIN
    assert table["entropy"][2] > table["entropy"][10:].mean()
    counted = summary(placer, found, table)["partitions"]["regions"]
    assert counted["placed"] + sum(counted["reasons"].values()) == mixed.shape[0]


def test_genes_that_a_query_lacks_are_left_at_the_mean_or_refused(layered):
    placer = layered[-1]
    counts, truth = simulated_cells_of()
    measured = ALL.copy()
    measured[::8] = False
    found = place(placer, query_of(counts, NAMES, measured), 0.75, "query 'q'")
    assert found.n_missing == np.isin(np.arange(0, 80, 8), placer.features.genes).sum()
    regions = np.array(placer.parts[0].regions)[found.probabilities[0].argmax(axis=1)]
    assert (regions == truth).mean() > 0.85
    with pytest.raises(InputError, match=r"query 'q': \d+ of the 60 genes .* need 99%; missing are G0"):
        place(placer, query_of(counts, NAMES, measured), 0.99, "query 'q'")
    with pytest.raises(InputError, match="delete results/spatial and run again"):
        place(placer, query_of(counts[:, :40], NAMES[:40], ALL[:40]), 0.75, "q")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_section_of_few_spots_has_blocks(n):
    xy = np.vstack([np.random.default_rng(0).random((200, 2)), np.arange(2.0 * n).reshape(n, 2)])
    found = blocks(xy, np.array(["a"] * 200 + ["b"] * n))
    assert not set(found[:200]) & set(found[200:])


def test_cells_of_bad_quality_do_not_change_where_good_ones_lie(layered):
    placer = layered[-1]
    counts, _ = simulated_cells_of()
    before = place(placer, query_of(counts), 0.75, "q")
    poor = sparse.csr_matrix((np.random.default_rng(0).random((200, counts.shape[1])) < 0.02).astype(np.float32))
    good = np.arange(len(before.empty) + 200) < len(before.empty)
    after = place(placer, query_of(sparse.vstack([counts, poor], format="csr"), good=good), 0.75, "q")
    assert np.allclose(after.probabilities[0][good], before.probabilities[0], atol=1e-5)


def test_a_query_of_too_few_cells_is_placed_by_the_scale_of_the_spots_alone(layered):
    placer = layered[-1]
    counts, _ = simulated_cells_of(n=5)
    tables = {
        way: cell_table(placer, place(placer, query_of(counts, standardize=way), 0.75, "q"), pd.RangeIndex(5))
        for way in ("each", "spots")
    }
    assert set(tables["each"]["reason"]) == {"too few cells to standardise"}
    assert "too few cells to standardise" not in set(tables["spots"]["reason"])


def test_a_query_of_one_layer_alone_is_placed_by_the_scale_of_the_spots_and_not_by_its_own(layered):
    placer = layered[-1]
    counts, truth = simulated_cells_of(n=400)
    one = truth == "layer0"
    accuracy = {}
    for way in ("each", "spots"):
        found = place(placer, query_of(counts[one], NAMES, ALL, standardize=way), 0.75, "q")
        regions = np.array(placer.parts[0].regions)[found.probabilities[0].argmax(axis=1)]
        accuracy[way] = (regions == "layer0").mean()
    assert accuracy["spots"] > 0.9
    assert accuracy["each"] < 0.6


@pytest.mark.parametrize("method", ["logistic_regression", "knn"])
def test_the_saved_state_places_cells_the_same(layered, method, tmp_path):
    spots, _, _, _, _ = layered
    _, _, _, placer = learned(spots, methods=[method], grids=[2])
    counts, _ = simulated_cells_of(n=40)
    before = place(placer, query_of(counts, NAMES, ALL), 0.75, "q")
    placer.save(tmp_path / "regions.npz")
    loaded = Placer.load(tmp_path / "regions.npz")
    after = place(loaded, query_of(counts, NAMES, ALL), 0.75, "q")
    for a, b in zip(before.probabilities, after.probabilities, strict=True):
        assert np.array_equal(a, b)
    cells = pd.RangeIndex(40)
    assert cell_table(placer, before, cells).equals(cell_table(loaded, after, cells))
    assert np.array_equal(before.distances, place(loaded, query_of(counts, NAMES, ALL), 0.75, "q", threads=3).distances)


def test_spots_without_a_region_train_and_score_nothing():
    spots = simulated_tissue()
    spots.regions[::3] = None
    parts, held, choices, placer = learned(spots, grids=[])
    assert (parts[0].codes[::3] == -1).all()
    table = held_out_table(parts, choices, spots, held)
    assert len(table) == (parts[0].codes >= 0).sum() == choices[0].scores[0]["n_spots"]
    assert set(table["fold"]) == {1, 2, 3, 4, 5}
    assert np.isfinite(placer.parts[0].centers).all()


def test_a_region_that_a_fold_never_saw_has_no_chance_there():
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    codes = np.repeat([0, 2], 20)
    for name in ("logistic_regression", "knn"):
        fit, apply = METHODS[name]
        p = apply(fit(Training(x, 0, 1), codes, 3), x)
        assert p.shape == (40, 3)
        assert (p[:, 1] == 0).all()
        assert p.sum(axis=1) == pytest.approx(1)


def test_types_are_located_and_their_distances_are_by_hand(layered):
    placer = layered[-1]
    counts, truth = simulated_cells_of()
    found = place(placer, query_of(counts, NAMES, ALL), 0.75, "q")
    table = cell_table(placer, found, pd.RangeIndex(len(truth)))
    good = np.ones(len(truth), dtype=bool)
    labels = truth.copy()
    labels[0] = None
    types = type_regions(placer, found, labels, table, good)
    shares = types.pivot(index="label", columns="region", values="share")
    assert (np.diag(shares) > 0.6).all()
    assert types.groupby("label")["share"].sum().to_numpy() == pytest.approx(1, abs=1e-4)
    assert types.drop_duplicates("label")["cells"].sum() == len(truth) - 1
    pairs = type_distances(placer, found, labels, good).set_index(["label_1", "label_2"])
    assert len(pairs) == 10
    near, far = pairs["distance"]["layer0", "layer1"], pairs["distance"]["layer0", "layer3"]
    assert near == pytest.approx(5, abs=2.5)
    assert far == pytest.approx(15, abs=4)
    assert pairs["divergence"]["layer0", "layer0"] == 0
    assert divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1)
    probabilities = probability_table(placer, found, pd.Index(list("ab")).repeat(150))
    assert list(probabilities.columns) == [f"regions|layer{i}" for i in range(4)]


def test_cells_of_low_quality_and_without_type_do_not_count(layered):
    placer = layered[-1]
    counts, truth = simulated_cells_of(n=20)
    found = place(placer, query_of(counts, NAMES, ALL), 0.75, "q")
    table = cell_table(placer, found, pd.RangeIndex(20))
    none = type_regions(placer, found, truth, table, np.zeros(20, dtype=bool))
    assert len(none) == 0
    assert "share" in none
    cells = pd.DataFrame({"keep": True}, index=list(map(str, range(20))))
    assert set(types_of_cells(cells, None)) == {"all cells"}


def test_labels_are_matched_by_the_names_of_cells(tmp_path):
    delivered = pd.DataFrame({"label": ["B", None, "T"]}, index=["c2", "c1", "c0"])
    delivered.to_parquet(tmp_path / "delivered.parquet")
    cells = pd.DataFrame({"keep": True}, index=["c0", "c1", "c2"])
    assert list(types_of_cells(cells, str(tmp_path / "delivered.parquet"))) == ["T", None, "B"]


def test_entropy_is_a_share_of_that_of_equal_probabilities():
    assert entropy(np.array([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])) == pytest.approx([1, 0, 0.5])


def test_held_out_accuracy_is_that_of_the_table(layered):
    spots, parts, held, choices, _ = layered
    table = held_out_table(parts, choices, spots, held)
    assert (table["region"] == table["given"]).mean() == pytest.approx(choices[0].scores[0]["accuracy"], abs=0.05)
    assert table["spot"].is_unique
    assert log_normalized(spots.counts).shape[0] == len(table)


def two_sections():
    """Two sections of the same layered tissue, side by side in the file's coordinates."""
    first, second = simulated_tissue(side=15), simulated_tissue(side=15, seed=5)
    return replace(
        first,
        counts=sparse.vstack([first.counts, second.counts], format="csr"),
        names=pd.Index([f"spot{i}" for i in range(450)]),
        xy=np.vstack([first.xy, second.xy + [100, 0]]),
        sections=np.repeat(["a", "b"], 225),
        regions=np.concatenate([first.regions, second.regions]),
    )


def test_whole_sections_are_held_out_of_regions_that_all_have():
    spots = two_sections()
    _, held, choices, placer = learned(spots, grids=[], held_out="sections")
    assert pd.Series(held.folds).groupby(spots.sections).nunique().max() == 1
    best = score_table(choices).query("chosen").iloc[0]
    assert best["accuracy"] >= 0.9
    # Layers reach over both sections, which have no common coordinates.
    assert pd.isna(best["distance"])
    counts, truth = simulated_cells_of(n=60)
    found = place(placer, query_of(counts, NAMES, ALL), 0.75, "q")
    assert cell_table(placer, found, pd.RangeIndex(60))["x"].isna().all()
    assert type_distances(placer, found, truth, np.ones(60, dtype=bool))["distance"].isna().all()


def test_grids_of_several_sections_have_regions_of_each():
    spots = two_sections()
    parts, _, choices, _ = learned(spots)
    grid = parts[0]
    assert sorted(set(grid.sections)) == ["a", "b"]
    assert len(grid.regions) == 8
    assert parts[1].name == "regions"
    # The sections are the same tissue, so that they cannot be told apart: at most half of the spots are placed rightly.
    assert choices[0].scores[0]["accuracy"] < 0.6
