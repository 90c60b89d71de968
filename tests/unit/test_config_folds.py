"""Folds that follow from the configuration, and the training of their models."""

import pytest

from refatlas.config.folds import calibration_folds, folds, limit_epochs
from refatlas.config.settings import complete_config, delivered_source
from refatlas.errors import InputError


def evaluation(**keys) -> dict:
    return complete_config({"reference": "r", "queries": "q", "evaluation": keys})["evaluation"]


def test_splits_follow_from_the_configuration():
    assert folds(evaluation()) == {"fold_1": {"fold": 0, "n_folds": 1}}
    assert folds(evaluation(folds=0)) == {}
    named = folds(evaluation(folds={"old": ["1", "2"]}, hide=["B cells"]))
    assert named == {"fold_old": {"batches": ["1", "2"]}, "hide_1": {"batches": ["1", "2"], "hide": "B cells"}}
    assert calibration_folds(named) == ["fold_old"]
    assert list(folds(evaluation(folds=2, hide=2))) == ["fold_1", "fold_2", "hide_1", "hide_2"]


def test_folds_may_train_for_less():
    spec = {
        "type": "scvi",
        "model": {"n_latent": 5},
        "train": {"max_epochs": 100, "lr": 0.1},
        "surgery": {"max_epochs": None},
    }
    short = limit_epochs(spec, {"max_epochs": 7})
    assert (short["train"], short["surgery"], short["model"]) == (
        {"max_epochs": 7, "lr": 0.1},
        {"max_epochs": 7},
        {"n_latent": 5},
    )
    assert limit_epochs(spec, {"max_epochs": None}) == spec


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
