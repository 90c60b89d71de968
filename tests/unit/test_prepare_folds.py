"""Which cells a fold holds out, and which label it hides."""

import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.prepare.folds import few_training_cells, plan_fold, require_training_proteins


def cells(sizes: dict[str, int]) -> pd.DataFrame:
    """Return kept cells of batches named dataset:batch, half of each labelled A, the others B."""
    rows = [{"batch": batch, "label": "AB"[i % 2]} for batch, n in sizes.items() for i in range(n)]
    table = pd.DataFrame(rows)
    table.index = [f"{batch.split(':')[0]}:c{i}" for i, batch in enumerate(table["batch"])]
    return table


SIX = cells({f"d:{i}": n for i, n in enumerate((60, 50, 40, 30, 20, 10))})


def test_one_fold_holds_out_about_a_third_in_whole_batches():
    roles, words = plan_fold(SIX, {"fold": 0, "n_folds": 1}, "auto", 0)
    held = set(SIX.loc[roles == "held_out", "batch"])
    assert sorted(held) == words["held_out"] == ["d:0", "d:5"]
    assert not held & set(SIX.loc[roles == "train", "batch"])


def test_more_folds_keep_the_first_ones():
    held = [plan_fold(SIX, {"fold": i, "n_folds": 3}, "auto", 0)[1]["held_out"] for i in range(3)]
    assert held[0] == plan_fold(SIX, {"fold": 0, "n_folds": 1}, "auto", 0)[1]["held_out"]
    assert sorted(batch for batches in held for batch in batches) == sorted(SIX["batch"].unique())


def test_as_many_folds_as_batches_leave_each_out_once():
    held = [plan_fold(SIX, {"fold": i, "n_folds": 6}, "auto", 0)[1]["held_out"] for i in range(6)]
    assert sorted(held) == [[f"d:{i}"] for i in range(6)]
    with pytest.raises(InputError, match=r"7 folds requested, but only 6 units.*set folds to at most 6"):
        plan_fold(SIX, {"fold": 0, "n_folds": 7}, "auto", 0)


def test_three_datasets_are_held_out_as_wholes():
    table = cells({f"{d}:{b}": 20 for d in "xyz" for b in (1, 2)})
    assert plan_fold(table, {"fold": 0, "n_folds": 1}, "auto", 0)[1]["held_out"] in (["x"], ["y"], ["z"])
    assert len(plan_fold(table, {"fold": 0, "n_folds": 1}, "batch", 0)[1]["held_out"]) == 2


def test_a_dataset_with_most_of_the_cells_is_held_out_by_its_batches():
    table = cells({"x:1": 60, "x:2": 60, "x:3": 60, "y:1": 20, "y:2": 20, "z:1": 40})
    plans = automatic(table)
    assert [sorted(words["held_out"]) for _, words in plans] == [["x:3"], ["x:1", "y"], ["x:2", "z"]]
    assert all((roles == "train").mean() > 0.5 for roles, _ in plans)
    assert not any(few_training_cells(words) for _, words in plans)
    assert [words["held_out"] for _, words in automatic(table, "dataset")] == [["y"], ["z"], ["x"]]


@pytest.mark.parametrize("sizes", [{"x:1": 20, "x:2": 20, "y:1": 20, "z:1": 20}, {"x:1": 90, "y:1": 20, "z:1": 20}])
def test_datasets_are_not_divided_if_none_has_most_of_the_cells_or_it_is_one_batch(sizes):
    held = {unit for _, words in automatic(cells(sizes)) for unit in words["held_out"]}
    assert held == {"x", "y", "z"}


def test_cells_without_labels_do_not_make_a_dataset_too_large():
    table = cells({"x:1": 60, "x:2": 60, "y:1": 20, "z:1": 20})
    table.loc[table["batch"] == "x:1", "label"] = None
    table.loc[table.index[60:90], "label"] = None
    assert {unit for _, words in automatic(table) for unit in words["held_out"]} == {"x", "y", "z"}


def test_a_fold_that_trains_on_fewer_cells_than_it_holds_out_says_so():
    warnings = [few_training_cells(words) for _, words in automatic(cells({"x:1": 90, "y:1": 20, "z:1": 20}))]
    assert warnings[:2] == ["", ""]
    assert "trains on 40 cells and holds out 90, with x;" in warnings[2]


def test_named_batches_with_and_without_their_dataset():
    for name in ("d:3", "3"):
        assert plan_fold(SIX, {"batches": [name]}, "auto", 0)[1]["held_out"] == ["d:3"]
    with pytest.raises(InputError, match="'9' is not a batch of the reference"):
        plan_fold(SIX, {"batches": ["9"]}, "auto", 0)
    with pytest.raises(InputError, match="'1' is in several datasets"):
        plan_fold(cells({"x:1": 9, "y:1": 9}), {"batches": ["1"]}, "auto", 0)
    with pytest.raises(InputError, match="all batches of the reference"):
        plan_fold(SIX, {"batches": [str(i) for i in range(6)]}, "auto", 0)


def test_a_hidden_label_leaves_training_and_stays_among_the_held_out():
    table = pd.concat([SIX.assign(label=SIX["label"].where(np.arange(len(SIX)) % 3 > 0, "C"))])
    roles, words = plan_fold(table, {"fold": 0, "n_folds": 1, "hide": "C"}, "auto", 0)
    assert words["hidden"] == "C"
    assert "C" not in set(table.loc[roles == "train", "label"])
    assert "C" in set(table.loc[roles == "held_out", "label"])
    assert plan_fold(table, {"fold": 0, "n_folds": 1, "hide": 0}, "auto", 0)[1]["hidden"] in "ABC"
    with pytest.raises(InputError, match="'Z' is not a label of the reference; it has A, B, C"):
        plan_fold(table, {"fold": 0, "n_folds": 1, "hide": "Z"}, "auto", 0)
    with pytest.raises(InputError, match="set hide to at most 3"):
        plan_fold(table, {"fold": 0, "n_folds": 1, "hide": 5}, "auto", 0)


def test_a_single_batch_is_split_by_cells_and_says_so():
    table = cells({"d:1": 90})
    roles, words = plan_fold(table, {"fold": 0, "n_folds": 1}, "auto", 0)
    assert words["simulated"]
    assert (roles == "held_out").sum() == 30


def automatic(table: pd.DataFrame, unit: str = "auto") -> list[tuple[pd.Series, dict]]:
    return [plan_fold(table, {"fold": i, "n_folds": 3, "automatic": True}, unit, 0) for i in range(3)]


def test_automatic_folds_without_a_batch_hold_out_simulated_ones():
    table = cells({"d:1": 90, "d:2": 60})
    (first, words_1), (second, words_2), (third, words_3) = automatic(table)
    assert [words["held_out"] for words in (words_1, words_2)] == [["d:2"], ["d:1"]]
    assert [words["simulated"] for words in (words_1, words_2, words_3)] == [False, False, True]
    assert set(table.loc[first == "held_out", "batch"]) == {"d:2"}
    assert set(table.loc[second == "held_out", "batch"]) == {"d:1"}
    assert (third == "held_out").sum() == 50
    assert set(table.loc[third == "held_out", "batch"]) == {"d:1", "d:2"}
    with pytest.raises(InputError, match="3 folds requested, but only 2 units"):
        plan_fold(table, {"fold": 0, "n_folds": 3}, "auto", 0)


def test_automatic_folds_of_a_single_batch_hold_out_each_third_once():
    table = cells({"d:1": 90})
    held = [roles == "held_out" for roles, words in automatic(table) if words["simulated"]]
    assert len(held) == 3
    assert (np.sum(held, axis=0) == 1).all()


def test_automatic_folds_of_three_batches_are_three_folds():
    for table in (SIX, cells({"d:1": 30, "d:2": 30, "d:3": 30})):
        for i, (roles, words) in enumerate(automatic(table)):
            expected, expected_words = plan_fold(table, {"fold": i, "n_folds": 3}, "auto", 0)
            assert words == expected_words
            assert (roles == expected).all()


def test_a_fold_that_leaves_no_proteins_is_refused():
    cells = pd.DataFrame(
        {"batch": ["rna:a", "cite:a", "cite:b"], "has_proteins": [None, False, True]},
        index=["rna:1", "cite:1", "cite:2"],
    )
    require_training_proteins(cells, pd.Series(["train", "held_out", "train"], index=cells.index), ["cite:a"])
    with pytest.raises(InputError, match=r"without cite:b the reference has no proteins \(they are in cite:b\)"):
        require_training_proteins(cells, pd.Series(["train", "train", "held_out"], index=cells.index), ["cite:b"])
