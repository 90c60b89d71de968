"""Markers by a model beside those of the plain test: draws, ranks and agreement worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from refatlas.differential.model_markers import (
    COLUMNS,
    NO_BATCH,
    agreement,
    draw_sides,
    first_markers,
    group_names,
    model_markers,
    plain_markers,
    ranked,
    with_plain,
)
from refatlas.report.model_marker_figure import plot_changes

LABELS = pd.Series(["B"] * 30 + ["T"] * 40 + ["rare"] * 5 + [None] * 5)
GENES = ["g1", "g2", "g3", "g4"]


class StandIn:
    """A model that finds the first gene higher in B, the second in T, and remembers what it compared."""

    def __init__(self, **batches):
        self.batches, self.seen = batches or {"rna": ["a"]}, []

    def rows_of(self, features):
        return np.arange(80) % 2 == 0 if features == "proteins" else np.ones(80, dtype=bool)

    def compare(self, features, rows, rest, seed):
        self.seen.append((features, rows, rest, seed))
        sign = 1 if LABELS[rows[0]] == "B" else -1
        changes = np.array([2.0, -1.0, 0.1, 0.0]) * sign
        found = {
            "log2_fold_change": changes,
            "probability": [0.99, 0.9, 0.9, 0.1],
            "differs": [True, True, False, False],
        }
        return pd.DataFrame({**found, "mean_in": 1.0, "mean_out": 1.0}, index=GENES)


def plain_table() -> pd.DataFrame:
    rows = [
        ("label", "B", "g1", 1.5, 9.0, 0.001),
        ("label", "B", "g2", -1.0, -5.0, 0.01),
        ("label", "B", "g3", 0.5, 1.0, 0.5),
        ("label", "B", "elsewhere", 5.0, 99.0, 0.0),
        ("label", "T", "g1", -1.5, np.nan, np.nan),
        ("0.5", "B", "g1", 7.0, 7.0, 0.0),
    ]
    names = ["grouping", "group", "gene", "batch_log2_fold_change", "batch_score", "fdr"]
    return pd.DataFrame(rows, columns=names).astype({"grouping": "category", "group": "category", "gene": "category"})


def test_sides_are_bounded_and_do_not_depend_on_other_groups():
    names = group_names(LABELS)
    rows, rest = draw_sides(names, "B", 20, seed=0)
    assert len(rows) == len(rest) == 20
    assert (names[rows] == "B").all()
    assert set(names[rest]) <= {"T", "rare"}
    again = draw_sides(np.where(names == "T", "other", names), "B", 20, seed=0)
    assert np.array_equal(again[0], rows)
    assert np.array_equal(again[1], rest)
    assert not np.array_equal(draw_sides(names, "B", 20, seed=1)[0], rows)
    allowed = np.arange(80) % 2 == 0
    assert all((side % 2 == 0).all() for side in draw_sides(names, "B", 20, 0, allowed))


def test_numbers_of_clusters_are_text():
    assert list(group_names(pd.Series([1.0, np.nan, 2.0]))) == ["1", None, "2"]


def test_ranks_are_of_what_is_higher():
    changes = pd.DataFrame(
        {"log2_fold_change": [1.0, 3.0, -2.0, 0.5], "probability": [0.9, 0.9, 1.0, 0.95]}, index=GENES
    )
    assert ranked(changes)["rank"].to_numpy(dtype=object, na_value=None).tolist() == [3, 2, None, 1]


def test_every_group_is_compared_with_the_rest_unless_it_has_few_cells():
    model = StandIn()
    found, sides = model_markers(model, LABELS, pd.Series({"g1": "CD19"}), n_cells=25, seed=0)
    assert list(sides["label"]) == ["B", "T", "rare"]
    assert list(sides["cells"]) == [30, 40, 5]
    assert list(sides["other_cells"]) == [45, 35, 70]
    assert list(sides["drawn"]) == [25, 25, 5]
    assert list(sides["note"]) == ["", "", "fewer than 10 cells on one side"]
    assert [len(rows) for _, rows, _, _ in model.seen] == [25, 25]
    assert set(found["label"]) == {"B", "T"}
    assert list(found.loc[found["label"] == "B", "symbol"]) == ["CD19", "g2", "g3", "g4"]
    assert found.loc[found["label"] == "T", "rank"].to_numpy(dtype=object, na_value=None).tolist() == [
        None,
        1,
        None,
        None,
    ]


def test_proteins_are_compared_among_cells_that_measured_them():
    model = StandIn(rna=["a", "b"], proteins=["a"])
    _, sides = model_markers(model, LABELS, pd.Series(dtype=str), n_cells=100, seed=0)
    own = sides[sides["features"] == "proteins"].set_index("label")
    assert list(own["cells"]) == [15, 20, 3]
    assert all((rows % 2 == 0).all() for features, rows, _, _ in model.seen if features == "proteins")


def test_a_model_without_any_comparison_gives_an_empty_table():
    found, sides = model_markers(StandIn(), LABELS.where(LABELS == "rare"), pd.Series(dtype=str), 10, 0)
    whole = with_plain(found, plain_markers(plain_table(), "label", pd.Index(GENES)))
    assert len(whole) == 0
    assert list(whole.columns) == COLUMNS
    table = agreement(whole, sides, group_names(LABELS), np.full(80, "a"))
    assert table["differ"].isna().all()
    assert plot_changes(whole, table, "scvi").axes[0].get_title() == "no group can be compared"


@pytest.fixture
def compared():
    found, sides = model_markers(StandIn(), LABELS, pd.Series(dtype=str), n_cells=25, seed=0)
    whole = with_plain(found, plain_markers(plain_table(), "label", pd.Index(GENES)))
    batches = np.where(np.arange(80) < 75, "a", "b")
    return whole, agreement(whole, sides, group_names(LABELS), batches).set_index("label")


def test_the_plain_test_is_beside_the_model(compared):
    own = compared[0][compared[0]["label"] == "B"].set_index("gene")
    assert own["plain_rank"].reindex(GENES).to_numpy(dtype=object, na_value=None).tolist() == [1, None, 2, None]
    assert own.loc["g1", ["plain_log2_fold_change", "plain_score", "plain_fdr"]].tolist() == [1.5, 9.0, 0.001]
    assert list(own.index) == ["g1", "g3", "g2", "g4"]
    assert list(first_markers(compared[0])["gene"]) == ["g1", "g3", "g2"]


def test_agreement_is_counted_among_the_genes_of_the_model(compared):
    found = compared[1].loc["B"]
    assert found[["genes", "differ", "markers", "plain_markers", "both", "top"]].tolist() == [4, 2, 1, 1, 1, 2]
    # Both name g1 and g3 first, of four genes.
    assert (found["top_shared"], found["top_by_chance"]) == (1.0, 0.5)
    assert found["spearman"] == pytest.approx(1.0)
    # The plain test has no result for T, because no batch could be compared.
    assert compared[1].loc["T", ["genes", "differ"]].tolist() == [4, 2]
    assert compared[1].loc["T", ["plain_markers", "top", "top_shared", "spearman"]].isna().all()


def test_groups_that_share_no_batch_are_named(compared):
    assert list(compared[1]["batches"]) == [1, 1, 1]
    sides = pd.DataFrame({"label": ["B"], "features": ["rna"], "note": [""]})
    names = group_names(LABELS)
    alone = agreement(compared[0], sides, names, np.where(names == "B", "b", "a"))
    assert alone.loc[0, "batches"] == 0
    assert alone.loc[0, "note"] == NO_BATCH
