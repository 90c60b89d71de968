"""What folds hold out and hide, how a single batch is split, and how cells of a fold are kept from
training.
"""

import numpy as np
import pandas as pd
import pytest
from conftest import small_counts

from refatlas.config.folds import calibrating, folds, shortened
from refatlas.config.settings import complete_config, delivered_source
from refatlas.errors import InputError
from refatlas.io.cell_tables import training_cells
from refatlas.prepare import folds as planning
from refatlas.prepare import simulated_batches


@pytest.fixture
def script(scripts):
    return planning


def cells(sizes: dict[str, int]) -> pd.DataFrame:
    """Return kept cells of batches named dataset:batch, half of each labelled A, the others B."""
    rows = [{"batch": batch, "label": "AB"[i % 2]} for batch, n in sizes.items() for i in range(n)]
    table = pd.DataFrame(rows)
    table.index = [f"{batch.split(':')[0]}:c{i}" for i, batch in enumerate(table["batch"])]
    return table


SIX = cells({f"d:{i}": n for i, n in enumerate((60, 50, 40, 30, 20, 10))})


def test_one_fold_holds_out_about_a_third_in_whole_batches(script):
    roles, words = script.plan(SIX, {"fold": 0, "n_folds": 1}, "auto", 0)
    held = set(SIX.loc[roles == "held_out", "batch"])
    assert sorted(held) == words["held_out"] == ["d:0", "d:5"]
    assert not held & set(SIX.loc[roles == "train", "batch"])


def test_more_folds_keep_the_first_ones(script):
    held = [script.plan(SIX, {"fold": i, "n_folds": 3}, "auto", 0)[1]["held_out"] for i in range(3)]
    assert held[0] == script.plan(SIX, {"fold": 0, "n_folds": 1}, "auto", 0)[1]["held_out"]
    assert sorted(batch for batches in held for batch in batches) == sorted(SIX["batch"].unique())


def test_as_many_folds_as_batches_leave_each_out_once(script):
    held = [script.plan(SIX, {"fold": i, "n_folds": 6}, "auto", 0)[1]["held_out"] for i in range(6)]
    assert sorted(held) == [[f"d:{i}"] for i in range(6)]
    with pytest.raises(InputError, match=r"7 asked, but only 6 can be held out.*set folds to at most 6"):
        script.plan(SIX, {"fold": 0, "n_folds": 7}, "auto", 0)


def test_three_datasets_are_held_out_as_wholes(script):
    table = cells({f"{d}:{b}": 20 for d in "xyz" for b in (1, 2)})
    assert script.plan(table, {"fold": 0, "n_folds": 1}, "auto", 0)[1]["held_out"] in (["x"], ["y"], ["z"])
    assert len(script.plan(table, {"fold": 0, "n_folds": 1}, "batch", 0)[1]["held_out"]) == 2


def test_named_batches_with_and_without_their_dataset(script):
    for name in ("d:3", "3"):
        assert script.plan(SIX, {"batches": [name]}, "auto", 0)[1]["held_out"] == ["d:3"]
    with pytest.raises(InputError, match="'9' is no batch of the reference"):
        script.plan(SIX, {"batches": ["9"]}, "auto", 0)
    with pytest.raises(InputError, match="'1' is in several datasets"):
        script.plan(cells({"x:1": 9, "y:1": 9}), {"batches": ["1"]}, "auto", 0)
    with pytest.raises(InputError, match="all batches of the reference"):
        script.plan(SIX, {"batches": [str(i) for i in range(6)]}, "auto", 0)


def test_a_hidden_label_leaves_training_and_stays_among_the_held_out(script):
    table = pd.concat([SIX.assign(label=SIX["label"].where(np.arange(len(SIX)) % 3 > 0, "C"))])
    roles, words = script.plan(table, {"fold": 0, "n_folds": 1, "hide": "C"}, "auto", 0)
    assert words["hidden"] == "C"
    assert "C" not in set(table.loc[roles == "train", "label"])
    assert "C" in set(table.loc[roles == "held_out", "label"])
    assert script.plan(table, {"fold": 0, "n_folds": 1, "hide": 0}, "auto", 0)[1]["hidden"] in "ABC"
    with pytest.raises(InputError, match="'Z' is no label of the reference; it has A, B, C"):
        script.plan(table, {"fold": 0, "n_folds": 1, "hide": "Z"}, "auto", 0)
    with pytest.raises(InputError, match="set hide to at most 3"):
        script.plan(table, {"fold": 0, "n_folds": 1, "hide": 5}, "auto", 0)


def test_a_single_batch_is_split_by_cells_and_says_so(script):
    table = cells({"d:1": 90})
    roles, words = script.plan(table, {"fold": 0, "n_folds": 1}, "auto", 0)
    assert words["simulated"]
    assert (roles == "held_out").sum() == 30


def test_simulated_batches_are_thinner_and_differ(scripts):
    counts = small_counts(n_cells=400).X
    thinned, batches = simulated_batches.simulate_batches(counts, [0, 0])
    assert set(np.unique(batches)) == {0, 1}
    assert 0.3 < thinned.sum() / counts.sum() < 0.8
    assert (thinned > counts).nnz == 0
    shares = [np.asarray(thinned[batches == b].sum(axis=0) / counts[batches == b].sum(axis=0)).ravel() for b in (0, 1)]
    assert np.nanstd(np.log(np.maximum(shares[0], 0.01) / np.maximum(shares[1], 0.01))) > 0.2


def test_only_cells_of_role_train_are_kept(tmp_path):
    table = pd.DataFrame({"keep": [True, True, False, True]}, index=["a", "b", "c", "d"])
    pd.DataFrame({"role": ["train", "held_out", "left_out"]}, index=["a", "b", "d"]).to_parquet(
        tmp_path / "fold.parquet"
    )
    assert training_cells(table, str(tmp_path / "fold.parquet"))["keep"].tolist() == [True, False, False, False]
    assert training_cells(table, None)["keep"].tolist() == [True, True, False, True]


def evaluation(**keys) -> dict:
    return complete_config({"reference": "r", "queries": "q", "evaluation": keys})["evaluation"]


def test_splits_follow_from_the_configuration():
    assert folds(evaluation()) == {"fold_1": {"fold": 0, "n_folds": 1}}
    assert folds(evaluation(folds=0)) == {}
    named = folds(evaluation(folds={"old": ["1", "2"]}, hide=["B cells"]))
    assert named == {"fold_old": {"batches": ["1", "2"]}, "hide_1": {"batches": ["1", "2"], "hide": "B cells"}}
    assert calibrating(named) == ["fold_old"]
    assert list(folds(evaluation(folds=2, hide=2))) == ["fold_1", "fold_2", "hide_1", "hide_2"]


def test_folds_may_train_for_less():
    spec = {
        "type": "scvi",
        "model": {"n_latent": 5},
        "train": {"max_epochs": 100, "lr": 0.1},
        "surgery": {"max_epochs": None},
    }
    short = shortened(spec, {"max_epochs": 7})
    assert (short["train"], short["surgery"], short["model"]) == (
        {"max_epochs": 7, "lr": 0.1},
        {"max_epochs": 7},
        {"n_latent": 5},
    )
    assert shortened(spec, {"max_epochs": None}) == spec


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"folds": {"a/b": ["1"]}}, "name 'a/b' is not allowed"),
        ({"folds": 0, "hide": 1}, "hide needs at least one fold"),
        ({"folds": -1}, "evaluation: folds"),
        ({"fold": 1}, r"unknown key 'fold' \(did you mean 'folds'\?\)"),
    ],
)
def test_mistakes_in_the_evaluation(keys, said):
    with pytest.raises(InputError, match=said):
        evaluation(**keys)


def test_a_single_source_may_be_delivered():
    base = {"reference": "r", "queries": "q"}
    assert delivered_source(complete_config(base)) is None
    assert (
        delivered_source(complete_config({**base, "deliver": {"model": "scvi", "source": "logistic"}}))
        == "scvi:logistic"
    )
    without = complete_config({**base, "evaluation": {"folds": 0}})
    assert (without["deliver"]["model"], without["deliver"]["source"]) == ("scanvi", "knn")
