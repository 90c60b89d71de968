"""Several settings of a model by a list: names and settings of the variants, and every wrong list."""

import pytest

from refatlas.config.variants import expand_variants
from refatlas.errors import InputError


def scvi(**keys) -> dict:
    return {"scvi": {"type": "scvi", **keys}}


def test_each_combination_is_a_model_in_place_of_the_entry():
    models = {
        "first": {"type": "linear"},
        "scvi": {
            "type": "scvi",
            "train": {"lr": 0.01},
            "vary": {"model.n_latent": [10, 30], "train.max_epochs": [5, None]},
        },
        "last": {"type": "trvae"},
    }
    found = expand_variants(models)
    assert list(found) == [
        "first",
        "scvi_n_latent_10_max_epochs_5",
        "scvi_n_latent_10_max_epochs_null",
        "scvi_n_latent_30_max_epochs_5",
        "scvi_n_latent_30_max_epochs_null",
        "last",
    ]
    assert found["first"] is models["first"]
    assert found["scvi_n_latent_30_max_epochs_null"] == {
        "type": "scvi",
        "train": {"lr": 0.01, "max_epochs": None},
        "model": {"n_latent": 30},
    }
    # The user's own entry is as it was.
    assert models["scvi"]["train"] == {"lr": 0.01}


def test_models_without_variants_stay_as_they_are():
    models = {"scvi": {"type": "scvi"}, "odd": None, "scanvi": {"type": "scanvi", "init_from": "scvi"}}
    assert expand_variants(models) == models
    assert expand_variants("no mapping") == "no mapping"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (10, "10"),
        (0.1, "0.1"),
        (1e-5, "1e-05"),
        (2e6, "2e06"),
        (10.0, "10"),
        (-0.5, "-0.5"),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        ("zinb", "zinb"),
    ],
)
def test_values_are_part_of_the_name(value, name):
    (found,) = expand_variants(scvi(vary={"train.lr": [value]}))
    assert found == f"scvi_lr_{name}"


def test_the_same_setting_of_two_sections_is_named_with_the_section():
    found = expand_variants(scvi(vary={"train.max_epochs": [5], "surgery.max_epochs": [6], "model.n_latent": [7]}))
    assert list(found) == ["scvi_train_max_epochs_5_surgery_max_epochs_6_n_latent_7"]


def test_a_model_may_start_from_a_variant():
    models = scvi(vary={"model.n_latent": [10, 30]}) | {"scanvi": {"type": "scanvi", "init_from": "scvi_n_latent_30"}}
    assert list(expand_variants(models)) == ["scvi_n_latent_10", "scvi_n_latent_30", "scanvi"]


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({}, "scvi: vary: {} names no setting; give a list"),
        (None, "vary: None names no setting"),
        ([10], r"vary: \[10\] names no setting"),
        ({"type": ["scvi", "scanvi"]}, "vary: 'type' cannot be varied; name a setting within a section"),
        ({"init_from": ["a"]}, "vary: 'init_from' cannot be varied"),
        ({"n_latent": [10]}, "'n_latent' cannot be varied.*such as model.n_latent"),
        ({"model.": [10]}, "'model.' cannot be varied"),
        ({".n_latent": [10]}, "'.n_latent' cannot be varied"),
        ({"model.n_latent.x": [10]}, "'model.n_latent.x' cannot be varied"),
        ({5: [10]}, "5 cannot be varied"),
        ({"model.n_latent": []}, r"model.n_latent: \[\] is not a list of values; give at least one"),
        ({"model.n_latent": 10}, "model.n_latent: 10 is not a list of values"),
        ({"model.n_latent": "10, 30"}, "'10, 30' is not a list of values"),
        ({"model.n_latent": [[10]]}, r"\[10\] cannot be part of a model's name"),
        ({"model.n_latent": [10, 10.0]}, "the name 'scvi_n_latent_10', and there is another; list each value once"),
        ({"model.n_latent": list(range(21))}, "21 combinations of settings; at most 20"),
        ({"model.a": [1, 2, 3], "model.b": [1, 2, 3, 4, 5, 6, 7]}, "21 combinations"),
        ({"model.gmt": ["sets/c2.gmt"]}, r"the name 'scvi_gmt_sets/c2.gmt' is not allowed; use letters"),
        ({"model.gmt": ["x" * 100]}, "is too long for a part of a file name"),
        ({"surgery.lr": [0.1]}, "vary: surgery.lr is varied, and set to 0.2 in the same model"),
        ({"train.lr": [0.1]}, "section train of the model is 7; expected settings by name"),
    ],
)
def test_wrong_lists_are_refused(vary, message):
    with pytest.raises(InputError, match=message):
        expand_variants(scvi(surgery={"lr": 0.2}, train=7, vary=vary))


def test_twenty_combinations_are_allowed():
    assert len(expand_variants(scvi(vary={"model.a": [1, 2, 3, 4], "model.b": [1, 2, 3, 4, 5]}))) == 20


def test_a_variant_cannot_have_the_name_of_another_model():
    with pytest.raises(InputError, match="config: models: vary makes a model of the name 'scvi_n_latent_10'"):
        expand_variants({"scvi_n_latent_10": {"type": "scvi"}} | scvi(vary={"model.n_latent": [10]}))


def test_a_model_cannot_start_from_one_that_was_replaced():
    models = scvi(vary={"model.n_latent": [10, 30]}) | {"scanvi": {"type": "scanvi", "init_from": "scvi"}}
    with pytest.raises(InputError, match=r"scanvi: init_from: 'scvi' has vary.*scvi_n_latent_10, scvi_n_latent_30"):
        expand_variants(models)


def test_a_wrong_name_of_the_entry_is_refused():
    with pytest.raises(InputError, match="name 'a/b' is not allowed"):
        expand_variants({"a/b": {"type": "scvi", "vary": {"model.n_latent": [10]}}})


def test_the_schema_still_checks_the_settings():
    from refatlas.config.settings import complete_config

    models = expand_variants(scvi(vary={"model.n_latnet": [10]}))
    with pytest.raises(InputError, match=r"unknown key .n_latnet. \(did you mean .n_latent"):
        complete_config({"reference": "reference.tsv", "models": models})
