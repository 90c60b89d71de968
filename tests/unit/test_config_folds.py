"""Folds that follow from the configuration, and the training of their models."""

import pytest

from refatlas.config.folds import calibration_folds, folds, limit_epochs
from refatlas.config.settings import complete_config, delivered_source
from refatlas.errors import InputError


def evaluation(**keys) -> dict:
    return complete_config({"reference": "r", "queries": "q", "evaluation": keys})["evaluation"]


def test_splits_follow_from_the_configuration():
    assert folds(evaluation(folds=1)) == {"fold_1": {"fold": 0, "n_folds": 1}}
    assert folds(evaluation(folds=0)) == {}
    named = folds(evaluation(folds={"old": ["1", "2"]}, hide=["B cells"]))
    assert named == {"fold_old": {"batches": ["1", "2"]}, "hide_1": {"batches": ["1", "2"], "hide": "B cells"}}
    assert calibration_folds(named) == ["fold_old"]
    assert list(folds(evaluation(folds=2, hide=2))) == ["fold_1", "fold_2", "hide_1", "hide_2"]


def test_by_default_there_are_three_folds_whatever_the_number_of_batches():
    automatic = [{"fold": i, "n_folds": 3, "automatic": True} for i in range(3)]
    assert evaluation()["folds"] == "auto"
    assert list(folds(evaluation()).values()) == automatic
    assert folds(evaluation(hide=["B cells"]))["hide_1"] == {**automatic[0], "hide": "B cells"}


SPEC = {
    "type": "scvi",
    "model": {"n_latent": 5},
    "train": {"max_epochs": 100, "lr": 0.1},
    "pretrain": {"max_epochs": None},
    "surgery": {"max_epochs": None},
}


def test_folds_may_train_for_less():
    short = limit_epochs(SPEC, evaluation(max_epochs=7))
    assert short == {
        **SPEC,
        "train": {"max_epochs": 7, "lr": 0.1},
        "pretrain": {"max_epochs": 7},
        "surgery": {"max_epochs": 7},
    }


@pytest.mark.parametrize(
    ("requested", "share"), [("auto", 0.6667), (1, 0.6667), (2, 0.6667), (3, 0.6667), (10, 0.9), (0, 1.0)]
)
def test_folds_have_the_epochs_of_the_whole_reference(requested, share):
    found = limit_epochs(SPEC, evaluation(folds=requested))
    assert found == {**SPEC, "pretrain": {"max_epochs": None, "share": share}}


def test_surgery_in_folds_keeps_its_epochs():
    settings = {"train": {"max_epochs": 9}, "surgery": {"max_epochs": None}}
    assert limit_epochs(settings, evaluation(folds=3)) == settings


def test_what_two_layers_need_is_the_same_in_both():
    from refatlas.config import folds as config_folds
    from refatlas.config import settings
    from refatlas.models import registry
    from refatlas.prepare import folds as prepare_folds
    from refatlas.transfer import evidence

    assert config_folds.LEAST_GROUPS == prepare_folds.LEAST_GROUPS
    assert settings.MATCHED == evidence.MATCHED
    assert registry.BASELINE == evidence.BASELINE


def test_folds_of_named_batches_may_have_any_share():
    assert limit_epochs(SPEC, evaluation(folds={"old": ["1"]}))["pretrain"].get("share", 1.0) == 1.0


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"folds": {"a/b": ["1"]}}, "name 'a/b' is not allowed"),
        ({"folds": 0, "hide": 1}, "hide needs at least one fold"),
        ({"folds": -1}, "evaluation: folds"),
        ({"folds": "three"}, "evaluation: folds: 'three' is not allowed"),
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
    assert (without["deliver"]["model"], without["deliver"]["source"]) == ("scanvi", "matched")
    assert delivered_source(without) == "matched"
    assert delivered_source(complete_config({**base, "deliver": {"source": "matched"}})) == "matched"
